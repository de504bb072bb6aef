"""Makes the device's key and the request for its certificate, by the command ``openssl``; checks what comes back.

The key is made here and leaves this device never; no secret stands on a command line.
"""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from edge_agent.durable import replace_file
from edge_agent.errors import StorageError

# It reads the kernel's chance; on a board that has just started that may take a while.
_TIMEOUT_S: Final = 60.0
_VERIFY: Final = ("verify", "-no_check_time", "-purpose", "sslclient")
_CURVE: Final = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


class OpensslError(StorageError):
    """The command ``openssl`` is not there, or did not do what it was told."""


class AnswerError(StorageError):
    """What the endpoint sent is not a certificate for this device's key."""


def keep_key(path: Path) -> bytes:
    """Return the private key in a file, PEM; makes one where there is none.

    A request whose answer was lost is made again with the same key: the endpoint then gives the same answer.

    Raises:
        OpensslError: none can be made.
        OSError: it cannot be kept.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        key = _openssl("genpkey", *_CURVE)
        replace_file(path, key, mode=0o600)
        return key


def make_request(key: Path, device: str) -> bytes:
    """Return a signing request, PEM, for the key in a file.

    Raises:
        OpensslError: the key cannot be used.
    """
    return _openssl("req", "-new", "-key", str(key), "-subj", f"/CN={device}", "-config", "/dev/null")


def verify_answer(chain: bytes, ca: Path, key: Path, device: str, fleet: str) -> None:
    """Look whether a chain is signed by the fleet's root, for this key and device; dates are the server's affair.

    Raises:
        AnswerError: it is not.
        OpensslError: it cannot be looked at.
    """
    # Certificates are public, but nobody else needs to write this.
    with tempfile.TemporaryDirectory(prefix="fieldloop-") as folder:
        file = Path(folder, "chain.pem")
        file.write_bytes(chain)
        try:
            _openssl(*_VERIFY, "-CAfile", str(ca), "-untrusted", str(file), str(file))
        except OpensslError as error:
            raise AnswerError(f"the certificate that came is not signed by {ca}: {error}") from error
        if _openssl("x509", "-in", str(file), "-noout", "-pubkey") != _openssl("pkey", "-in", str(key), "-pubout"):
            raise AnswerError("the certificate that came and the device's key do not belong together")
        told = _openssl("x509", "-in", str(file), "-noout", "-subject", "-nameopt", "multiline,-align").decode()
    names = dict(line.strip().split(" = ", 1) for line in told.splitlines() if " = " in line)
    whose, of_fleet = names.get("commonName", ""), names.get("organizationName", "")
    # A device that was given a new identity carries its generation behind a dot.
    if whose.partition(".")[0] != device or of_fleet != fleet:
        raise AnswerError(f"the certificate that came is for {whose!r} of fleet {of_fleet!r}, not for {device}")


def _openssl(*arguments: str) -> bytes:
    try:
        done = subprocess.run(
            ["openssl", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=os.environ | {"LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise OpensslError("the command openssl is not here: apt-get install openssl") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OpensslError(f"openssl {arguments[0]}: {error}") from error
    if done.returncode != 0:
        # Of what it says, the last line; never what it was given or wrote.
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise OpensslError(f"openssl {arguments[0]}: {said[-1][:200] if said else f'code {done.returncode}'}")
    return done.stdout
