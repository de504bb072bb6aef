"""Reads what the shim wrote down: the calls that changed a folder, or made its changes durable, in their order."""

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final


class Kind(enum.IntEnum):
    """What a call did; as in shim.c."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    SYNC_FOLDER = 5
    RENAME = 6
    LINK = 7
    SYMLINK = 8
    UNLINK = 9
    MKDIR = 10
    RMDIR = 11
    NOTE = 12


_HEAD: Final = struct.Struct("=IHHIIqqq")


@dataclass(frozen=True, slots=True)
class Operation:
    """One call.

    Attributes:
        end: length of the log when it was written: what places it among happenings that are noted elsewhere.
        path: its name, or the old one; ``""`` where the inode says which file it is.
        other: the new name of a rename or a link, the text of a symbolic link.
        inode: the file; its number may name another one after a `Kind.CREATE`.
        offset: of a write; the length that a truncation leaves.
        data: of a write, or of a note.
    """

    kind: Kind
    end: int
    path: str
    other: str
    inode: int
    offset: int
    data: bytes


def read_operations(log: Path) -> Iterator[Operation]:
    """Yield every operation of a log."""
    content = memoryview(log.read_bytes())
    at = 0
    while at < len(content):
        size, kind, path_size, other_size, data_size, inode, offset, _ = _HEAD.unpack_from(content, at)
        start = at + _HEAD.size
        other, data = start + path_size, start + path_size + other_size
        at += size
        yield Operation(
            Kind(kind),
            at,
            bytes(content[start:other]).decode(),
            bytes(content[other:data]).decode(),
            inode,
            offset,
            bytes(content[data : data + data_size]),
        )
