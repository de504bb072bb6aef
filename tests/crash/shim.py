"""Compiles the shim, and says how a program is started under it."""

import ctypes
import mmap
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).with_name("shim.c")
# As in `struct control` of shim.c.
_FIELDS: Final = ("clock_offset_s", "growths", "full_from", "refusals", "full_until", "budget_bytes")


def compile_shim(folder: Path) -> Path:
    """Compile the shim into ``folder``; skip the test where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here: sudo apt-get install gcc")
    library = folder / "shim.so"
    command = [compiler, "-std=gnu11", "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return library


class Control:
    """What the test and the programs under the shim share; close it."""

    def __init__(self, path: Path) -> None:
        """Make the file ``path``: the clock is right, and the disk never full."""
        path.write_bytes(bytes(8 * len(_FIELDS)))
        self.path = path
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.full_from = -1

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    def _get(self, name: str) -> int:
        return int(struct.unpack_from("q", self._map, 8 * _FIELDS.index(name))[0])

    def _set(self, name: str, value: int) -> None:
        struct.pack_into("q", self._map, 8 * _FIELDS.index(name), value)

    @property
    def growths(self) -> int:
        """How many calls took room on the disk so far."""
        return self._get("growths")

    @property
    def refusals(self) -> int:
        """How many calls found no room so far."""
        return self._get("refusals")

    @property
    def full_from(self) -> int:
        """The number of the first call that finds no room; -1: none."""
        return self._get("full_from")

    @full_from.setter
    def full_from(self, number: int) -> None:
        self._set("full_from", number)

    def fill_from(self, number: int, until_refusals: int = -1) -> None:
        """Have the disk run full at a growth, and have room again after so many refusals (-1: by `make_room`)."""
        self._set("full_until", until_refusals)
        self.full_from = number

    def make_room(self) -> None:
        """Have room from now on."""
        self.full_from = -1

    def set_clock_wrong(self, seconds: int) -> None:
        """Have the wall clock be wrong by so much, from now on."""
        self._set("clock_offset_s", seconds)


@dataclass(frozen=True)
class Shim:
    """The compiled shim, to be put before programs."""

    library: Path

    @property
    def preloading(self) -> dict[str, str]:
        """What puts it before a program, which it leaves alone."""
        return {"LD_PRELOAD": str(self.library)}

    def watching(self, disk: Path, log: Path | None = None, control: Control | None = None) -> dict[str, str]:
        """Return what is added to the environment of a program whose files below ``disk`` are watched."""
        named = {"CRASH_LOG": log, "CRASH_CONTROL": None if control is None else control.path}
        given = {name: str(path) for name, path in named.items() if path is not None}
        return self.preloading | {"CRASH_ROOT": str(disk.resolve())} | given


def begin_watching() -> None:
    """Under the shim, in a fork: heed the environment as it is now."""
    ctypes.CDLL(None).crash_begin()


def note(text: bytes) -> None:
    """Under the shim: write down that something happened, at its place among the calls."""
    ctypes.CDLL(None).crash_note(text, ctypes.c_size_t(len(text)))
