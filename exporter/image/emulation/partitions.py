"""Reads the table of partitions of an image: master boot record only, which is what a Raspberry Pi starts from."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.image.errors import ImageError
from exporter.image.image_file import SECTOR_BYTES, verify_boot_sector

_TABLE_OFFSET: Final = 446
# Of 16 bytes: the type, the first sector and the number of sectors; heads and cylinders mean nothing any more.
_ENTRY: Final = struct.Struct("<4xB3xII")
_ENTRIES: Final = 4
_PROTECTIVE: Final = 0xEE
_FAT_TYPES: Final = frozenset({0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E})


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition.

    Attributes:
        number: from 1, as in the names of its devices.
        kind: type byte of the table.
    """

    number: int
    kind: int
    start_bytes: int
    size_bytes: int

    @property
    def is_fat(self) -> bool:
        """Whether its type says that it holds a FAT."""
        return self.kind in _FAT_TYPES


def parse_partitions(sector: bytes, image: Path) -> tuple[Partition, ...]:
    """Return the partitions that a boot sector lists, in the order of their numbers.

    Args:
        sector: first 512 bytes of the image.
        image: where they come from, named when they cannot be taken.

    Raises:
        ImageError: it is no boot sector, or has a GUID table.
    """
    verify_boot_sector(sector, image)
    found = []
    for number in range(1, _ENTRIES + 1):
        kind, start, sectors = _ENTRY.unpack_from(sector, _TABLE_OFFSET + (number - 1) * _ENTRY.size)
        if kind == _PROTECTIVE:
            raise ImageError(f"{image} has a GUID partition table: only images with a master boot record are started")
        if kind and sectors:
            found.append(Partition(number, kind, start * SECTOR_BYTES, sectors * SECTOR_BYTES))
    return tuple(found)


def load_partitions(image: Path) -> tuple[Partition, ...]:
    """Return the partitions of a raw image.

    Raises:
        ImageError: it cannot be read, or is no image of a disk.
    """
    try:
        with image.open("rb") as file:
            sector = file.read(SECTOR_BYTES)
    except OSError as error:
        raise ImageError(f"{image} cannot be read: {error.strerror}") from error
    return parse_partitions(sector, image)
