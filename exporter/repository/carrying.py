"""Writes an update file: what a device needs of a repository for one bundle, in one file that is carried to it.

Nothing is signed here, so it takes no key: the files are those of the repository, byte by byte, and the device checks
them as if it had fetched them. Every root is among them, so that a device follows that has not been online for years.
"""

import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from broker.messages import BundleRef
from edge_agent.bundle import MANIFEST_NAME, parse_manifest
from edge_agent.bundle_layout import Entry, closing, local_header
from edge_agent.durable import replacing
from edge_agent.update_file import HINT_NAME, METADATA_FOLDER, SUFFIX, TARGETS_FOLDER, encode_hint
from exporter.errors import RepositoryError
from exporter.repository.bundle_targets import read_target
from exporter.repository.delegation import is_delegated, list_of, role_of
from exporter.repository.listing import METADATA, TIMESTAMP, Listing, load_listing, locked

_DIGEST: Final = "sha256"


@dataclass(frozen=True, slots=True)
class Carried:
    """An update file that was written.

    Attributes:
        expires: when the first of its lists does, by a device's clock.
        variants: names of the variants that lie in it.
    """

    path: Path
    size_bytes: int
    expires: datetime
    variants: tuple[str, ...]


def export_update(
    repository: Path, ref: BundleRef, target: Path | None = None, variants: Collection[str] = ()
) -> Carried:
    """Write a listed bundle, with all that vouches for it, to one file, atomically.

    Args:
        repository: its folder, or a copy of it.
        ref: the bundle.
        target: where to; by default ``<name>-<version>.update`` in the current folder. It is replaced.
        variants: names of the variants to take along; empty: all.

    Raises:
        RepositoryError: the bundle is not listed, has no such variant, or the repository is not what its keys signed;
            or the file cannot be written.
        BundleError: a file of it is not the one that was signed.
    """
    place = target or Path(f"{ref.name}-{ref.version}{SUFFIX}")
    with locked(repository):
        listing = load_listing(repository)
        taken, files = _files_of(repository, listing, ref, variants)
        try:
            size_bytes = _write(place, files)
        except OSError as error:
            raise RepositoryError(f"{place}: cannot be written: {error.strerror or error}") from error
    roles = ["root", "timestamp", "snapshot", "targets"]
    if is_delegated(listing, ref.name):
        roles.append(role_of(ref.name))
    expires = min(listing.metadata_of(role).signed.expires for role in roles)
    return Carried(place, size_bytes, expires, taken)


def _files_of(
    repository: Path, listing: Listing, ref: BundleRef, wanted: Collection[str]
) -> tuple[tuple[str, ...], Iterator[tuple[str, bytes]]]:
    """Return the variants that are taken along, and the files with their contents."""
    role, listed = list_of(listing, ref.name)
    manifest_target = listed.targets.get(f"{ref}/{MANIFEST_NAME}")
    if manifest_target is None:
        raise RepositoryError(f"{ref} is not listed in {repository}; publish it first: fieldloop publish")
    manifest_data = read_target(repository, manifest_target)
    variants = parse_manifest(manifest_data).variants
    missing = sorted(set(wanted) - {variant.name for variant in variants})
    if missing:
        names = ", ".join(variant.name for variant in variants)
        raise RepositoryError(f"{ref} has no variant {missing[0]!r}; it has {names}")
    taken = [variant for variant in variants if not wanted or variant.name in wanted]

    def files() -> Iterator[tuple[str, bytes]]:
        yield HINT_NAME, encode_hint(ref)
        folder = repository / METADATA
        for name in _metadata_names(listing, role):
            yield f"{METADATA_FOLDER}/{name}", (folder / name).read_bytes()
        for target in (manifest_target, *(listed.targets[f"{ref}/{variant.file}"] for variant in taken)):
            place, _, name = target.path.rpartition("/")
            yield f"{TARGETS_FOLDER}/{place}/{target.hashes[_DIGEST]}.{name}", read_target(repository, target)

    return tuple(variant.name for variant in taken), files()


def _metadata_names(listing: Listing, role: str) -> list[str]:
    names = [f"{version}.root.json" for version in range(1, listing.root.signed.version + 1)]
    names += [TIMESTAMP, f"{listing.snapshot.signed.version}.snapshot.json"]
    roles = ["targets"] if role == "targets" else ["targets", role]
    return names + [f"{listing.metadata_of(each).signed.version}.{each}.json" for each in roles]


def _write(place: Path, files: Iterator[tuple[str, bytes]]) -> int:
    with replacing(place) as file:
        return _write_entries(file, files)


def _write_entries(file: BinaryIO, files: Iterator[tuple[str, bytes]]) -> int:
    entries: list[Entry] = []
    for name, data in files:
        entry = Entry(name, len(data), zlib.crc32(data), entries[-1].end_offset if entries else 0)
        file.write(local_header(entry))
        file.write(data)
        entries.append(entry)
    file.write(closing(entries))
    return file.tell()
