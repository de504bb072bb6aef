"""Finds the compiled engine for the machine that this process runs on; loads nothing."""

from pathlib import Path
from typing import Final

from broker.extensions import architecture, find_extension

__all__ = ["FILE_NAME", "LIBRARIES", "architecture", "find_library"]

FILE_NAME: Final = "fieldloop_engine.so"
LIBRARIES: Final = Path(__file__).parent / "lib"


def find_library(folder: Path = LIBRARIES, name: str | None = None) -> Path | None:
    """Return the compiled engine for an architecture (this machine's), or None; what runs on ARMv6 runs on ARMv7."""
    return find_extension(folder, FILE_NAME, name)
