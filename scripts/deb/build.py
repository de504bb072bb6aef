"""The command behind `make deb`: builds the package for each architecture, and says how large each is."""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_agent.durable import replace_file
from edge_agent.engine.compile import CompilerError
from scripts.deb.architectures import ARCHITECTURES, Architecture
from scripts.deb.archive import debian_package, installed_kb
from scripts.deb.compiled import CompileError
from scripts.deb.contents import NAME, contents_for, project_version
from scripts.deb.control import control_for
from scripts.deb.wheels import FetchError

DEFAULT_FOLDER: Final = Path("build") / "deb"
_EPOCH_VARIABLE: Final = "SOURCE_DATE_EPOCH"


def build_package(architecture: Architecture, version: str, into: Path, cache: Path, time_s: int) -> Path:
    """Write the package of an architecture into a folder, and return its path.

    Args:
        architecture: for which.
        version: of the package, as Debian compares it.
        into: its folder.
        cache: keeps what is fetched and compiled.
        time_s: the time of every file in it, UTC seconds since 1970.

    Raises:
        FetchError, CompileError, CompilerError: a part of it cannot be had.
    """
    contents = contents_for(architecture, cache)
    package = debian_package(control_for(architecture, version, contents), contents, time_s)
    into.mkdir(parents=True, exist_ok=True)
    path = into / f"{NAME}_{version}_{architecture.debian}.deb"
    replace_file(path, package)
    print(f"{path}: {len(package) / 1e6:.1f} MB, {installed_kb(contents) / 1024:.1f} MiB installed")  # noqa: T201 - a command
    return path


def source_time_s(environment: Mapping[str, str]) -> int:
    """Return the time of the sources: what SOURCE_DATE_EPOCH says, else that of the last commit, else 1970."""
    named = environment.get(_EPOCH_VARIABLE)
    if named is not None:
        return int(named)
    found = subprocess.run(["git", "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False)
    return int(found.stdout) if found.returncode == 0 else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what the command line asks for; return its exit code."""
    parser = argparse.ArgumentParser(prog="scripts.deb.build", description="Build the Debian package of the agent.")
    parser.add_argument("architectures", nargs="*", choices=[*ARCHITECTURES, []], help="default: all", metavar="ARCH")
    parser.add_argument("--into", type=Path, default=DEFAULT_FOLDER, help="default: %(default)s")
    parser.add_argument("--version", default=project_version(), help="default: %(default)s")
    options = parser.parse_args(arguments)
    time_s = source_time_s(os.environ)
    for name in options.architectures or ARCHITECTURES:
        try:
            build_package(ARCHITECTURES[name], options.version, options.into, DEFAULT_FOLDER, time_s)
        except (FetchError, CompileError, CompilerError) as error:
            print(f"deb: {name}: {error}", file=sys.stderr)  # noqa: T201 - a command
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
