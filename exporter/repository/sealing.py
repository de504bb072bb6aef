"""Private keys at rest: as PEM, encrypted by a passphrase or not. Which keys need one is said elsewhere."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from edge_agent.durable import replace_file
from exporter.errors import KeysError

# Gives the passphrase of an encrypted key; asked only once such a key is there.
Passphrase = Callable[[Path], bytes]

# As long as that of a fleet's authority, which the same people keep.
MIN_PASSPHRASE_BYTES: Final = 12
_MAX_BYTES: Final = 4096
_MODE: Final = 0o600
_OTHERS: Final = 0o077
_SEALED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def private_pem(key: Ed25519PrivateKey, passphrase: bytes | None) -> bytes:
    """Return a key as PEM, encrypted where there is a passphrase.

    Raises:
        KeysError: the passphrase is too short.
    """
    if passphrase is not None and len(passphrase) < MIN_PASSPHRASE_BYTES:
        raise KeysError(
            f"the passphrase is shorter than {MIN_PASSPHRASE_BYTES} bytes: it guards every device's bundles"
        )
    sealing = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealing)


def is_sealed(path: Path) -> bool:
    """Tell whether a file holds an encrypted key.

    Raises:
        KeysError: it cannot be read.
    """
    return _is_sealed(read_private(path))


def load_private(path: Path, passphrase: Passphrase | None) -> Ed25519PrivateKey:
    """Read a key that only its owner may read.

    Raises:
        KeysError: unreadable, readable for others, no ed25519 key, or encrypted and the passphrase is not right or not
            there.
    """
    pem = read_private(path)
    if not _is_sealed(pem):
        return _parse(path, pem, None)
    if passphrase is None:
        raise KeysError(f"{path}: is encrypted, and this command asks for no passphrase: have it signed by root sign")
    return _parse(path, pem, passphrase(path))


def seal_keys(folder: Path, passphrase: bytes) -> tuple[Path, ...]:
    """Encrypt every key of a folder that is not encrypted yet; return which they were.

    What stood in a file before may be found on its disk for as long as nothing is written over it.

    Raises:
        KeysError: there is no key, one cannot be read, or the passphrase is too short; those before it are encrypted.
    """
    paths = sorted(folder.glob("*.pem"))
    if not paths:
        raise KeysError(f"{folder}: no keys are there")
    sealed: list[Path] = []
    for path in paths:
        pem = read_private(path)
        if not _is_sealed(pem):
            replace_file(path, private_pem(_parse(path, pem, None), passphrase), mode=_MODE)
            sealed.append(path)
    return tuple(sealed)


def read_private(path: Path, what: str = "key") -> bytes:
    """Return the content of a file that only its owner may read; raise KeysError where it is not so, or too large."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise KeysError(f"{path}: cannot be read: {error.strerror or error}") from error
    if mode & _OTHERS:
        raise KeysError(f"{path}: others can read or write this {what}; run chmod 600 on it")
    if len(data) > _MAX_BYTES:
        raise KeysError(f"{path}: more than {_MAX_BYTES} bytes; is it the right file?")
    return data


def _is_sealed(pem: bytes) -> bool:
    return _SEALED in pem


def _parse(path: Path, pem: bytes, passphrase: bytes | None) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if passphrase is not None:
            raise KeysError(f"{path}: does not open: is it the right passphrase?") from error
        raise KeysError(f"{path}: not a PEM private key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeysError(f"{path}: not an ed25519 key")
    return key
