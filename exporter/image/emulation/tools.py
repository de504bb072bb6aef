"""Runs the programs that look into an image before it is started."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from exporter.image.emulation.errors import EmulationError
from exporter.image.programs import find_program

_TIMEOUT_S: Final = 120


def run_program(name: str, arguments: Sequence[str], about: Path) -> str:
    """Run a program to its end and return what it printed.

    Args:
        name: of the program.
        arguments: its arguments.
        about: file that it works on, named when it fails.

    Raises:
        EmulationError: it is missing, or failed.
    """
    command = [find_program(name, EmulationError), *arguments]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise EmulationError(f"{about}: {name} did not end within {_TIMEOUT_S} s") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise EmulationError(f"{about}: {name}: {said[-1]}")
    return done.stdout
