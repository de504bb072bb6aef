"""Writes ZIP files record by record, so that any field of any record can lie; it shares no code with what it tests."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Fields: TypeAlias = Mapping[str, int | bytes]

LOCAL: Final = (
    "<4sHHHHHLLLHH",
    ("signature", "needed", "flags", "method", "time", "date", "crc32", "compressed", "size", "name_len", "extra_len"),
)
CENTRAL: Final = (
    "<4sHHHHHHLLLHHHHHLL",
    (
        *("signature", "made_by", "needed", "flags", "method", "time", "date", "crc32", "compressed", "size"),
        *("name_len", "extra_len", "comment_len", "disk", "internal", "external", "offset"),
    ),
)
END: Final = (
    "<4sHHHHLLH",
    ("signature", "disk", "cd_disk", "n_here", "n_total", "cd_size", "cd_offset", "comment_len"),
)


@dataclass(frozen=True)
class Part:
    """One entry.

    Attributes:
        stored: what lies in the file where it is not the data.
        local, central, both: fields that lie.
        extra, comment: bytes behind the name.
    """

    name: str
    data: bytes
    stored: bytes | None = None
    local: Fields = field(default_factory=dict)
    central: Fields = field(default_factory=dict)
    both: Fields = field(default_factory=dict)
    raw_name: bytes | None = None
    extra: bytes = b""
    comment: bytes = b""

    @property
    def fields(self) -> dict[str, int | bytes]:
        name = self.raw_name or self.name.encode()
        stored = self.data if self.stored is None else self.stored
        return {
            "needed": 20,
            "flags": 0,
            "method": 0,
            "time": 0,
            "date": 33,
            "crc32": zlib.crc32(self.data),
            "compressed": len(stored),
            "size": len(self.data),
            "name_len": len(name),
            "extra_len": len(self.extra),
            **self.both,
        }


def archive(
    parts: Sequence[Part],
    *,
    prefix: bytes = b"",
    gap: bytes = b"",
    suffix: bytes = b"",
    end: Fields | None = None,
) -> bytes:
    """Write parts as a ZIP file.

    Args:
        parts: in this order.
        prefix: before everything; the offsets count it, as self-extracting archives have it.
        gap: between the contents and the directory.
        suffix: behind everything.
        end: fields of the end record that lie.
    """
    out, directory = bytearray(prefix), bytearray()
    for part in parts:
        name = part.raw_name or part.name.encode()
        offset = len(out)
        out += record(LOCAL, {**part.fields, "signature": b"PK\3\4", **part.local}) + name + part.extra
        out += part.data if part.stored is None else part.stored
        fixed: dict[str, int | bytes] = {"signature": b"PK\1\2", "made_by": 3 << 8 | 20, "disk": 0, "internal": 0}
        fixed |= {"external": 0o100644 << 16, "comment_len": len(part.comment), "offset": offset}
        directory += record(CENTRAL, {**fixed, **part.fields, **part.central}) + name + part.extra + part.comment
    out += gap
    n = len(parts)
    closing: dict[str, int | bytes] = {"signature": b"PK\5\6", "disk": 0, "cd_disk": 0, "n_here": n, "n_total": n}
    closing |= {"cd_size": len(directory), "cd_offset": len(out), "comment_len": 0, **(end or {})}
    return bytes(out + directory + record(END, closing) + suffix)


def record(layout: tuple[str, tuple[str, ...]], fields: Fields) -> bytes:
    """Pack the fields of one record."""
    return struct.pack(layout[0], *(fields[name] for name in layout[1]))
