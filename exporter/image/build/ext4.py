"""Makes ext4 file systems from folders, without mounting them: the same folder gives the same bytes."""

import hashlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.image.build.tools import as_root, run_tool
from exporter.image.errors import BuildError

# The time of writing is the file's own: Python holds its bytecode against it.
_TIMES: Final = ("atime", "ctime", "crtime")
_FIRST_INODE: Final = 11
_BLOCK_BYTES: Final = 4096
# Named one by one: what a newer mke2fs, or its settings here, would add is not known to every board's.
_FEATURES: Final = (
    "none,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,"
    "extra_isize,metadata_csum"
)
_GROUP: Final = re.compile(r"Group (\d+):")


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What is to be made.

    Attributes:
        label: at most 16 bytes.
        has_journal: it is written to.
        options: of mke2fs: kind, size of a block, and more.
        seed: whence its identifiers come, so that the same one has the same.
        time_s: of its making, UTC seconds since 1970.
    """

    label: str
    size_bytes: int
    options: tuple[str, ...]
    seed: str
    time_s: int
    has_journal: bool


def make_ext4(tree: Path, wanted: FileSystem, into: Path) -> None:
    """Write a file system with all that is in a folder; owners are as root sees them.

    Args:
        tree: the folder; no time in it is later than `wanted.time_s`.
        wanted: which file system.
        into: the file; it is sparse.

    Raises:
        BuildError: it does not fit, or a tool is missing.
    """
    with into.open("xb") as file:
        file.truncate(wanted.size_bytes)
    features = f"{_FEATURES},has_journal" if wanted.has_journal else _FEATURES
    extended = f"hash_seed={_uuid(wanted.seed + ' hashes')},lazy_itable_init=0,root_owner=0:0"
    command = ["mke2fs", "-q", "-F", "-I", "256", "-O", features, "-E", extended]
    command += ["-d", str(tree), "-L", wanted.label, "-U", _uuid(wanted.seed), *wanted.options, str(into)]
    run_tool(as_root('exec "$@"', *command), time_s=wanted.time_s)
    _set_times(into, wanted.time_s)


def verify_ext4(path: Path) -> None:
    """Raise BuildError where e2fsck finds anything to mend."""
    try:
        run_tool(["e2fsck", "-f", "-n", str(path)], time_s=0)
    except BuildError as error:
        raise BuildError(f"{path}: the file system that was made is not sound: {error}") from error


def used_ranges(path: Path) -> tuple[tuple[int, int], ...]:
    """Return the bytes of a file system that anything may read, as ranges of start and end."""
    told = run_tool(["dumpe2fs", str(path)], time_s=0).decode()
    blocks = next(int(line.split(":")[1]) for line in told.splitlines() if line.startswith("Block count:"))
    free = sorted(
        _range(part)
        for line in told.splitlines()
        if line.startswith("  Free blocks:")
        for part in line.split(":", 1)[1].split(",")
        if part.strip()
    )
    used, position = [], 0
    for first, last in [*free, (blocks, blocks)]:
        if first > position:
            used.append((position * _BLOCK_BYTES, first * _BLOCK_BYTES))
        position = last + 1
    return tuple(used)


def _set_times(path: Path, time_s: int) -> None:
    """Give every inode the times that mke2fs takes from the folder's own: when that was unpacked."""
    lines = []
    for inode in _inodes(path):
        lines += [f"set_inode_field <{inode}> {name} @{time_s}" for name in _TIMES]
        lines += [f"set_inode_field <{inode}> {name}_extra 0" for name in _TIMES]
    _debugfs(path, lines, time_s)
    # debugfs itself writes down when it wrote.
    _debugfs(
        path, [f"set_super_value {name} @{time_s}" for name in ("mtime", "wtime", "lastcheck", "mkfs_time")], time_s
    )


def _inodes(path: Path) -> Sequence[int]:
    """Return the numbers of those that are used: the root, and all behind the reserved ones."""
    told = run_tool(["dumpe2fs", str(path)], time_s=0).decode()
    per_group = next(int(line.split(":")[1]) for line in told.splitlines() if line.startswith("Inodes per group:"))
    used: list[int] = [2]
    group = -1
    for line in told.splitlines():
        if found := _GROUP.match(line):
            group = int(found[1])
        elif line.startswith("  Free inodes:"):
            free = _numbers(line.split(":", 1)[1])
            first = group * per_group + 1
            used += [n for n in range(max(first, _FIRST_INODE), first + per_group) if n not in free]
    return used


def _numbers(text: str) -> frozenset[int]:
    ranges = [_range(part) for part in text.split(",") if part.strip()]
    return frozenset(number for first, last in ranges for number in range(first, last + 1))


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.strip().partition("-")
    return int(first), int(last or first)


def _debugfs(path: Path, lines: Sequence[str], time_s: int) -> None:
    run_tool(["debugfs", "-w", "-f", "-", str(path)], time_s=time_s, given=("\n".join(lines) + "\n").encode())


def _uuid(seed: str) -> str:
    return str(uuid.UUID(bytes=hashlib.sha256(seed.encode()).digest()[:16], version=4))
