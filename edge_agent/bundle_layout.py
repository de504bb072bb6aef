"""The layout of a packed bundle, byte by byte: a ZIP file of which exactly one form is allowed.

Everybody can look inside with the tools at hand, and the same files always give the same bytes: entries in a fixed
order without gaps, stored as they are (what deflate gives differs between builds of zlib, and nothing is ever inflated
here), one date, one mode, no extra fields, comments, descriptors or 64-bit records. What a record may hold beside
names, lengths and checksums is a constant, so a reader compares it. See PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7,
4.3.12 and 4.3.16.
"""

import stat
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from edge_agent.bundle import (
    MANIFEST_NAME,
    MAX_BUNDLE_BYTES,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    MAX_VARIANT_BYTES,
    is_file_name,
)
from edge_agent.errors import BundleError

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
LOCAL_SIGNATURE: Final = b"PK\x03\x04"
CENTRAL_SIGNATURE: Final = b"PK\x01\x02"
END_SIGNATURE: Final = b"PK\x05\x06"

END_BYTES: Final = _END.size
_MAX_NAME_BYTES: Final = 64

_NEEDED: Final = 20
_MADE_BY_UNIX: Final = 3 << 8 | _NEEDED
_STORED: Final = 0
_FIRST_DAY: Final = 1 << 5 | 1  # 1 January 1980, where the dates of ZIP begin
_MODE: Final = (stat.S_IFREG | 0o644) << 16

_ENCRYPTED: Final = 0x0041
_DESCRIBED_LATER: Final = 0x0008
_IN_64_BITS: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Form:
    """What may lie in a packed file; everything else about it is the same for all.

    Attributes:
        what: the word for it.
        made_by: the command that makes it.
        first: name of its first entry.
        max_entries, max_name_bytes: how many entries, and how long their names may be.
        is_name: tells whether an entry may be named so.
        max_bytes: greatest length of an entry, by its name.
        names: says in words what `is_name` takes.
    """

    what: str
    made_by: str
    first: str
    max_entries: int
    max_name_bytes: int
    is_name: Callable[[str], bool]
    max_bytes: Callable[[str], int]
    names: str

    @property
    def max_directory_bytes(self) -> int:
        """Greatest length of the central directory."""
        return self.max_entries * (_CENTRAL.size + self.max_name_bytes)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in a packed bundle.

    Attributes:
        offset: of its local header, from the beginning of the packed file.
    """

    name: str
    size_bytes: int
    crc32: int
    offset: int

    @property
    def data_offset(self) -> int:
        """Where its content begins."""
        return self.offset + _LOCAL.size + len(self.name)

    @property
    def end_offset(self) -> int:
        """Where the next record begins."""
        return self.data_offset + self.size_bytes


class Directory(NamedTuple):
    """Where the central directory lies, as the end record says."""

    n_entries: int
    size_bytes: int
    offset: int


class _Central(NamedTuple):
    """A record of the central directory, its fields as APPNOTE.TXT names them."""

    signature: bytes
    made_by: int
    needed: int
    flags: int
    method: int
    time: int
    date: int
    crc32: int
    compressed_bytes: int
    size_bytes: int
    name_bytes: int
    extra_bytes: int
    comment_bytes: int
    disk: int
    internal_attributes: int
    external_attributes: int
    offset: int


BUNDLE: Final = Form(
    what="bundle",
    made_by="fieldloop bundle pack",
    first=MANIFEST_NAME,
    max_entries=MAX_FILES,
    max_name_bytes=_MAX_NAME_BYTES,
    is_name=lambda name: is_file_name(name) or name == MANIFEST_NAME,
    max_bytes=lambda name: MAX_MANIFEST_BYTES if name == MANIFEST_NAME else MAX_VARIANT_BYTES,
    names="plain names without folders, of small letters, digits, '.', '_' and '-'",
)
MAX_DIRECTORY_BYTES: Final = BUNDLE.max_directory_bytes


def local_header(entry: Entry) -> bytes:
    """Return what stands before an entry's content."""
    name, n = entry.name.encode("ascii"), entry.size_bytes
    return _LOCAL.pack(LOCAL_SIGNATURE, _NEEDED, 0, _STORED, 0, _FIRST_DAY, entry.crc32, n, n, len(name), 0) + name


def central_header(entry: Entry) -> bytes:
    """Return an entry's record in the central directory."""
    name = entry.name.encode("ascii")
    fields = _Central(
        signature=CENTRAL_SIGNATURE,
        made_by=_MADE_BY_UNIX,
        needed=_NEEDED,
        flags=0,
        method=_STORED,
        time=0,
        date=_FIRST_DAY,
        crc32=entry.crc32,
        compressed_bytes=entry.size_bytes,
        size_bytes=entry.size_bytes,
        name_bytes=len(name),
        extra_bytes=0,
        comment_bytes=0,
        disk=0,
        internal_attributes=0,
        external_attributes=_MODE,
        offset=entry.offset,
    )
    return _CENTRAL.pack(*fields) + name


def closing(entries: Sequence[Entry]) -> bytes:
    """Return what follows the last content: the central directory and the end record."""
    directory = b"".join(map(central_header, entries))
    n_entries, offset = len(entries), entries[-1].end_offset
    return directory + _END.pack(END_SIGNATURE, 0, 0, n_entries, n_entries, len(directory), offset, 0)


def parse_end(tail: bytes, file_bytes: int, form: Form = BUNDLE) -> Directory:
    """Read the end record and check it against the length of the file.

    Args:
        tail: the file's last `END_BYTES` bytes.
        file_bytes: its length.
        form: what may lie in it.

    Raises:
        BundleError: not the end of a packed bundle, or one that leaves bytes before or behind.
    """
    if len(tail) != END_BYTES or not tail.startswith(END_SIGNATURE):
        raise BundleError(
            f"does not end as a packed {form.what} does: no ZIP file, cut short, or something was appended"
        )
    _, disk, directory_disk, n_here, n_entries, size_bytes, offset, comment_bytes = _END.unpack(tail)
    if disk or directory_disk or n_here != n_entries:
        raise BundleError("is one of several disks")
    if comment_bytes:
        raise BundleError("has a comment at its end")
    if not 1 <= n_entries <= form.max_entries:
        raise BundleError(f"says that it has {n_entries} entries; at most {form.max_entries} are allowed")
    limit = form.max_directory_bytes
    if size_bytes > limit:
        raise BundleError(f"says that its directory has {size_bytes} bytes; at most {limit} are allowed")
    if offset + size_bytes + END_BYTES != file_bytes:
        raise BundleError(f"has {file_bytes} bytes where its records account for {offset + size_bytes + END_BYTES}")
    return Directory(n_entries, size_bytes, offset)


def parse_directory(data: bytes, directory: Directory, form: Form = BUNDLE) -> tuple[Entry, ...]:
    """Read the central directory and check that its entries lie one behind the other, without a gap.

    Args:
        data: ``(directory.size_bytes,)`` bytes.
        directory: as `parse_end` found it.
        form: what may lie in it.

    Raises:
        BundleError: an entry is not what a bundle may hold; the message names it.
    """
    entries: list[Entry] = []
    names: set[str] = set()
    position = offset = 0
    for number in range(directory.n_entries):
        record = data[position : position + _CENTRAL.size + form.max_name_bytes]
        entry, record_bytes = _parse_entry(record, number, form)
        if entry.name in names:
            raise BundleError(f"has two entries {entry.name!r}")
        if entry.offset != offset:
            raise BundleError(f"entry {entry.name!r} begins at byte {entry.offset}, where {offset} is expected")
        if (entry.name == form.first) != (number == 0):
            raise BundleError(f"entry {number} is {entry.name!r}; {form.first} comes first")
        entries.append(entry)
        names.add(entry.name)
        position += record_bytes
        offset = entry.end_offset
    if position != directory.size_bytes or offset != directory.offset:
        raise BundleError("has bytes between its entries and its directory, or behind them")
    return tuple(entries)


def _parse_entry(data: bytes, number: int, form: Form) -> tuple[Entry, int]:
    """Read the record at the beginning of ``data``; return the entry and the length of its record."""
    if len(data) < _CENTRAL.size:
        raise BundleError(f"its directory ends before entry {number}")
    record = _Central(*_CENTRAL.unpack_from(data))
    if record.signature != CENTRAL_SIGNATURE:
        raise BundleError(f"its directory has no record where entry {number} should be")
    raw_name = data[_CENTRAL.size : _CENTRAL.size + record.name_bytes]
    name = raw_name.decode("ascii", errors="replace")
    if record.name_bytes > form.max_name_bytes or not form.is_name(name):
        raise BundleError(
            f"entry {number} is named {name[: form.max_name_bytes]!r}: {form.names} are allowed, of at most "
            f"{form.max_name_bytes} bytes"
        )
    for is_so, problem in _refusals(name, record, form):
        if is_so:
            raise BundleError(f"entry {name!r} {problem}")
    entry = Entry(name, record.size_bytes, record.crc32, record.offset)
    expected = central_header(entry)
    if data[: len(expected)] != expected:
        raise BundleError(f"entry {name!r} is not written as `{form.made_by}` writes it")
    return entry, len(expected)


def _refusals(name: str, record: _Central, form: Form) -> tuple[tuple[bool, str], ...]:
    """Return what would be wrong with an entry, and whether it is; more than the last comparison needs, for people."""
    limit = form.max_bytes(name)
    mode = record.external_attributes >> 16
    return (
        (bool(record.flags & _ENCRYPTED), "is encrypted"),
        (bool(record.flags & _DESCRIBED_LATER), "has a data descriptor behind its content"),
        (_IN_64_BITS in (record.size_bytes, record.compressed_bytes, record.offset), "has lengths in 64 bits"),
        (record.size_bytes > limit, f"has {record.size_bytes} bytes; at most {limit} are allowed"),
        (
            record.method != _STORED,
            f"is compressed (method {record.method}); a {form.what}'s files are stored as they are",
        ),
        (
            record.compressed_bytes != record.size_bytes,
            f"takes {record.compressed_bytes} bytes for its {record.size_bytes}",
        ),
        (stat.S_ISLNK(mode), "is a link"),
        (mode != _MODE >> 16, f"has the mode {mode:o}, which is not that of a plain file"),
        (record.extra_bytes > 0, "has an extra field"),
        (record.comment_bytes > 0, "has a comment"),
        (record.disk > 0, "lies on another disk"),
        (record.size_bytes == 0, "is empty"),
    )


def verify_size(file_bytes: int) -> None:
    """Raise BundleError for a packed file that is longer than any bundle."""
    if file_bytes > MAX_BUNDLE_BYTES:
        raise BundleError(f"has {file_bytes} bytes; at most {MAX_BUNDLE_BYTES} are allowed")
