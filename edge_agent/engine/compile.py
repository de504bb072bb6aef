"""Compiles the engine and the codec of packs: for this machine, or for every architecture that is shipped.

With the package ``ziglang`` (a C compiler for all of them, against glibc 2.28) where it is installed, else with ``cc``
for this machine only. A library that was built from the same sources in the same way is left as it is.

    python -m edge_agent.engine.compile [--all] [--into FOLDER] [--quiet]
"""

import argparse
import hashlib
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.codec import loading as codec
from edge_agent.engine.library import FILE_NAME, LIBRARIES, architecture

SOURCES: Final = Path(__file__).parent / "src"
FLAGS: Final = (
    "-std=c11", "-O3", "-g0", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra",
    # a * b + c is two roundings everywhere, so that all architectures answer alike.
    "-ffp-contract=off",
    # Eight trees that are walked at once stay in registers; clang else packs them into vectors, at half the pace.
    "-fno-tree-slp-vectorize",
)  # fmt: skip
# glibc of Debian 10 and later.
_ZIG_TARGETS: Final[Mapping[str, tuple[str, ...]]] = {
    "x86_64": ("-target", "x86_64-linux-gnu.2.28"),
    "aarch64": ("-target", "aarch64-linux-gnu.2.28"),
    "armv7": ("-target", "arm-linux-gnueabihf.2.28", "-mcpu=generic+v7a+vfp3d16"),
    "armv6": ("-target", "arm-linux-gnueabihf.2.28", "-mcpu=arm1176jzf_s"),
}
ARCHITECTURES: Final = tuple(_ZIG_TARGETS)
_TIMEOUT_S: Final = 600


@dataclass(frozen=True, slots=True)
class Library:
    """A library of C.

    Attributes:
        title: what people call it.
        sources: folder of its files.
        file_name: of the library.
        folder: where those of all architectures lie, one folder each.
    """

    title: str
    sources: Path
    file_name: str
    folder: Path


ENGINE: Final = Library("native engine", SOURCES, FILE_NAME, LIBRARIES)
CODEC: Final = Library("codec", Path(codec.__file__).parent / "src", codec.FILE_NAME, codec.LIBRARIES)


class CompilerError(Exception):
    """There is no compiler, or it failed: the message says which, and with what words."""


def sources(library: Library = ENGINE) -> tuple[Path, ...]:
    """Return the C files of a library, in a fixed order."""
    return tuple(sorted(library.sources.glob("*.c")))


def compiler_for(name: str) -> tuple[str, ...]:
    """Return the command that compiles for an architecture, with its flags.

    Raises:
        CompilerError: none is installed that can.
    """
    if importlib.util.find_spec("ziglang") is not None and name in _ZIG_TARGETS:
        # zig adds checks that trap, which the tests' own builds have instead.
        return (sys.executable, "-m", "ziglang", "cc", *_ZIG_TARGETS[name], *FLAGS, "-fno-sanitize=all", "-s")
    compiler = next((path for each in ("cc", "gcc", "clang") if (path := shutil.which(each))), None)
    if compiler is not None and name == architecture():
        return (compiler, *FLAGS, "-s")
    raise CompilerError(
        f"no compiler for {name} here: pip install ziglang" + (", or install gcc" if name == architecture() else "")
    )


def compile_engine(name: str, into: Path) -> Path:
    """Compile the engine; see `compile_library`."""
    return compile_library(ENGINE, name, into)


def compile_library(library: Library, name: str, into: Path) -> Path:
    """Compile a library for an architecture into ``into/<architecture>/``, unless it lies there already.

    Raises:
        CompilerError: there is no compiler, or it failed.
    """
    # The engine's folder has the declarations of Python's ABI, for both.
    command = (*compiler_for(name), f"-I{SOURCES}")
    folder = into / name
    made, stamp = folder / library.file_name, folder / "built-from"
    made_from = _fingerprint(command, library)
    if made.is_file() and stamp.is_file() and stamp.read_text(encoding="ascii") == made_from:
        return made
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made_in:
        fresh = Path(made_in) / library.file_name
        _run((*command, "-shared", "-o", str(fresh), *map(str, sources(library)), "-lm"))
        fresh.chmod(0o755)
        # Another process may have the old one in use: replaced, not overwritten.
        fresh.replace(made)
    stamp.write_text(made_from, encoding="ascii")
    return made


def _run(command: Sequence[str]) -> None:
    # zig keeps what it compiled of the C library; where there is no home folder, beside other temporary files.
    environment = dict(os.environ)
    environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(Path(tempfile.gettempdir()) / "fieldloop-zig"))
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment, cwd=SOURCES
        )
    except subprocess.CalledProcessError as error:
        raise CompilerError(f"{' '.join(command[:4])} … failed:\n{error.stderr[-2000:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilerError(f"{' '.join(command[:4])} …: {error}") from error


def _fingerprint(command: Sequence[str], library: Library) -> str:
    digest = hashlib.sha256("\0".join(command[1:]).encode())
    for path in sorted({*library.sources.iterdir(), SOURCES / "python_abi.h"}):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile what the command line asks for; return its exit code: 1 where an engine could not be built."""
    parser = argparse.ArgumentParser(
        prog="edge_agent.engine.compile", description="Compile the native engine and the codec."
    )
    parser.add_argument("--all", action="store_true", help=f"for {', '.join(ARCHITECTURES)}, not for this machine only")
    parser.add_argument("--into", type=Path, help="folder of the libraries (each beside its sources)")
    parser.add_argument("--quiet", action="store_true", help="say only what failed")
    options = parser.parse_args(arguments)
    failed = False
    names = ARCHITECTURES if options.all else (architecture(),)
    for library, name in itertools.product((ENGINE, CODEC), names):
        try:
            made = compile_library(library, name, _folder_of(library, options.into))
        except CompilerError as error:
            failed = True
            print(f"{library.title}: {error}", file=sys.stderr)  # noqa: T201 - a command
            continue
        if not options.quiet:
            print(f"{library.title}: {made}")  # noqa: T201 - a command
    return int(failed)


def _folder_of(library: Library, into: Path | None) -> Path:
    if into is None:
        return library.folder
    return into if library is ENGINE else into / "codec"


if __name__ == "__main__":
    raise SystemExit(main())
