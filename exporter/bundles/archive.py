"""Packs a bundle's folder into one file, and unpacks it: the same folder gives the same bytes everywhere."""

import shutil
import tempfile
import zlib
from pathlib import Path
from typing import BinaryIO

from broker.messages import BundleRef
from edge_agent.bundle import MANIFEST_NAME, BundleFile, bundle_files
from edge_agent.bundle_file import named, open_packed
from edge_agent.bundle_layout import Entry, closing, local_header
from edge_agent.durable import replacing, sync_folder
from exporter.bundles.source import BundleSource, read_bundle, write_files
from exporter.errors import BundlePlaceError

SUFFIX = ".bundle"


def pack_folder(folder: Path, target: Path | None = None) -> Path:
    """Write a bundle's folder to one file, atomically.

    Args:
        folder: of a bundle, with nothing else in it.
        target: where to; by default ``<name>-<version>.bundle`` in the current folder. It is replaced.

    Returns:
        Where it was written.

    Raises:
        BundleError: the folder is not a bundle, or a file is not the one that its manifest names.
        BundlePlaceError: it cannot be written.
    """
    with read_bundle(folder, alone=True) as bundle:
        place = target or Path(f"{file_stem(bundle.manifest.ref)}{SUFFIX}")
        try:
            with replacing(place) as file, named(folder):
                _write_packed(bundle, file)
        except OSError as error:
            raise BundlePlaceError(f"{place}: cannot be written: {error.strerror or error}") from error
    return place


def unpack_file(path: Path, folder: Path) -> BundleRef:
    """Write a packed bundle's files into a new folder: all of them, or none.

    Args:
        path: of the packed bundle.
        folder: must not exist, or be empty.

    Raises:
        BundleError: not a packed bundle, or a file is not the one that its manifest names.
        BundlePlaceError: the folder has content already, or cannot be written.
    """
    with open_packed(path) as bundle:
        try:
            if folder.exists() and any(folder.iterdir()):
                raise BundlePlaceError(f"{folder}: is not empty; name a folder that is not there yet")
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
            try:
                with named(path):
                    write_files(bundle, temporary)
                temporary.chmod(0o755)
                sync_folder(temporary)
                temporary.rename(folder)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync_folder(folder.parent)
        except OSError as error:
            raise BundlePlaceError(f"{folder}: cannot be written: {error.strerror or error}") from error
        return bundle.manifest.ref


def file_stem(ref: BundleRef) -> str:
    """Return how the file of a bundle is called, for example ``quality-3``."""
    return f"{ref.name}-{ref.version}"


def _write_packed(bundle: BundleSource, target: BinaryIO) -> None:
    data = bundle.manifest_data
    manifest = Entry(MANIFEST_NAME, len(data), zlib.crc32(data), 0)
    target.write(local_header(manifest))
    target.write(data)
    entries = [manifest]
    for file in bundle_files(bundle.manifest):
        entries.append(_write_entry(bundle, file, entries[-1].end_offset, target))
    target.write(closing(entries))


def _write_entry(bundle: BundleSource, file: BundleFile, offset: int, target: BinaryIO) -> Entry:
    """Write a file's header and content; the checksum, which stands first, is known last."""
    target.write(local_header(Entry(file.name, file.size_bytes, 0, offset)))
    crc32 = 0
    for chunk in bundle.chunks(file):
        crc32 = zlib.crc32(chunk, crc32)
        target.write(chunk)
    entry = Entry(file.name, file.size_bytes, crc32, offset)
    target.seek(offset)
    target.write(local_header(entry))
    target.seek(entry.end_offset)
    return entry
