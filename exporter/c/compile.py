"""Compiles an exported header: for this machine, to prove it, and for a Cortex-M, to weigh it.

A compiler is looked for, never demanded: what could not be compiled is said, with the name of what is missing.
"""

import ctypes
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from edge_agent.errors import BundleError
from exporter.errors import ConversionError

FLAGS: Final = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-ffp-contract=off")
CORTEX_M4: Final = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
CORTEX_M0: Final = ("-mcpu=cortex-m0plus", "-mthumb")
MICROCONTROLLERS: Final = {"Cortex-M4": CORTEX_M4, "Cortex-M0+": CORTEX_M0}
ARM_COMPILER: Final = "arm-none-eabi-gcc"
_TIMEOUT_S: Final = 300
_SIZES: Final = re.compile(r"#define (\w+)_N_FEATURES (\d+)\n#define \1_N_OUTPUTS (\d+)\n")


class MicrocontrollerSize(msgspec.Struct, frozen=True):
    """What a header takes on a microcontroller.

    Attributes:
        flash_bytes: code and tables.
        ram_bytes: variables that live for ever.
        stack_bytes: of the deepest call, without what math.h's functions take.
    """

    flash_bytes: int
    ram_bytes: int
    stack_bytes: int


def host_compiler() -> tuple[str, ...] | None:
    """Return the command of a C compiler for this machine: cc, gcc, clang, or ziglang's; None: there is none."""
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return (name,)
    return (sys.executable, "-m", "ziglang", "cc") if find_spec("ziglang") else None


def zig_compiler(target: str) -> tuple[str, ...] | None:
    """Return the command of the ziglang package's C compiler for another machine, None where it is not installed."""
    return (sys.executable, "-m", "ziglang", "cc", "-target", target) if find_spec("ziglang") else None


def compile_c(command: Sequence[str], source: Path, out: Path, *, flags: Sequence[str] = FLAGS) -> None:
    """Compile one C file to a program, or to whatever ``flags`` say.

    Raises:
        ConversionError: the compiler is not there, refuses the source, or does not end.
    """
    arguments = [*command, *flags, str(source), "-o", str(out)]
    # What links needs its libraries last; an object file needs none.
    arguments += [] if "-c" in flags else ["-lm"]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConversionError(f"{command[0]} could not compile {source.name}: {error}") from error
    if done.returncode != 0:
        raise ConversionError(f"{command[0]} refused {source.name}: {done.stderr.strip()[:600]}")


def measure_microcontroller(header: bytes, machine: Sequence[str] = CORTEX_M4) -> MicrocontrollerSize | str:
    """Compile a header for a Cortex-M and weigh it; return why it could not be, where there is no compiler.

    Raises:
        ConversionError: the compiler refused it, or it is no header of ours.
    """
    size_command = shutil.which("arm-none-eabi-size")
    if shutil.which(ARM_COMPILER) is None or size_command is None:
        return f"not weighed: {ARM_COMPILER} is not installed (Debian: gcc-arm-none-eabi, libnewlib-arm-none-eabi)"
    found = _SIZES.search(header.decode())
    if found is None:
        raise ConversionError("not a header of this exporter: it does not say how many features it takes")
    prefix = found[1].lower()
    with tempfile.TemporaryDirectory(prefix="fieldloop-c-") as place:
        folder = Path(place)
        (folder / f"{prefix}.h").write_bytes(header)
        source, program = folder / "weigh.c", folder / "weigh.o"
        call = f"void weigh(const float *row, float *outputs) {{ {prefix}_score(row, outputs); }}"
        source.write_text(f'#include "{prefix}.h"\nvoid weigh(const float *row, float *outputs);\n{call}\n')
        flags = (*(flag for flag in FLAGS if flag != "-O2"), "-Os", *machine, "-fstack-usage", "-c")
        # Unused on purpose: the label is the caller's choice.
        compile_c((ARM_COMPILER,), source, program, flags=(*flags, "-Wno-unused-function"))
        listed = subprocess.run([size_command, str(program)], capture_output=True, text=True, check=True)
        text, data, bss = (int(word) for word in listed.stdout.splitlines()[1].split()[:3])
        usages = [int(line.split("\t")[1]) for line in program.with_suffix(".su").read_text().splitlines()]
        # One operation at a time stands on the scoring function.
        frames = sorted(usages, reverse=True)
        return MicrocontrollerSize(text, data + bss, sum(frames[:2]))


class CompiledHeader:
    """A header compiled for this machine; implements `edge_agent.scoring.runtime.Runtime`, to prove it here."""

    def __init__(self, path: Path, n_features: int, n_outputs: int) -> None:
        """Compile and load.

        Raises:
            ConversionError: there is no compiler, or it refuses the header.
            BundleError: the header takes other rows, or gives other answers.
        """
        command = host_compiler()
        if command is None:
            raise ConversionError("c: no C compiler here to prove it (Debian: gcc; or the Python package ziglang)")
        header = path.read_text()
        found = _SIZES.search(header)
        if found is None or (int(found[2]), int(found[3])) != (n_features, n_outputs):
            raise BundleError(f"{path}: no header of {n_features} features and {n_outputs} outputs")
        prefix = found[1].lower()
        self._folder = tempfile.TemporaryDirectory(prefix="fieldloop-c-")
        folder = Path(self._folder.name)
        (folder / f"{prefix}.h").write_text(header)
        source, library = folder / "face.c", folder / "face.so"
        source.write_text(_face_of(prefix, n_features, n_outputs))
        compile_c(command, source, library, flags=(*FLAGS, "-Wno-unused-function", "-shared", "-fPIC"))
        pointer = ctypes.POINTER(ctypes.c_float)
        self._score_rows = ctypes.CDLL(str(library)).score_rows
        self._score_rows.argtypes, self._score_rows.restype = (pointer, pointer, ctypes.c_int), None
        self._pointer = pointer
        self._n_features, self._n_outputs = n_features, n_outputs

    def score(self, row: Sequence[float]) -> Sequence[float]:
        """Score one row."""
        return self.score_batch([row])[0]

    def score_batch(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """Score many rows."""
        taken = np.ascontiguousarray(rows, dtype=np.float32).reshape(len(rows), self._n_features)
        answers = np.empty((len(rows), self._n_outputs), dtype=np.float32)
        self._score_rows(taken.ctypes.data_as(self._pointer), answers.ctypes.data_as(self._pointer), len(rows))
        found: list[list[float]] = answers.tolist()
        return found

    def close(self) -> None:
        """Remove what was compiled."""
        self._folder.cleanup()


def _face_of(prefix: str, n_features: int, n_outputs: int) -> str:
    call = f"{prefix}_score(rows + i * {n_features}, outputs + i * {n_outputs});"
    signature = "void score_rows(const float *rows, float *outputs, int n)"
    return f'#include "{prefix}.h"\n{signature};\n{signature} {{ for (int i = 0; i < n; i++) {call} }}\n'
