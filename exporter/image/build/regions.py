"""The parts that an image is put together of: files, which bytes of them are used, and their digests."""

import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from exporter.image.block_map import BLOCK_BYTES, BlockMap, BlockRange

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_READ_BYTES: Final = 4 << 20
# In a block map, a range this long is checked, and begun anew, by itself.
_RANGE_BYTES: Final = 16 << 20


class Region(Struct, frozen=True):
    """The used ranges of a file, from its start."""

    ranges: tuple[BlockRange, ...]


def read_region(path: Path, used: Iterable[tuple[int, int]]) -> Region:
    """Take the digests of a file's used ranges, which end on blocks."""
    found = []
    with path.open("rb") as file:
        for start, end in used:
            for at in range(start, end, _RANGE_BYTES):
                upto = min(at + _RANGE_BYTES, end)
                digest = hashlib.sha256()
                file.seek(at)
                for position in range(at, upto, _READ_BYTES):
                    digest.update(file.read(min(_READ_BYTES, upto - position)))
                found.append(BlockRange(at, upto, digest.hexdigest()))
    return Region(tuple(found))


def copy_region(source: Path, region: Region, image: int, offset: int) -> None:
    """Copy the used ranges of a file into an image.

    Args:
        source: the file.
        region: its used ranges.
        image: descriptor of the open image.
        offset: byte of the image at which the file begins.
    """
    with source.open("rb") as file:
        for each in region.ranges:
            at = each.start
            while at < each.end:
                at += os.copy_file_range(file.fileno(), image, each.end - at, at, offset + at)


def map_of(image_bytes: int, table: bytes, placed: Sequence[tuple[Region, int]]) -> BlockMap:
    """Return the block map of an image.

    Args:
        image_bytes: its size.
        table: its first block.
        placed: regions, each with the byte at which it begins, in their order.
    """
    first = BlockRange(0, BLOCK_BYTES, hashlib.sha256(table).hexdigest())
    moved = [
        BlockRange(each.start + offset, each.end + offset, each.sha256)
        for region, offset in placed
        for each in region.ranges
    ]
    return BlockMap(image_bytes, (first, *moved))


def pack(source: Path, start: int, end: int, into: Path, level: int) -> None:
    """Append a range of a file to a packed file, as a Zstandard frame of its own; frames in a row unpack as one.

    Args:
        source: the file.
        start: its first byte that is taken.
        end: the byte behind the last.
        into: the packed file.
        level: of Zstandard, 1 to 19.
    """
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: level,
        # Any number of threads, one as well, gives the same bytes; none gives others.
        zstd.CompressionParameter.nb_workers: os.cpu_count() or 1,
        zstd.CompressionParameter.checksum_flag: 1,
    }
    with source.open("rb") as file, into.open("ab") as packed, zstd.open(packed, "wb", options=options) as out:
        file.seek(start)
        while start < end:
            data = file.read(min(_READ_BYTES, end - start))
            out.write(data)
            start += len(data)
