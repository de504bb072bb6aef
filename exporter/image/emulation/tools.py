"""Finds and runs the programs that emulation needs, and names the Debian package of one that is missing."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from exporter.image.emulation.errors import EmulationError

PACKAGES: Final = {
    "qemu-system-aarch64": "qemu-system-arm ipxe-qemu",
    "qemu-img": "qemu-utils",
    "mcopy": "mtools",
    "mdir": "mtools",
}
_TIMEOUT_S: Final = 120


def find_program(name: str) -> str:
    """Return the path of a program.

    Raises:
        EmulationError: it is not installed; the message names its package.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise EmulationError(f"{name} is missing: sudo apt-get install --no-install-recommends {PACKAGES[name]}")
    return found


def run_program(name: str, arguments: Sequence[str], about: Path) -> str:
    """Run a program to its end and return what it printed.

    Args:
        name: a key of `PACKAGES`.
        arguments: its arguments.
        about: file that it works on, named when it fails.

    Raises:
        EmulationError: it is missing, or failed.
    """
    command = [find_program(name), *arguments]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise EmulationError(f"{about}: {name} did not end within {_TIMEOUT_S} s") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise EmulationError(f"{about}: {name}: {said[-1]}")
    return done.stdout
