"""Keeps the environment that runs onnx2tf: made once, from hash-pinned requirements, in the user's cache.

Its releases without TensorFlow need Python 3.12 and other versions of what this program uses, so it never shares an
environment with it.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_agent.durable import replace_file
from exporter.errors import ConversionError, UnsupportedError

VERSION: Final = "2.6.9"
# Names a Python for it, where none is found.
PYTHON_VARIABLE: Final = "FIELDLOOP_ONNX2TF_PYTHON"
_REQUIREMENTS: Final = Path(__file__).with_name("onnx2tf.txt")
_OLDEST: Final = (3, 12)
_NAMES: Final = ("python3.12", "python3.13", "python3.14", "python3", "python")
# Measured: 650 MB on disk, a minute on two cores.
_SIZE_TEXT: Final = "about 650 MB"
_STAMP: Final = "complete"
_QUIET_PIP: Final = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
_ASK_S: Final = 20.0
_INSTALL_S: Final = 1800.0
_TAIL_LINES: Final = 5


def onnx2tf_python(environment: Mapping[str, str] | None = None) -> Path:
    """Return the Python of onnx2tf's environment, which is made when it is not there.

    Args:
        environment: variables of the process; its own by default.

    Raises:
        UnsupportedError: there is no Python that it runs on; says what to install.
        ConversionError: it could not be installed.
    """
    variables = os.environ if environment is None else environment
    python = find_python(variables)
    requirements = _REQUIREMENTS.read_bytes()
    key = hashlib.sha256(requirements + _version_text(python).encode()).hexdigest()[:8]
    folder = cache_folder(variables) / f"onnx2tf-{VERSION}-{key}"
    _make(folder, python)
    return folder / "bin" / "python"


def find_python(environment: Mapping[str, str]) -> Path:
    """Return a Python that onnx2tf runs on: the one that is named, this one, one on PATH, or one of pyenv.

    Raises:
        UnsupportedError: none is found, or the one that is named is none; says what to do.
    """
    named = environment.get(PYTHON_VARIABLE, "")
    if named:
        if not _fits(Path(named)):
            raise _missing(f"{PYTHON_VARIABLE} names {named}, which is no Python of version 3.12 or later")
        return Path(named)
    for candidate in _candidates(environment):
        if _fits(candidate):
            return candidate
    raise _missing("no Python of version 3.12 or later is found")


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the user's cache of this program (XDG base directory specification)."""
    named = environment.get("XDG_CACHE_HOME", "")
    root = Path(named) if os.path.isabs(named) else Path.home() / ".cache"  # noqa: PTH117 - an empty text is no path
    return root / "fieldloop"


def _missing(what: str) -> UnsupportedError:
    return UnsupportedError(
        "model",
        f"{what}, and graphs from outside that no program expresses go to TFLite by onnx2tf {VERSION}, which needs "
        f"one; install python3.12 with its venv module, or name one: {PYTHON_VARIABLE}=/path/to/python3.12",
    )


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    yield Path(sys.executable)
    for name in _NAMES:
        found = shutil.which(name, path=environment.get("PATH"))
        if found:
            yield Path(found)
    pyenv = Path(environment.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob("versions/3.*/bin/python"))


def _version_text(python: Path) -> str:
    """Return a Python's version, or nothing where it does not run."""
    ask = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        asked = subprocess.run(
            [str(python), "-c", ask],
            capture_output=True,
            text=True,
            timeout=_ASK_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""


def _fits(python: Path) -> bool:
    major, _, minor = _version_text(python).partition(".")
    return major.isdigit() and minor.isdigit() and (int(major), int(minor)) >= _OLDEST


def _make(folder: Path, python: Path) -> None:
    """Make the environment; two who want it at once wait for one another."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / _STAMP).is_file():
            return
        if folder.exists():
            shutil.rmtree(folder)  # half made by one that was ended
        wanted = ("install", "--require-hashes", "--only-binary", ":all:", "--requirement", str(_REQUIREMENTS))
        pip = _pip_for(folder, python)
        _run(
            (*pip, *wanted), f"pip could not install onnx2tf ({_SIZE_TEXT}); the usual reason is no network: try again"
        )
        replace_file(folder / _STAMP, b"")


def _pip_for(folder: Path, python: Path) -> Sequence[str]:
    """Make an empty environment, and return the pip that installs into it: ours, as Debian's Python cannot make one."""
    _run((str(python), "-m", "venv", "--without-pip", str(folder)), f"{python} cannot make an environment")
    inside = str(folder / "bin" / "python")
    own = subprocess.run((sys.executable, "-m", "pip", "--version"), capture_output=True, check=False)
    if own.returncode == 0:
        return (sys.executable, "-m", "pip", "--python", inside)
    _run((inside, "-m", "ensurepip", "--default-pip"), f"{python} has no pip to install with: install python3.12-venv")
    return (inside, "-m", "pip")


def _run(command: Sequence[str], problem: str) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_INSTALL_S,
        check=False,
        env=os.environ | _QUIET_PIP,
    )
    if done.returncode != 0:
        words = done.stdout.decode(errors="replace").strip().splitlines()[-_TAIL_LINES:]
        raise ConversionError("\n".join((problem, *words)))
