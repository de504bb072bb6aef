"""Reads a packed bundle, which is one file with the manifest and all that it names (`edge_agent.bundle_layout`).

Nothing is read before its length was checked against a limit, and no more is held in memory than the manifest and one
chunk.
"""

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from edge_agent.bundle import MANIFEST_NAME, BundleFile, Manifest, bundle_files, parse_manifest
from edge_agent.bundle_layout import (
    END_BYTES,
    Entry,
    local_header,
    parse_directory,
    parse_end,
    verify_size,
)
from edge_agent.errors import AlteredError, BundleError, StorageError
from edge_agent.plain_file import open_plain, read_at

_CHUNK_BYTES: Final = 1 << 20


class PackedBundle:
    """A packed bundle whose form, manifest and directory agree; the content of its files is checked as it is read.

    Attributes:
        manifest_data: the bytes of the manifest.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Read the directory and the manifest.

        Args:
            file: open for reading and seeking; it stays the caller's.

        Raises:
            BundleError: not a packed bundle in the one form that is allowed, or not one that its manifest describes.
            StorageError: it cannot be read now.
        """
        # The order is the safety property: what says how much is to be read is checked before it is.
        # 1. The length of the file, and the record at its end.
        self._file = file
        file_bytes = file.seek(0, os.SEEK_END)
        verify_size(file_bytes)
        directory = parse_end(self._read(max(0, file_bytes - END_BYTES), END_BYTES), file_bytes)
        # 2. The directory: names, lengths, places.
        entries = parse_directory(self._read(directory.offset, directory.size_bytes), directory)
        # 3. What stands before each content must say the same.
        for entry in entries:
            expected = local_header(entry)
            if self._read(entry.offset, len(expected)) != expected:
                raise BundleError(f"entry {entry.name!r}: its header says other things than the directory")
        # 4. The manifest, and whether it names these files, in this order.
        self._entries = {entry.name: entry for entry in entries}
        self.manifest_data = b"".join(self._stored(entries[0]))
        self.manifest: Manifest = parse_manifest(self.manifest_data)
        _verify_named(bundle_files(self.manifest), entries[1:])

    def chunks(self, file: BundleFile) -> Iterator[bytes]:
        """Read a file of the bundle, at most 1 MiB at a time.

        Args:
            file: one of ``bundle_files(manifest)``.

        Raises:
            AlteredError: at its end, if it was not the file that the manifest names.
            StorageError: it cannot be read now.
        """
        return verified(self._stored(self._entries[file.name]), file)

    def _stored(self, entry: Entry) -> Iterator[bytes]:
        crc32 = 0
        for position in range(entry.data_offset, entry.end_offset, _CHUNK_BYTES):
            chunk = self._read(position, min(_CHUNK_BYTES, entry.end_offset - position))
            crc32 = zlib.crc32(chunk, crc32)
            yield chunk
        if crc32 != entry.crc32:
            raise AlteredError(f"entry {entry.name!r}: its content does not have its checksum")

    def _read(self, offset: int, n_bytes: int) -> bytes:
        return read_at(self._file, offset, n_bytes)


@contextmanager
def open_packed(path: Path) -> Iterator[PackedBundle]:
    """Open a packed bundle.

    Raises:
        BundleError: it is not there, no plain file, or not a packed bundle; the message names it.
        StorageError: it cannot be read now.
    """
    with open_plain(path) as file:
        with named(path):
            bundle = PackedBundle(file)
        yield bundle


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Say in errors which bundle it is."""
    try:
        yield
    except (BundleError, StorageError) as error:
        raise type(error)(f"{path}: {error}") from error


def verified(chunks: Iterable[bytes], file: BundleFile) -> Iterator[bytes]:
    """Pass chunks on, and compare their length and SHA-256 with what the manifest says.

    Raises:
        AlteredError: as soon as there is more than that, or at the end.
    """
    digest, n_bytes = hashlib.sha256(), 0
    for chunk in chunks:
        n_bytes += len(chunk)
        if n_bytes > file.size_bytes:
            break
        digest.update(chunk)
        yield chunk
    if n_bytes != file.size_bytes:
        more = " or more" if n_bytes > file.size_bytes else ""
        raise AlteredError(f"{file.name}: {n_bytes}{more} bytes, its manifest says {file.size_bytes}")
    if digest.hexdigest() != file.sha256:
        raise AlteredError(f"{file.name}: SHA-256 {digest.hexdigest()}, its manifest says {file.sha256}")


def _verify_named(files: tuple[BundleFile, ...], entries: tuple[Entry, ...]) -> None:
    expected, found = [file.name for file in files], [entry.name for entry in entries]
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing:
        raise BundleError(f"lacks {', '.join(missing)}, which {MANIFEST_NAME} names")
    if extra:
        raise BundleError(f"holds {', '.join(extra)}, which {MANIFEST_NAME} does not name")
    if found != expected:
        raise BundleError(f"holds {', '.join(found)}; the order is {', '.join(expected)}")
    for file, entry in zip(files, entries, strict=True):
        if file.size_bytes != entry.size_bytes:
            raise BundleError(f"entry {file.name!r} has {entry.size_bytes} bytes, its manifest says {file.size_bytes}")
