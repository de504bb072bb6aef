"""Signing keys as files: ed25519, PEM, readable by their owner alone, found by their id whatever the file is named.

What a key may sign is not said here but in signed metadata (``roles``), nor how it lies in its file (``sealing``).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.signer import CryptoSigner, Key, SSlibKey  # type: ignore[attr-defined] # documented there

from edge_agent.durable import replace_file, sync_folder
from exporter.errors import KeysError
from exporter.repository.sealing import Passphrase, load_private, private_pem

PRIVATE_SUFFIX: Final = ".pem"
PUBLIC_SUFFIX: Final = ".pub"
RETIRED: Final = "retired"
# Where the keys of the root lie unless a folder is named: below the others, so that they can be carried away at once.
ROOT_KEYS: Final = "root"
_SHORT_ID: Final = 8
# Beside the key in signed metadata, for people: the name of the file that it was made in.
_NAME: Final = "x-fieldloop-name"

# A folder of signing keys, or several where they do not lie together.
KeyFolders = Path | Sequence[Path]


@dataclass(frozen=True, slots=True)
class Keyring:
    """The private keys at hand.

    Attributes:
        folders: where they were looked for.
        signers, paths: by key id.
        problems: what is wrong with files that could not be used; it matters only when a signature is missing.
    """

    folders: tuple[Path, ...]
    signers: Mapping[str, CryptoSigner]
    paths: Mapping[str, Path]
    problems: tuple[str, ...]


def folders_of(keys: KeyFolders) -> tuple[Path, ...]:
    """Return folders of keys as a tuple."""
    return (keys,) if isinstance(keys, Path) else tuple(keys)


def root_folders_of(keys: KeyFolders) -> tuple[Path, ...]:
    """Return where the keys of the root may lie beside or below the other ones."""
    folders = folders_of(keys)
    return (*folders, *(folder / ROOT_KEYS for folder in folders if (folder / ROOT_KEYS).is_dir()))


def open_keyring(folders: Iterable[Path], passphrase: Passphrase | None = None) -> Keyring:
    """Read every key in some folders, not in folders below them; encrypted ones where there is a passphrase."""
    places = tuple(folders)
    signers: dict[str, CryptoSigner] = {}
    paths: dict[str, Path] = {}
    problems: list[str] = []
    for folder in places:
        found = sorted(folder.glob(f"*{PRIVATE_SUFFIX}"))
        if not found:
            problems.append(f"{folder}: no keys are there")
        for path in found:
            try:
                signer = _load_signer(path, passphrase)
            except KeysError as error:
                problems.append(str(error))
            else:
                signers[signer.public_key.keyid] = signer
                paths[signer.public_key.keyid] = path
    return Keyring(places, signers, paths, tuple(problems))


def make_keys(
    folder: Path, role: str, count: int, *, beside_others: bool = False, passphrase: bytes | None = None
) -> tuple[CryptoSigner, ...]:
    """Make new keys of a role, in files named for it; never replaces a key.

    Args:
        folder: made if missing.
        role: ``root``, say: the files are ``root.pem``, ``root+2.pem``, …
        count: how many.
        beside_others: the role has keys in this folder already, and gets further ones.
        passphrase: encrypts their files; None: they are not encrypted.

    Raises:
        KeysError: the folder already holds a key of this role, or the passphrase is too short.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = [role, *(f"{role}+{number}" for number in range(2, count + 1))]
    taken = [name for name in names if _is_taken(folder, name)]
    if taken and not beside_others:
        path = folder / f"{taken[0]}{PRIVATE_SUFFIX}"
        raise KeysError(f"{path} exists; a key is never replaced, choose another folder")
    number = 1
    free: list[str] = []
    while len(free) < count:
        name = role if number == 1 else f"{role}+{number}"
        free += [] if _is_taken(folder, name) else [name]
        number += 1
    return tuple(_make_key(folder, name, passphrase) for name in free)


def make_named_key(folder: Path, name: str, passphrase: bytes | None = None) -> Path:
    """Make one key, for a person say, and return the path of its public half, which others may be given.

    Raises:
        KeysError: the folder already holds a key of this name, or the passphrase is too short.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if _is_taken(folder, name):
        raise KeysError(f"{folder / name}{PRIVATE_SUFFIX} exists; a key is never replaced, choose another name")
    key = Ed25519PrivateKey.generate()
    pem = private_pem(key, passphrase)
    public = folder / f"{name}{PUBLIC_SUFFIX}"
    replace_file(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    replace_file(folder / f"{name}{PRIVATE_SUFFIX}", pem, mode=0o600)
    return public


def load_public_key(path: Path) -> Key:
    """Read the public half of a key; its name is that of the file.

    Raises:
        KeysError: unreadable, or not the public half of an ed25519 key.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise KeysError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeysError(f"{path}: not a PEM public key: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeysError(f"{path}: not an ed25519 key")
    return _named(SSlibKey.from_crypto(key), path.stem)


def name_of(key: Key) -> str:
    """Return what people call a key: the name of its file and the beginning of its id."""
    name, short = key.unrecognized_fields.get(_NAME), key.keyid[:_SHORT_ID]
    return f"{name} ({short}…)" if isinstance(name, str) and name else f"{short}…"


def is_called(key: Key, name: str) -> bool:
    """Tell whether a key is meant by a name or by the beginning of an id."""
    return name == key.unrecognized_fields.get(_NAME) or (len(name) >= _SHORT_ID and key.keyid.startswith(name))


def retire(ring: Keyring, key_ids: Iterable[str]) -> tuple[Path, ...]:
    """Put private keys that no role names any more out of the way; return where those at hand are now."""
    moved = []
    for key_id in key_ids:
        path = ring.paths.get(key_id)
        if path is None:
            continue
        place = path.parent / RETIRED
        place.mkdir(exist_ok=True, mode=0o700)
        moved.append(path.rename(place / f"{path.stem}.{key_id[:_SHORT_ID]}{PRIVATE_SUFFIX}"))
        sync_folder(place)
        sync_folder(path.parent)
    return tuple(moved)


def _make_key(folder: Path, name: str, passphrase: bytes | None) -> CryptoSigner:
    key = Ed25519PrivateKey.generate()
    replace_file(folder / f"{name}{PRIVATE_SUFFIX}", private_pem(key, passphrase), mode=0o600)
    signer = CryptoSigner(key)
    _named(signer.public_key, name)
    return signer


def _named(key: Key, name: str) -> Key:
    key.unrecognized_fields[_NAME] = name
    return key


def _is_taken(folder: Path, name: str) -> bool:
    return (folder / f"{name}{PRIVATE_SUFFIX}").exists()


def _load_signer(path: Path, passphrase: Passphrase | None) -> CryptoSigner:
    signer = CryptoSigner(load_private(path, passphrase))
    _named(signer.public_key, path.stem)
    return signer
