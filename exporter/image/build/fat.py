"""Makes the FAT file system that a board's firmware reads, without mounting it: the same files give the same bytes."""

import hashlib
import os
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from exporter.image.build.tools import run_tool

# Of 512 bytes: a FAT32 must have 65,525 of them, and 128 MiB have them at this size.
_SECTORS_PER_CLUSTER: Final = "1"
_BLOCK_BYTES: Final = 4096


def make_fat(files: Mapping[str, bytes], label: str, size_bytes: int, time_s: int, into: Path) -> None:
    """Write a file system.

    Args:
        files: content by path.
        label: at most 11 capital letters and digits.
        size_bytes: of the file system.
        time_s: of every file, UTC seconds since 1970.
        into: the file; it is sparse.

    Raises:
        BuildError: it does not fit, or a tool is missing.
    """
    with into.open("xb") as file:
        file.truncate(size_bytes)
    number = hashlib.sha256(label.encode()).hexdigest()[:8]
    run_tool(
        ["mkfs.vfat", "-F", "32", "-s", _SECTORS_PER_CLUSTER, "--invariant", "-i", number, "-n", label, str(into)],
        time_s=time_s,
    )
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=".fat-") as name:
        folder = Path(name)
        for path in sorted(files):
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(files[path])
            os.utime(place, (time_s, time_s))
        parents = sorted({str(parent) for path in files for parent in PurePosixPath(path).parents} - {"."})
        if parents:
            run_tool(["mmd", "-i", str(into), *(f"::/{parent}" for parent in parents)], time_s=time_s)
        for parent in [".", *parents]:
            names = [str(folder / path) for path in sorted(files) if str(PurePosixPath(path).parent) == parent]
            if names:
                run_tool(["mcopy", "-m", "-i", str(into), *names, f"::/{parent}"], time_s=time_s)


def used_ranges(path: Path) -> tuple[tuple[int, int], ...]:
    """Return the bytes of a file system that anything may read, as ranges of start and end, on blocks of 4 KiB.

    See Microsoft's FAT specification (fatgen103), section 3: the tables, and every cluster that they do not call free.
    """
    with path.open("rb") as file:
        head = file.read(512)
        sector, per_cluster, reserved, tables = struct.unpack_from("<HBHB", head, 11)
        (table_sectors,) = struct.unpack_from("<I", head, 36)
        file.seek(reserved * sector)
        table = file.read(table_sectors * sector)
    data = (reserved + tables * table_sectors) * sector
    cluster_bytes = per_cluster * sector
    blocks = set(range(-(-data // _BLOCK_BYTES)))
    for number, (entry,) in enumerate(struct.iter_unpack("<I", table)):
        if entry and number > 1:
            blocks.add((data + (number - 2) * cluster_bytes) // _BLOCK_BYTES)
    ranges: list[tuple[int, int]] = []
    for block in sorted(blocks):
        start = block * _BLOCK_BYTES
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], start + _BLOCK_BYTES)
        else:
            ranges.append((start, start + _BLOCK_BYTES))
    return tuple(ranges)
