"""Finds the compiled engine for the machine that this process runs on; loads nothing."""

import platform
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

FILE_NAME: Final = "fieldloop_engine.so"
LIBRARIES: Final = Path(__file__).parent / "lib"

# What `platform.machine` says, for a process of 64 and of 32 bits: a 32-bit system may run on a 64-bit kernel.
_NAMES_64: Final[Mapping[str, str]] = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_NAMES_32: Final[Mapping[str, str]] = {"aarch64": "armv7", "armv8l": "armv7", "armv7l": "armv7", "armv6l": "armv6"}
_64_BITS: Final = 8


def architecture(machine: str | None = None, pointer_bytes: int | None = None) -> str:
    """Return the name under which this machine's engine is kept; its own name where it is none of ours."""
    machine = machine or platform.machine()
    is_64 = (pointer_bytes or struct.calcsize("P")) == _64_BITS
    return (_NAMES_64 if is_64 else _NAMES_32).get(machine.lower(), f"{machine.lower()}-{'64' if is_64 else '32'}")


def find_library(folder: Path = LIBRARIES, name: str | None = None) -> Path | None:
    """Return the compiled engine for an architecture (this machine's), or None; what runs on ARMv6 runs on ARMv7."""
    name = name or architecture()
    candidates = (name, "armv6") if name == "armv7" else (name,)
    return next((path for each in candidates if (path := folder / each / FILE_NAME).is_file()), None)
