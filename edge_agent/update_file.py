"""Reads an update file: a signed repository in one file, cut down to one bundle, to be carried to a device by hand.

It is a ZIP file of the one form of `edge_agent.bundle_layout`. Its first entry says for which bundle it was made; that
is no more than a hint, for whatever counts is signed: ``metadata/`` and ``targets/`` hold the same files as the
repository that it was made from, and a device believes them as if they had come from there (``update.fetcher``).
Nothing is read before its length was checked, and no more is held in memory than the directory and one chunk.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from broker.messages import BundleRef
from edge_agent.bundle import MAX_VARIANT_BYTES
from edge_agent.bundle_layout import END_BYTES, Entry, Form, local_header, parse_directory, parse_end
from edge_agent.errors import BundleError, StorageError
from edge_agent.plain_file import open_plain, read_at

HINT_NAME: Final = "fieldloop-update.json"
METADATA_FOLDER: Final = "metadata"
TARGETS_FOLDER: Final = "targets"
SUFFIX: Final = ".update"
# What all roots of a repository in use for decades, its lists and a bundle may take together.
MAX_UPDATE_BYTES: Final = 2 << 30
MAX_HINT_BYTES: Final = 4096
MAX_NAME_BYTES: Final = 255
MAX_ENTRIES: Final = 1024
_CHUNK_BYTES: Final = 1 << 20
_PART: Final = r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,149}"
_NAME: Final = re.compile(rf"{METADATA_FOLDER}/{_PART}\.json|{TARGETS_FOLDER}/{_PART}/{_PART}/{_PART}")

FORM: Final = Form(
    what="update file",
    made_by="fieldloop repository export",
    first=HINT_NAME,
    max_entries=MAX_ENTRIES,
    max_name_bytes=MAX_NAME_BYTES,
    is_name=lambda name: name == HINT_NAME or _NAME.fullmatch(name) is not None,
    max_bytes=lambda name: MAX_HINT_BYTES if name == HINT_NAME else MAX_VARIANT_BYTES,
    names=f"{METADATA_FOLDER}/FILE.json and {TARGETS_FOLDER}/NAME/VERSION/FILE",
)


class Hint(Struct, frozen=True):
    """For which bundle an update file was made; believed by nobody, so it is not signed."""

    format: int
    name: str
    version: int


class UpdateFile:
    """An open update file whose form is right; what lies in it is for TUF to judge.

    Attributes:
        bundle: the one that it was made for.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Read the directory and the hint.

        Args:
            file: open for reading and seeking; it stays the caller's.

        Raises:
            BundleError: not an update file in the one form that is allowed.
            StorageError: it cannot be read now.
        """
        self._file = file
        file_bytes = file.seek(0, os.SEEK_END)
        if file_bytes > MAX_UPDATE_BYTES:
            raise BundleError(f"has {file_bytes} bytes; at most {MAX_UPDATE_BYTES} are allowed")
        directory = parse_end(self._read(max(0, file_bytes - END_BYTES), END_BYTES), file_bytes, FORM)
        entries = parse_directory(self._read(directory.offset, directory.size_bytes), directory, FORM)
        for entry in entries:
            expected = local_header(entry)
            if self._read(entry.offset, len(expected)) != expected:
                raise BundleError(f"entry {entry.name!r}: its header says other things than the directory")
        self._entries = {entry.name: entry for entry in entries}
        self.bundle = _parse_hint(b"".join(self._stored(entries[0])))

    def chunks(self, name: str) -> Iterator[bytes] | None:
        """Read a file of the repository, at most 1 MiB at a time; None where it does not lie in here.

        Args:
            name: as ``metadata/timestamp.json``.
        """
        entry = self._entries.get(name)
        return None if entry is None else self._stored(entry)

    def _stored(self, entry: Entry) -> Iterator[bytes]:
        for position in range(entry.data_offset, entry.end_offset, _CHUNK_BYTES):
            yield self._read(position, min(_CHUNK_BYTES, entry.end_offset - position))

    def _read(self, offset: int, n_bytes: int) -> bytes:
        return read_at(self._file, offset, n_bytes)


@contextmanager
def open_update(path: Path) -> Iterator[UpdateFile]:
    """Open an update file.

    Raises:
        BundleError: it is not there, no plain file, or not an update file; the message names it.
        StorageError: it cannot be read now.
    """
    with open_plain(path) as file:
        try:
            update = UpdateFile(file)
        except (BundleError, StorageError) as error:
            raise type(error)(
                f"{path}: {error}; a device installs what `fieldloop repository export` writes, with its signatures"
            ) from error
        yield update


def encode_hint(bundle: BundleRef) -> bytes:
    """Return what stands first in an update file."""
    return msgspec.json.encode(Hint(1, bundle.name, bundle.version))


def _parse_hint(data: bytes) -> BundleRef:
    try:
        hint = msgspec.json.decode(data, type=Hint)
        bundle = msgspec.convert([hint.name, hint.version], BundleRef)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{HINT_NAME}: {error}") from error
    if hint.format != 1:
        raise BundleError(f"{HINT_NAME}: format {hint.format} is of a newer fieldloop; update the agent")
    return bundle
