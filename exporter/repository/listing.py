"""What an update repository lists: signed metadata, read with every signature checked, written so that no cut shows.

The layout is in ``repository``. Who lists which model is in ``delegation``; here a model's role is one role of many.
See https://theupdateframework.github.io/specification/latest/.
"""

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from securesystemslib.signer import Key  # type: ignore[attr-defined] # documented there
from tuf.api.exceptions import LengthOrHashMismatchError, UnsignedMetadataError
from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import (  # type: ignore[attr-defined] # its documented names, which it does not re-export
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError

from edge_agent.durable import replace_file, sync_folder
from exporter.errors import RepositoryError
from exporter.repository.keys import Keyring
from exporter.repository.lifetimes import Lifetimes
from exporter.repository.roles import TOP_LEVEL, RoleKeys, Signers, role_keys, sign, signers_of

METADATA: Final = "metadata"
TIMESTAMP: Final = "timestamp.json"
# Written before a root that the old timestamp does not go with, renamed after it: a cut between them loses nothing.
NEXT_TIMESTAMP: Final = "timestamp.next.json"
_ROOT_FILE: Final = re.compile(r"([1-9]\d{0,8})\.root\.json")

SignedT = TypeVar("SignedT", Root, Timestamp, Snapshot, Targets)


@dataclass(slots=True)
class Listing:
    """What the repository lists now.

    Attributes:
        root: the newest one.
        targets: lists the models (and, in a repository of old, bundles).
        models: by role: the bundles of one model each.
    """

    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    models: dict[str, Metadata[Targets]] = field(default_factory=dict)

    def keys_of(self, role: str) -> RoleKeys:
        """Return the keys of a role."""
        return role_keys(self.root.signed if role in TOP_LEVEL else self.targets.signed, role)

    def signed_by(self, role: str) -> tuple[Key, ...]:
        """Return the keys of a role whose signatures its metadata bears."""
        delegator = self.root.signed if role in TOP_LEVEL else self.targets.signed
        metadata = self.metadata_of(role)
        result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        return tuple(result.signed.values())

    def signers_of(self, roles: Iterable[str], ring: Keyring) -> dict[str, Signers]:
        """Return the signers of some roles; raise MissingSignaturesError when one of them lacks any."""
        return {role: signers_of(self.keys_of(role), ring) for role in roles}

    def metadata_of(self, role: str) -> Metadata[Root] | Metadata[Timestamp] | Metadata[Snapshot] | Metadata[Targets]:
        """Return the metadata of a role."""
        match role:
            case "root":
                return self.root
            case "timestamp":
                return self.timestamp
            case "snapshot":
                return self.snapshot
            case "targets":
                return self.targets
            case _:
                return self.models[role]


def is_repository(folder: Path) -> bool:
    """Tell whether a folder was made by `repository.init_repository`, to its end."""
    return (folder / METADATA / TIMESTAMP).exists()


@contextmanager
def locked(repository: Path) -> Iterator[None]:
    """Let one process change the repository at a time; the lock is on the folder itself and dies with its holder."""
    try:
        descriptor = os.open(repository / METADATA, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise RepositoryError(f"{repository} is not a repository; make one with: fieldloop repository init") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# --- reading ---------------------------------------------------------------------------------------------------------


def load_listing(repository: Path) -> Listing:
    """Read what the timestamp lists, checking every signature: what others altered is not signed again by us.

    Raises:
        RepositoryError: no repository, or one that its own keys did not sign.
    """
    folder = repository / METADATA
    root = load_root(repository)
    timestamp = _load_timestamp(folder, root.signed)
    version = timestamp.signed.snapshot_meta.version
    snapshot = _load_signed(folder / f"{version}.snapshot.json", root.signed, "snapshot", Snapshot)
    targets = _load_listed(folder, snapshot.signed, root.signed, "targets")
    listing = Listing(root, timestamp, snapshot, targets)
    delegations = targets.signed.delegations
    for role, delegation in (delegations.roles or {} if delegations is not None else {}).items():
        model = listing.models[role] = _load_listed(folder, snapshot.signed, targets.signed, role)
        strange = [path for path in model.signed.targets if not delegation.is_delegated_path(path)]
        if strange:
            raise RepositoryError(f"{folder}: {role} lists {strange[0]}, which is not its to list; take that off first")
    return listing


def load_root(repository: Path) -> Metadata[Root]:
    """Return the newest root, each of its predecessors there having signed the next.

    Raises:
        RepositoryError: there is none, or the chain is broken.
    """
    folder = repository / METADATA
    found = [match for match in map(_ROOT_FILE.fullmatch, _names_in(folder)) if match is not None]
    versions = sorted(int(match[1]) for match in found)
    if not versions:
        raise RepositoryError(f"{repository} is not a repository; make one with: fieldloop repository init")
    root: Metadata[Root] | None = None
    for version in versions:
        path = folder / f"{version}.root.json"
        following = parse_metadata(path, Root)
        if following.signed.version != version or (root is not None and root.signed.version != version - 1):
            raise RepositoryError(f"{path}: the roots do not follow each other; restore the missing one")
        for delegator in (following, root):
            _verify(path, following, (delegator or following).signed, "root")
        root = following
    if root is None:
        raise RepositoryError(f"{repository} has no root")
    return root


def parse_metadata(path: Path, kind: type[SignedT]) -> Metadata[SignedT]:
    """Read metadata of a kind, without looking at its signatures.

    Raises:
        RepositoryError: it is not that.
    """
    try:
        metadata: Metadata[SignedT] = Metadata.from_bytes(path.read_bytes())
    except (OSError, DeserializationError, TufError) as error:
        raise RepositoryError(f"{path}: cannot be read as TUF metadata: {error}") from error
    if not isinstance(metadata.signed, kind):
        raise RepositoryError(f"{path}: holds {metadata.signed.type} metadata")
    return metadata


def _names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _load_timestamp(folder: Path, root: Root) -> Metadata[Timestamp]:
    try:
        return _load_signed(folder / TIMESTAMP, root, "timestamp", Timestamp)
    except RepositoryError:
        if (folder / NEXT_TIMESTAMP).exists():
            return _load_signed(folder / NEXT_TIMESTAMP, root, "timestamp", Timestamp)
        raise


def _load_listed(folder: Path, snapshot: Snapshot, delegator: Root | Targets, role: str) -> Metadata[Targets]:
    meta = snapshot.meta.get(f"{role}.json")
    if meta is None:
        raise RepositoryError(f"{folder}: the snapshot does not name {role}.json")
    path = folder / f"{meta.version}.{role}.json"
    metadata = _load_signed(path, delegator, role, Targets)
    try:
        meta.verify_length_and_hashes(path.read_bytes())
    except LengthOrHashMismatchError as error:
        raise RepositoryError(f"{path}: not the file that the snapshot names: {error}") from error
    return metadata


def _load_signed(path: Path, delegator: Root | Targets, role: str, kind: type[SignedT]) -> Metadata[SignedT]:
    metadata = parse_metadata(path, kind)
    _verify(path, metadata, delegator, role)
    return metadata


def _verify(path: Path, metadata: Metadata[SignedT], delegator: Root | Targets, role: str) -> None:
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (UnsignedMetadataError, ValueError) as error:
        raise RepositoryError(f"{path}: not signed by this repository's {role} key: {error}") from error


# --- writing ---------------------------------------------------------------------------------------------------------


def renew(signed: Root | Timestamp | Snapshot | Targets, now: datetime, lifetimes: Lifetimes) -> None:
    """Give metadata its next version and a whole life."""
    signed.version += 1
    signed.expires = now + lifetimes.of(signed.type)


def renew_roles(listing: Listing, roles: Iterable[str], now: datetime, lifetimes: Lifetimes) -> None:
    """Give the metadata of some roles their next versions."""
    for role in roles:
        renew(listing.metadata_of(role).signed, now, lifetimes)


def write_listing(repository: Path, listing: Listing, signers: Mapping[str, Signers], *, show: bool = True) -> None:
    """Sign and write the metadata of all roles that have signers; the root is not among them.

    Args:
        repository: its folder.
        listing: with versions that were not written yet.
        signers: of each role that changed, the timestamp among them.
        show: False: clients see it only after `show_listing`.
    """
    folder = repository / METADATA
    # The order is the safety property: each file is on disk before the one that names it.
    # 1. what lists bundles, 2. what lists models, 3. the snapshot that names both, 4. the timestamp: only now clients
    # see any of it.
    for role in (*listing.models, "targets"):
        if role in signers:
            part = listing.targets if role == "targets" else listing.models[role]
            data = _write_versioned(folder, role, part, signers[role])
            # With its hash, so that whoever steals this role's key alone cannot put another file in its place.
            listing.snapshot.signed.meta[f"{role}.json"] = MetaFile.from_data(part.signed.version, data, ["sha256"])
    if "snapshot" in signers:
        data = _write_versioned(folder, "snapshot", listing.snapshot, signers["snapshot"])
        version = listing.snapshot.signed.version
        listing.timestamp.signed.snapshot_meta = MetaFile.from_data(version, data, ["sha256"])
    sign(listing.timestamp, signers["timestamp"])
    replace_file(folder / (TIMESTAMP if show else NEXT_TIMESTAMP), listing.timestamp.to_bytes())


def show_listing(repository: Path) -> None:
    """Let clients see what `write_listing` wrote and did not show."""
    folder = repository / METADATA
    (folder / NEXT_TIMESTAMP).replace(folder / TIMESTAMP)
    sync_folder(folder)


def write_root(repository: Path, root: Metadata[Root]) -> None:
    """Write a signed root as the newest, and as the one to give to new devices."""
    folder = repository / METADATA
    data = root.to_bytes()
    replace_file(folder / f"{root.signed.version}.root.json", data)
    replace_file(folder / "root.json", data)


def _write_versioned(folder: Path, role: str, part: Metadata[SignedT], signers: Signers) -> bytes:
    sign(part, signers)
    data: bytes = part.to_bytes()
    replace_file(folder / f"{part.signed.version}.{role}.json", data)
    return data
