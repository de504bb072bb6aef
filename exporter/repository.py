"""The update repository: a folder of signed files (TUF, consistent snapshots) that any static server can serve.

Layout: ``metadata/`` with ``N.root.json``, ``N.targets.json``, ``N.snapshot.json``, ``timestamp.json``, ``root.json``
(the newest root, to be given to devices by hand), and ``targets/<name>/<version>/<sha256>.<file>``. Every change writes
its new files first and ``timestamp.json`` last: a cut at any byte leaves the old state served, and the next change
starts from what the timestamp lists. See https://theupdateframework.github.io/specification/latest/.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined] # documented there
from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import (  # type: ignore[attr-defined] # its documented names, which it does not re-export
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError

from broker.messages import BundleRef
from edge_agent.bundle import MANIFEST_NAME, MAX_MANIFEST_BYTES, MAX_VARIANT_BYTES, Manifest, parse_manifest
from edge_agent.clock import Clock
from edge_agent.durable import replace_file, sync_folder
from edge_agent.errors import BundleError
from exporter.errors import AlreadyPublishedError, KeysError, RepositoryError
from exporter.keys import ROLES, load_signer, make_keys

METADATA: Final = "metadata"
TARGETS: Final = "targets"
# Signed beside the targets: manifests of versions that are no longer listed, so that no other content takes their name.
_UNLISTED: Final = "x-fieldloop-unlisted"

SignedT = TypeVar("SignedT", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long each role's metadata is believed; the timestamp's bounds how long a stale mirror can go unnoticed."""

    root: timedelta = timedelta(days=365)
    targets: timedelta = timedelta(days=90)
    snapshot: timedelta = timedelta(days=7)
    timestamp: timedelta = timedelta(days=1)

    def of(self, role: str) -> timedelta:
        """Return the lifetime of a role."""
        return {"root": self.root, "targets": self.targets, "snapshot": self.snapshot}.get(role, self.timestamp)


DEFAULT_LIFETIMES: Final = Lifetimes()


@dataclass(frozen=True, slots=True)
class _State:
    """What the repository lists now."""

    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]


def is_repository(folder: Path) -> bool:
    """Tell whether a folder was made by `init_repository`, to its end."""
    return (folder / METADATA / "timestamp.json").exists()


def root_of(repository: Path) -> Path:
    """Return the path of the root that devices must be given."""
    return repository / METADATA / "root.json"


def init_repository(folder: Path, keys_folder: Path, *, clock: Clock, lifetimes: Lifetimes = DEFAULT_LIFETIMES) -> Path:
    """Make an empty repository and its keys; return the path of the root that devices must be given.

    Raises:
        RepositoryError: a repository is there already, or the keys would lie where they are served.
        KeysError: the keys folder already holds a key.
    """
    metadata = folder / METADATA
    if is_repository(folder):
        raise RepositoryError(f"{folder} is a repository already")
    if keys_folder.resolve().is_relative_to(folder.resolve()):
        raise RepositoryError(f"{keys_folder} lies inside {folder}: the keys would be served; choose another folder")
    signers = make_keys(keys_folder)
    metadata.mkdir(parents=True, exist_ok=True)
    (folder / TARGETS).mkdir(exist_ok=True)
    now = _now(clock)
    root = Root(consistent_snapshot=True, expires=now + lifetimes.root)
    for role, signer in signers.items():
        root.add_key(signer.public_key, role)
    state = _State(
        Metadata(root),
        Metadata(Timestamp(expires=now + lifetimes.timestamp)),
        Metadata(Snapshot(expires=now + lifetimes.snapshot)),
        Metadata(Targets(expires=now + lifetimes.targets)),
    )
    _write_root(metadata, state.root, signers["root"])
    _write_listing(metadata, state, signers, changed=("targets", "snapshot"))
    return root_of(folder)


def publish_bundle(
    bundle_folder: Path,
    repository: Path,
    keys: Path,
    *,
    clock: Clock,
    lifetimes: Lifetimes = DEFAULT_LIFETIMES,
) -> BundleRef:
    """List a bundle's manifest and variants as signed targets. Publishing the same content again changes nothing.

    Raises:
        BundleError: the folder is not a bundle, or a file is not the one that its manifest names.
        AlreadyPublishedError: this version was published with other content.
        RepositoryError: no repository, or one that its own keys did not sign.
        KeysError: a key is missing, or not the repository's.
    """
    manifest, files = _load_bundle(bundle_folder)
    ref = manifest.ref
    digest = hashlib.sha256(files[MANIFEST_NAME]).hexdigest()
    with _locked(repository):
        state = _load_state(repository)
        signers = _load_signers(keys, state.root.signed, ("targets", "snapshot", "timestamp"))
        signed = state.targets.signed
        listed = signed.targets.get(f"{ref}/{MANIFEST_NAME}")
        unlisted = _unlisted(signed)
        known = listed.hashes["sha256"] if listed else unlisted.get(str(ref))
        if known not in (None, digest):
            raise AlreadyPublishedError(
                f"{ref} was published with other content; a version never changes, take a new one"
            )
        if listed is not None:
            return ref
        _write_targets(repository / TARGETS, ref, files)
        signed.targets |= _targets_of(manifest, files)
        unlisted.pop(str(ref), None)
        signed.unrecognized_fields[_UNLISTED] = unlisted
        _advance(repository, state, signers, clock, lifetimes)
    return ref


def unlist_bundle(
    ref: BundleRef, repository: Path, keys: Path, *, clock: Clock, lifetimes: Lifetimes = DEFAULT_LIFETIMES
) -> None:
    """Take a bundle off the list, so that no device accepts it any more; its files and its name stay taken.

    Raises:
        RepositoryError: it is not listed, or the repository is not what its keys signed.
        KeysError: a key is missing, or not the repository's.
    """
    with _locked(repository):
        state = _load_state(repository)
        signers = _load_signers(keys, state.root.signed, ("targets", "snapshot", "timestamp"))
        signed = state.targets.signed
        manifest = signed.targets.get(f"{ref}/{MANIFEST_NAME}")
        if manifest is None:
            raise RepositoryError(f"{ref} is not listed in {repository}")
        signed.targets = {path: target for path, target in signed.targets.items() if not path.startswith(f"{ref}/")}
        signed.unrecognized_fields[_UNLISTED] = _unlisted(signed) | {str(ref): manifest.hashes["sha256"]}
        _advance(repository, state, signers, clock, lifetimes)


def refresh_timestamp(
    repository: Path, keys: Path, *, clock: Clock, lifetimes: Lifetimes = DEFAULT_LIFETIMES
) -> tuple[str, ...]:
    """Sign the timestamp anew, and every other role of which less than half its life is left.

    Returns:
        The roles that were signed, for example ``("timestamp",)``.

    Raises:
        RepositoryError: no repository, or one that its own keys did not sign.
        KeysError: a key is missing, or not the repository's.
    """
    with _locked(repository):
        state = _load_state(repository)
        now = _now(clock)
        signed = {part.type: part for part in (state.root.signed, state.targets.signed, state.snapshot.signed)}
        old = {role for role, part in signed.items() if part.expires - now < lifetimes.of(role) / 2}
        if "targets" in old:
            old.add("snapshot")  # it names the version of the targets
        due = tuple(role for role in ROLES if role in old or role == "timestamp")
        signers = _load_signers(keys, state.root.signed, due)
        for role in old:
            _renew(signed[role], now, lifetimes)
        _renew(state.timestamp.signed, now, lifetimes)
        if "root" in old:
            _write_root(repository / METADATA, state.root, signers["root"])
        _write_listing(repository / METADATA, state, signers, changed=due)
    return due


def list_bundles(repository: Path) -> tuple[BundleRef, ...]:
    """Return the bundles that are listed now, by name and version; raise RepositoryError as `publish_bundle` does."""
    refs = []
    for path in _load_state(repository).targets.signed.targets:
        name, version, file = path.split("/")
        if file == MANIFEST_NAME:
            refs.append(BundleRef(name, int(version)))
    return tuple(sorted(refs))


def load_listed_manifest(repository: Path, ref: BundleRef) -> Manifest | None:
    """Return the manifest of a bundle that is listed now, None when it is not listed, or nothing is.

    Raises:
        RepositoryError: one that its own keys did not sign.
        BundleError: its file is not the one that was signed.
    """
    if not is_repository(repository):
        return None
    target = _load_state(repository).targets.signed.targets.get(f"{ref}/{MANIFEST_NAME}")
    if target is None:
        return None
    digest = target.hashes["sha256"]
    path = repository / TARGETS / ref.name / str(ref.version) / f"{digest}.{MANIFEST_NAME}"
    data = _read(path, MAX_MANIFEST_BYTES)
    if hashlib.sha256(data).hexdigest() != digest:
        raise BundleError(f"{path} is not the file that was signed; publish the bundle again")
    return parse_manifest(data)


# --- the bundle ------------------------------------------------------------------------------------------------------


def _load_bundle(folder: Path) -> tuple[Manifest, dict[str, bytes]]:
    files = {MANIFEST_NAME: _read(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES)}
    manifest = parse_manifest(files[MANIFEST_NAME])
    for variant in manifest.variants:
        data = _read(folder / variant.file, MAX_VARIANT_BYTES)
        if len(data) != variant.size_bytes or hashlib.sha256(data).hexdigest() != variant.sha256:
            raise BundleError(f"{folder / variant.file} is not the file that {MANIFEST_NAME} names; export again")
        files[variant.file] = data
    return manifest, files


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > max_bytes:
        raise BundleError(f"{path}: larger than the {max_bytes} bytes that are allowed")
    return data


def _targets_of(manifest: Manifest, files: Mapping[str, bytes]) -> dict[str, TargetFile]:
    """Describe a bundle's files as targets; the custom part lets a client choose before it downloads."""
    roles = {MANIFEST_NAME: "manifest"} | {variant.file: variant.name for variant in manifest.variants}
    targets = {}
    for file, data in files.items():
        path = f"{manifest.ref}/{file}"
        target = TargetFile.from_data(path, data, ["sha256"])
        target.unrecognized_fields["custom"] = {"bundle": str(manifest.ref), "is": roles[file]}
        targets[path] = target
    return targets


def _write_targets(folder: Path, ref: BundleRef, files: Mapping[str, bytes]) -> None:
    place = folder / ref.name / str(ref.version)
    place.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        replace_file(place / f"{hashlib.sha256(data).hexdigest()}.{file}", data)
    sync_folder(place.parent)
    sync_folder(folder)


# --- metadata --------------------------------------------------------------------------------------------------------


def _advance(
    repository: Path, state: _State, signers: Mapping[str, CryptoSigner], clock: Clock, lifetimes: Lifetimes
) -> None:
    """Give the changed targets and all that lists them new versions, and write them."""
    now = _now(clock)
    for signed in (state.targets.signed, state.snapshot.signed, state.timestamp.signed):
        _renew(signed, now, lifetimes)
    _write_listing(repository / METADATA, state, signers, changed=("targets", "snapshot"))


def _renew(signed: Root | Timestamp | Snapshot | Targets, now: datetime, lifetimes: Lifetimes) -> None:
    signed.version += 1
    signed.expires = now + lifetimes.of(signed.type)


def _write_root(folder: Path, root: Metadata[Root], signer: CryptoSigner) -> None:
    root.sign(signer)
    data = root.to_bytes()
    replace_file(folder / f"{root.signed.version}.root.json", data)
    replace_file(folder / "root.json", data)


def _write_listing(folder: Path, state: _State, signers: Mapping[str, CryptoSigner], changed: tuple[str, ...]) -> None:
    # The order is the safety property: each file is on disk before the one that names it.
    # 1. targets, 2. the snapshot that names them, 3. the timestamp: only now clients see any of it.
    if "targets" in changed:
        _write_versioned(folder, state.targets, signers["targets"])
        state.snapshot.signed.meta["targets.json"] = MetaFile(state.targets.signed.version)
    if "snapshot" in changed:
        data = _write_versioned(folder, state.snapshot, signers["snapshot"])
        version = state.snapshot.signed.version
        state.timestamp.signed.snapshot_meta = MetaFile.from_data(version, data, ["sha256"])
    state.timestamp.sign(signers["timestamp"])
    replace_file(folder / "timestamp.json", state.timestamp.to_bytes())


def _write_versioned(folder: Path, part: Metadata[SignedT], signer: CryptoSigner) -> bytes:
    part.sign(signer)
    data = part.to_bytes()
    replace_file(folder / f"{part.signed.version}.{part.signed.type}.json", data)
    return data


def _load_state(repository: Path) -> _State:
    """Read what the timestamp lists, checking every signature: what others altered is not signed again by us."""
    folder = repository / METADATA
    root = _load_root(folder)
    timestamp = _load_signed(folder / "timestamp.json", root, Timestamp)
    snapshot = _load_signed(folder / f"{timestamp.signed.snapshot_meta.version}.snapshot.json", root, Snapshot)
    targets_version = snapshot.signed.meta["targets.json"].version
    targets = _load_signed(folder / f"{targets_version}.targets.json", root, Targets)
    return _State(root, timestamp, snapshot, targets)


def _load_signed(path: Path, root: Metadata[Root], kind: type[SignedT]) -> Metadata[SignedT]:
    metadata = _parse(path, kind)
    role = metadata.signed.type
    try:
        root.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (UnsignedMetadataError, ValueError) as error:
        raise RepositoryError(f"{path}: not signed by this repository's {role} key") from error
    return metadata


def _load_root(folder: Path) -> Metadata[Root]:
    versions = [int(p.name.partition(".")[0]) for p in folder.glob("*.root.json") if p.name.partition(".")[0].isdigit()]
    if not versions:
        raise RepositoryError(f"{folder.parent} is not a repository; make one with: fieldloop repository init")
    return _parse(folder / f"{max(versions)}.root.json", Root)


def _parse(path: Path, kind: type[SignedT]) -> Metadata[SignedT]:
    try:
        metadata: Metadata[SignedT] = Metadata.from_bytes(path.read_bytes())
    except (OSError, DeserializationError, TufError) as error:
        raise RepositoryError(f"{path}: cannot be read as TUF metadata: {error}") from error
    if not isinstance(metadata.signed, kind):
        raise RepositoryError(f"{path}: holds {metadata.signed.type} metadata")
    return metadata


def _load_signers(keys: Path, root: Root, roles: tuple[str, ...]) -> dict[str, CryptoSigner]:
    signers = {role: load_signer(keys, role) for role in roles}
    for role, signer in signers.items():
        if signer.public_key.keyid not in root.roles[role].keyids:
            raise KeysError(f"{keys / role}.pem is not the {role} key of this repository")
    return signers


def _unlisted(targets: Targets) -> dict[str, str]:
    stored = targets.unrecognized_fields.get(_UNLISTED, {})
    return {str(ref): str(digest) for ref, digest in stored.items()}


def _now(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.utc_s(), UTC).replace(microsecond=0)


@contextmanager
def _locked(repository: Path) -> Iterator[None]:
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
