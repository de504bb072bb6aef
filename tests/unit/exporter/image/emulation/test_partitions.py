"""What a boot sector lists."""

import struct
from pathlib import Path

import pytest

from exporter.image.emulation.partitions import Partition, parse_partitions
from exporter.image.errors import ImageError

IMAGE = Path("card.img")


def sector(*entries: tuple[int, int, int]) -> bytes:
    table = b"".join(struct.pack("<4xB3xII", *entry) for entry in entries)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


def test_partitions_are_listed_in_bytes_with_their_numbers():
    assert parse_partitions(sector((0x0C, 2048, 1000), (0, 0, 0), (0x83, 4096, 10)), IMAGE) == (
        Partition(1, 0x0C, 1 << 20, 512_000),
        Partition(3, 0x83, 2 << 20, 5120),
    )


def test_only_types_of_fat_are_taken_for_a_boot_partition():
    fat, linux = parse_partitions(sector((0x0C, 8, 8), (0x83, 16, 8)), IMAGE)
    assert fat.is_fat
    assert not linux.is_fat


def test_a_table_of_guids_is_refused_by_name():
    with pytest.raises(ImageError, match=r"card\.img has a GUID partition table"):
        parse_partitions(sector((0xEE, 1, 100)), IMAGE)


@pytest.mark.parametrize("wrong", [b"", bytes(512), sector()[:511]])
def test_what_is_no_boot_sector_is_refused(wrong: bytes):
    with pytest.raises(ImageError, match="no image of a disk"):
        parse_partitions(wrong, IMAGE)
