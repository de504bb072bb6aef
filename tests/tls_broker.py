"""A real Mosquitto that only devices with a certificate may use, for tests and measurements of TLS."""

import contextlib
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.client import Endpoint
from broker.servers.mosquitto import READY_PATTERN, find_mosquitto
from tests.ports import free_port
from tests.waiting import wait_until

# P-256, as small devices use it.
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class TlsBroker:
    """Where it listens, and the files that a client needs.

    Attributes:
        plain: a second listener without TLS, for whoever stands at the server.
        pid: of its process.
    """

    endpoint: Endpoint
    plain: Endpoint
    ca: Path
    certificate: Path
    key: Path
    pid: int


def why_not() -> str | None:
    """Return why there can be none here."""
    if find_mosquitto() is None:
        return "no mosquitto here: sudo apt-get install mosquitto"
    return None if shutil.which("openssl") else "no openssl here: sudo apt-get install openssl"


@contextlib.contextmanager
def running_tls_broker(folder: Path, users: Mapping[str, str] | None = None) -> Iterator[TlsBroker]:
    """Run one until the block ends; its certificates hold for a day.

    Args:
        folder: for its files.
        users: names with passwords: whoever has one is let in under TLS, instead of whoever has a certificate.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _openssl(folder, "req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", "1", "-subj", "/CN=test CA")
    for name, subject in (("broker", "/CN=127.0.0.1"), ("device", "/CN=station-1")):
        (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n")
        _openssl(folder, "req", "-new", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1", "-extfile", f"{name}.ext")
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    tls_port, plain_port = free_port(), free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"user root\nlistener {plain_port} 127.0.0.1\nallow_anonymous true\n"
        f"listener {tls_port} 127.0.0.1\nallow_anonymous true\ncafile {folder}/ca.pem\ncertfile {folder}/broker.pem\n"
        f"keyfile {folder}/broker.key\nrequire_certificate true\nlog_dest stderr\n"
    )
    if users is not None:
        _let_in_by_password(config, users)
    log = folder / "mosquitto.log"
    with log.open("wb") as output:
        process = subprocess.Popen([str(find_mosquitto()), "-c", str(config)], stderr=output)
        try:
            wait_until(lambda: re.search(READY_PATTERN, log.read_bytes()) is not None)
            yield TlsBroker(
                Endpoint("127.0.0.1", tls_port),
                Endpoint("127.0.0.1", plain_port),
                folder / "ca.pem",
                folder / "device.pem",
                folder / "device.key",
                process.pid,
            )
        finally:
            # It may have been stopped, and would not end then.
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait()


def _let_in_by_password(config: Path, users: Mapping[str, str]) -> None:
    passwords = config.parent / "passwords"
    passwords.touch(0o600)
    for user, password in users.items():
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, password], check=True, capture_output=True)
    text = config.read_text().replace("require_certificate true", f"password_file {passwords}")
    plain, _, secured = text.rpartition("allow_anonymous true")
    config.write_text(f"per_listener_settings true\n{plain}allow_anonymous false{secured}")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
