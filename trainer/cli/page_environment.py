"""Keeps the environment that runs MLflow's page: made once from hash-pinned requirements, in the user's cache.

All of MLflow is many times larger than what Fieldloop uses of it, so it has an environment of its own and is installed
only for those who want its page.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edge_agent.durable import replace_file
from trainer.errors import MissingProgramError

REQUIREMENTS_NAME: Final = "registry-ui.txt"
# Measured: 830 MB on disk, 100 s on two cores.
SIZE_TEXT: Final = "about 830 MB"
_STAMP: Final = "complete"
_TAIL_LINES: Final = 5
_QUIET_PIP: Final = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


def requirements_file() -> Path:
    """Return the pinned requirements: in a checkout a link to those in ``requirements/``, in a package their copy.

    Raises:
        MissingProgramError: they are not there.
    """
    file = Path(__file__).with_name(REQUIREMENTS_NAME)
    if not file.is_file():
        raise MissingProgramError(f"{file} is missing from this installation; install fieldloop anew")
    return file


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the user's cache of this program (XDG base directory specification).

    Args:
        environment: variables of the process.
    """
    named = environment.get("XDG_CACHE_HOME", "")
    root = Path(named) if os.path.isabs(named) else Path.home() / ".cache"  # noqa: PTH117 - an empty text is no path
    return root / "fieldloop"


def environment_folder(cache: Path, requirements: Path, interpreter: str = sys.version) -> Path:
    """Return where the environment lies: other requirements or another Python are another environment."""
    key = hashlib.sha256(requirements.read_bytes() + interpreter.encode()).hexdigest()[:16]
    return cache / f"registry-ui-{key}"


def is_complete(folder: Path) -> bool:
    """Tell whether an environment was made to its end."""
    return (folder / _STAMP).is_file()


def make_environment(folder: Path, requirements: Path, python: str = sys.executable) -> None:
    """Make the environment; two who want it at once wait for one another.

    Raises:
        MissingProgramError: there is no pip to install with, or it could not install; with the mend.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.with_suffix(".lock")):
        if is_complete(folder):
            return
        if folder.exists():
            shutil.rmtree(folder)  # half made by one that was ended
        pip = _pip_for(folder, python)
        wanted = ("install", "--require-hashes", "--only-binary", ":all:", "--requirement", str(requirements))
        _run((*pip, *wanted), "pip could not install MLflow's page; the usual reason is no network: try again")
        replace_file(folder / _STAMP, b"")


def _pip_for(folder: Path, python: str) -> Sequence[str]:
    """Make an empty environment, and return the pip that installs into it.

    This program's own pip is taken before one is put into the environment: Debian's Python cannot do the latter.
    """
    _run((python, "-m", "venv", "--without-pip", str(folder)), "no virtual environment can be made")
    inside = str(folder / "bin" / "python")
    if subprocess.run((python, "-m", "pip", "--version"), capture_output=True, check=False).returncode == 0:
        return (python, "-m", "pip", "--python", inside)
    _run(
        (inside, "-m", "ensurepip", "--default-pip"),
        f"{python} has no pip to install with; this mends it on Debian and its children: "
        "sudo apt-get install python3-pip python3-venv",
    )
    return (inside, "-m", "pip")


def _run(command: Sequence[str], problem: str) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env=os.environ | _QUIET_PIP,
    )
    if done.returncode != 0:
        words = done.stdout.decode(errors="replace").strip().splitlines()[-_TAIL_LINES:]
        raise MissingProgramError("\n".join((problem, *words)))


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
