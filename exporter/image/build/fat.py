"""Makes the FAT file system that a board's firmware reads, without mounting it: the same files give the same bytes."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from exporter.image.build.tools import run_tool

# Of 512 bytes: a FAT32 must have 65,525 of them, and 128 MiB have them at this size.
_SECTORS_PER_CLUSTER: Final = "1"


def make_fat(files: Mapping[str, bytes], label: str, size_bytes: int, time_s: int, into: Path) -> None:
    """Write a file system.

    Args:
        files: content by path.
        label: at most 11 capital letters and digits.
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
