"""Reads and writes files on the FAT of an image: by mtools, without a mount and without root."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from exporter.image.customise.errors import CustomiseError
from exporter.image.customise.programs import run_program
from exporter.image.emulation.partitions import Partition

_CHUNK_BYTES: Final = 4 << 20
# FAT: bytes a sector, sectors a cluster, reserved sectors, tables, ..., sectors in 16 bits, ..., sectors a table in 16
# bits, ..., sectors in 32 bits, sectors a table in 32 bits (Microsoft's specification, 1.03, "Boot Sector and BPB").
_BOOT_SECTOR: Final = struct.Struct("<11xHBHB2xHxH8xII")
_FREE: Final = b"\0\0\0\0"
_FIRST_CLUSTER: Final = 2


@dataclass(frozen=True, slots=True)
class BootPartition:
    """The first partition of a raw image, which the board's firmware reads.

    Attributes:
        image: raw.
    """

    image: Path
    partition: Partition

    def names(self) -> frozenset[str]:
        """Return what lies at its top, folders too."""
        listed = self._run("mdir", "-a", "-b", "::/").decode(errors="replace")
        return frozenset(line.strip().removeprefix("::/").rstrip("/") for line in listed.splitlines() if line.strip())

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        return self._run("mcopy", f"::/{name}", "-")

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of what has its name."""
        self._run("mcopy", "-D", "o", "-", f"::/{name}", given=content)

    def make_folder(self, name: str) -> None:
        """Make a folder that is not there yet."""
        self._run("mmd", f"::/{name}")

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all in it."""
        self._run("mdeltree", f"::/{name}")

    def free_bytes(self) -> int:
        """Count the free clusters in its table; what the file system says of itself may be out of date.

        Raises:
            CustomiseError: it is no FAT with 32 bits.
        """
        with self.image.open("rb") as file:
            file.seek(self.partition.start_bytes)
            fields: tuple[int, ...] = _BOOT_SECTOR.unpack(file.read(_BOOT_SECTOR.size))
            sector_bytes, per_cluster, reserved, tables, few, fat16, many, fat32 = fields
            if fat16 or not (sector_bytes and per_cluster and fat32):
                raise CustomiseError(f"{self.image}: its boot partition is no FAT32, as Raspberry Pi OS has it")
            clusters = ((few or many) - reserved - tables * fat32) // per_cluster
            file.seek(self.partition.start_bytes + (reserved * sector_bytes) + 4 * _FIRST_CLUSTER)
            return _count_free(file, clusters) * per_cluster * sector_bytes

    def _run(self, program: str, *arguments: str, given: bytes = b"") -> bytes:
        return run_program([program, "-i", f"{self.image}@@{self.partition.start_bytes}", *arguments], given)


def _count_free(file: BinaryIO, clusters: int) -> int:
    found, left = 0, clusters * 4
    while left > 0:
        chunk = file.read(min(left, _CHUNK_BYTES))
        if not chunk:
            break
        found += sum(chunk[place : place + 4] == _FREE for place in range(0, len(chunk), 4))
        left -= len(chunk)
    return found
