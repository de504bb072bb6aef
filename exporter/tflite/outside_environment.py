"""Keeps the environment that runs onnx2tf: made once, from hash-pinned requirements, in the user's cache.

Its releases without TensorFlow need Python 3.12 and other versions of what this program uses, so it never shares an
environment with it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from exporter.errors import ConversionError, UnsupportedError
from exporter.pinned_environment import PinnedEnvironment, cache_folder, environment_key

VERSION: Final = "2.6.9"
# Names a Python for it, where none is found.
PYTHON_VARIABLE: Final = "FIELDLOOP_ONNX2TF_PYTHON"
_REQUIREMENTS: Final = Path(__file__).with_name("onnx2tf.txt")
_OLDEST: Final = (3, 12)
_NAMES: Final = ("python3.12", "python3.13", "python3.14", "python3", "python")
# Measured: 650 MB on disk, a minute on two cores.
_SIZE_TEXT: Final = "about 650 MB"
_ASK_S: Final = 20.0
_INSTALL_S: Final = 1800.0
_KEY_DIGITS: Final = 8


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
    key = environment_key(_REQUIREMENTS, _version_text(python))[:_KEY_DIGITS]
    pinned = PinnedEnvironment(
        cache_folder(variables) / f"onnx2tf-{VERSION}-{key}",
        _REQUIREMENTS,
        content=f"onnx2tf ({_SIZE_TEXT})",
        pip_mend="install python3.12-venv",
        failure=ConversionError,
        timeout_s=_INSTALL_S,
    )
    pinned.make(python)
    return pinned.python


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
