"""Finds and loads a compiled extension module for the machine that this process runs on; knows no module by name."""

import importlib.machinery
import importlib.util
import platform
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Final

# What `platform.machine` says, for a process of 64 and of 32 bits: a 32-bit system may run on a 64-bit kernel.
_NAMES_64: Final[Mapping[str, str]] = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_NAMES_32: Final[Mapping[str, str]] = {"aarch64": "armv7", "armv8l": "armv7", "armv7l": "armv7", "armv6l": "armv6"}
_64_BITS: Final = 8


def architecture(machine: str | None = None, pointer_bytes: int | None = None) -> str:
    """Return the name under which this machine's libraries are kept; its own name where it is none of ours."""
    machine = machine or platform.machine()
    is_64 = (pointer_bytes or struct.calcsize("P")) == _64_BITS
    return (_NAMES_64 if is_64 else _NAMES_32).get(machine.lower(), f"{machine.lower()}-{'64' if is_64 else '32'}")


def find_extension(folder: Path, file_name: str, name: str | None = None) -> Path | None:
    """Return the library for an architecture (this machine's), or None; what runs on ARMv6 runs on ARMv7."""
    name = name or architecture()
    candidates = (name, "armv6") if name == "armv7" else (name,)
    return next((path for each in candidates if (path := folder / each / file_name).is_file()), None)


def takes_extensions() -> bool:
    """Tell whether this interpreter has the ABI that the extensions were written for (engine/src/python_abi.h)."""
    # Where threads run without the lock, the ABI has a t in its name.
    has_lock = "t" not in sys.abiflags
    return sys.implementation.name == "cpython" and has_lock and not hasattr(sys, "getobjects")


def load_extension(library: Path, name: str) -> ModuleType:
    """Load a library as the extension module of this name.

    Raises:
        ImportError: it cannot be loaded.
    """
    loader = importlib.machinery.ExtensionFileLoader(name, str(library))
    spec = importlib.util.spec_from_file_location(name, library, loader=loader)
    if spec is None:
        raise ImportError(f"{library}: is no extension module")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
