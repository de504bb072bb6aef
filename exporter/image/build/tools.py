"""Runs the programs that an image is made with, at one time and in one language, whoever calls them."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from exporter.image.errors import BuildError
from exporter.image.programs import ADMINISTRATORS, find_program

_SAID: Final = 600


def run_tool(
    command: Sequence[str],
    *,
    time_s: int,
    given: bytes | None = None,
    folder: Path | None = None,
) -> bytes:
    """Run a program to its end and return what it printed.

    Args:
        command: the program's name, and what it is told.
        time_s: the time that it takes for now, UTC seconds since 1970.
        given: on its standard input.
        folder: that it runs in.

    Raises:
        BuildError: it is missing, or failed; the message has its last words.
    """
    return run_command([find_program(command[0], BuildError), *command[1:]], time_s=time_s, given=given, folder=folder)


def run_command(
    command: Sequence[str],
    *,
    time_s: int | None = None,
    given: bytes | None = None,
    folder: Path | None = None,
) -> bytes:
    """Run a program by its path; otherwise as `run_tool`."""
    environment = {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "MTOOLS_SKIP_CHECK": "1",
        "PATH": os.environ.get("PATH", "") + ADMINISTRATORS,
        "PYTHONHASHSEED": "0",
    }
    if time_s is not None:
        environment |= {"SOURCE_DATE_EPOCH": str(time_s), "E2FSPROGS_FAKE_TIME": str(time_s)}
    done = subprocess.run(
        command,
        input=given if given is not None else b"",
        capture_output=True,
        check=False,
        env=environment,
        cwd=folder,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace")
        raise BuildError(f"{Path(command[0]).name} failed (exit code {done.returncode}): {said[-_SAID:] or 'no word'}")
    return done.stdout


def as_root(script: str, *arguments: str) -> list[str]:
    """Return the command that runs a shell script as root with mounts of its own, or as whom stands for root here.

    Without root that is the user in a namespace of its own, with the identifiers that /etc/subuid gives it: the same at
    every call, so that what one made belongs to the next.

    Args:
        script: for sh.
        *arguments: its ``$1`` and so on.
    """
    mapped: list[str] = []
    if os.geteuid() != 0:
        find_program("newuidmap", BuildError)
        mapped = ["--map-root-user", "--map-auto"]
    return ["unshare", "--mount", *mapped, "sh", "-euc", script, "sh", *arguments]
