"""A disk that is small enough to be filled: a file system in memory, where the tests may mount one."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, size_kb: int) -> Iterator[None]:
    """Mount a disk of this size at ``folder``; skip the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no small disk can be mounted here (it takes root): {error}")
    try:
        yield
    finally:
        # Lazily: what a failed test left open must not keep it.
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True, timeout=20)


def fill(folder: Path) -> Path:
    """Write a file into ``folder`` until its disk takes no more, and return it."""
    path = folder / "filler"
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return path
