"""Puts a runtime beside the agent: wheels for the board, installed from here without emulation."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.image.build.boards import Architecture, Suite
from exporter.image.build.tools import run_command
from exporter.image.errors import BuildError

PYTHONS: Final[Mapping[Suite, str]] = {"bookworm": "3.11", "trixie": "3.13"}
# Where the agent's package looks for libraries of its administrator's.
FOLDER: Final = "usr/local/lib/fieldloop"
_PLATFORMS: Final[Mapping[Architecture, tuple[str, ...]]] = {
    "arm64": tuple(f"manylinux{glibc}_aarch64" for glibc in ("_2_34", "_2_28", "_2_27", "_2_17", "2014")),
    "armhf": ("manylinux_2_34_armv7l", "manylinux2014_armv7l", "linux_armv7l"),
}


@dataclass(frozen=True, slots=True)
class Runtime:
    """One of them on one architecture.

    Attributes:
        runs: the kind of variants, as the agent names it.
        wheels: all that it needs, as pip is asked for them; nothing comes with them.
        packages: of Debian's, in their stead.
        suites: for whose Python there are wheels.
    """

    name: str
    runs: str
    architecture: Architecture
    wheels: tuple[str, ...]
    packages: tuple[str, ...] = ()
    suites: tuple[Suite, ...] = ("bookworm", "trixie")


# numpy is held below 3, which none of them was made for; tflite-runtime breaks on 2.
_ALL: Final = (
    Runtime("onnxruntime", "onnx", "arm64", ("onnxruntime", "numpy<3"), ("libgomp1",)),
    Runtime("ai-edge-litert", "tflite", "arm64", ("ai-edge-litert", "ml_dtypes", "numpy<3")),
    Runtime("tflite-runtime", "tflite", "arm64", ("tflite-runtime==2.14.0", "numpy==1.26.4"), (), ("bookworm",)),
    Runtime("tflite-runtime", "tflite", "armhf", ("tflite-runtime==2.14.0",), ("python3-numpy",), ("bookworm",)),
)
NAMES: Final = tuple(dict.fromkeys(each.name for each in _ALL))


def find_runtime(name: str, architecture: Architecture, suite: Suite) -> Runtime:
    """Return a runtime that there are wheels of.

    Raises:
        BuildError: there are none for this architecture and suite.
    """
    fit = [each for each in _ALL if each.name == name]
    found = next((each for each in fit if each.architecture == architecture and suite in each.suites), None)
    if found is None:
        known = ", ".join(f"{each.architecture} {'/'.join(each.suites)}" for each in fit)
        raise BuildError(
            f"runtime {name!r}: nobody offers it for {architecture} {suite}; "
            + (f"it is there for {known}" if known else f"known: {', '.join(NAMES)}")
        )
    return found


def fetch_runtime(runtime: Runtime, suite: Suite, into: Path) -> None:
    """Install a runtime's wheels into a folder that is not there yet.

    Raises:
        BuildError: pip cannot have them; its words.
    """
    tags = [part for tag in _PLATFORMS[runtime.architecture] for part in ("--platform", tag)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--implementation", "cp", "--python-version", PYTHONS[suite], *tags]
    run_command([*command, "--target", str(into), *runtime.wheels])
