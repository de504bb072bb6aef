"""The signing keys of an update repository: one ed25519 key a role, each a PEM file that only its owner can read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined] # documented there

from edge_agent.durable import replace_file
from exporter.errors import KeysError

ROLES: Final = ("root", "targets", "snapshot", "timestamp")


def make_keys(folder: Path) -> Mapping[str, CryptoSigner]:
    """Make a new key for each role in ``folder``; never replaces a key.

    Raises:
        KeysError: the folder already holds a key.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for role in ROLES:
        if _path_of(folder, role).exists():
            raise KeysError(f"{_path_of(folder, role)} exists; a key is never replaced, choose another folder")
    signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
    for role, signer in signers.items():
        replace_file(_path_of(folder, role), signer.private_bytes, mode=0o600)
    return signers


def load_signer(folder: Path, role: str) -> CryptoSigner:
    """Read the key of ``role``.

    Raises:
        KeysError: missing, unreadable, open to others, or not an ed25519 key.
    """
    path = _path_of(folder, role)
    try:
        mode = path.stat().st_mode
        pem = path.read_bytes()
    except OSError as error:
        raise KeysError(f"{path}: the {role} key cannot be read: {error.strerror or error}") from error
    if mode & 0o077:
        raise KeysError(f"{path}: others can read or write this key; run chmod 600 on it")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeysError(f"{path}: not a PEM private key without a password: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeysError(f"{path}: not an ed25519 key")
    return CryptoSigner(key)


def _path_of(folder: Path, role: str) -> Path:
    return folder / f"{role}.pem"
