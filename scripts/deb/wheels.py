"""Fetches the libraries that the package carries, by pip with the hashes of requirements/agent.txt."""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

REQUIREMENTS: Final = Path("requirements") / "agent.txt"
# The one library that is compiled.
COMPILED: Final = "msgspec"
_TIMEOUT_S: Final = 600
# Of no use on a device: types for tools, and what pip notes of an installation.
_LEFT_OUT: Final = (".pyi", "/py.typed", ".dist-info/RECORD", ".dist-info/WHEEL", ".dist-info/INSTALLER")
# urllib3 for browsers.
_LEFT_OUT_FOLDERS: Final = ("urllib3/contrib/emscripten/",)


class FetchError(Exception):
    """pip could not fetch what the requirements name; the message has its words."""


def fetch_wheels(into: Path, platforms: Sequence[str], python: str) -> tuple[Path, ...]:
    """Return the wheels of every requirement for a platform and a Python, fetched where they are not there yet.

    Args:
        into: keeps what was fetched; named by platform, Python and requirements.
        platforms: pip's names, best first; empty: only what is not compiled.
        python: its version, as ``3.11``.

    Raises:
        FetchError: pip failed.
    """
    tag = f"cp{python.replace('.', '')}"
    lines = REQUIREMENTS.read_text(encoding="utf-8")
    if not platforms:
        lines = _without(lines, COMPILED)
    options = [part for name in platforms or ("any",) for part in ("--platform", name)]
    options += ["--python-version", python, "--implementation", "cp", "--abi", tag, "--only-binary", ":all:"]
    return _download(into, "-".join(("wheels", *platforms, tag)), lines, options)


def fetch_source(into: Path) -> Path:
    """Return the source archive of the library that is compiled.

    Raises:
        FetchError: pip failed.
    """
    lines = _only(REQUIREMENTS.read_text(encoding="utf-8"), COMPILED)
    (archive,) = _download(into, "source", lines, ["--no-binary", ":all:"])
    return archive


def files_of_wheel(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel that a device needs, by their paths."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/") and is_needed(name)}


def files_of_source(archive: Path, below: str) -> dict[str, bytes]:
    """Return the files of a source archive below a folder of it (``""``: all), by their paths in that folder."""
    found: dict[str, bytes] = {}
    prefix = f"{below}/" if below else ""
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, path = member.name.partition("/")
            opened = tar.extractfile(member) if path.startswith(prefix) else None
            if opened is not None:
                found[path.removeprefix(prefix)] = opened.read()
    return found


def is_needed(path: str) -> bool:
    """Tell whether a device needs a file of a library."""
    return not path.endswith(_LEFT_OUT) and not path.startswith(_LEFT_OUT_FOLDERS)


def _download(into: Path, name: str, lines: str, options: Sequence[str]) -> tuple[Path, ...]:
    digest = hashlib.sha256("\0".join((lines, *options, "moved here whole")).encode()).hexdigest()[:16]
    folder = into / f"{name}-{digest}"
    if not folder.exists():
        into.mkdir(parents=True, exist_ok=True)
        # Another build may want the same at the same time, and finds all of it or nothing.
        with tempfile.TemporaryDirectory(dir=into.parent, prefix=".fetching-") as made_in:
            wanted, made = Path(made_in) / "requirements.txt", Path(made_in) / "made"
            wanted.write_text(lines, encoding="utf-8")
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
            command += ["--disable-pip-version-check", "--dest", str(made), "--requirement", str(wanted), *options]
            try:
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
            except subprocess.CalledProcessError as error:
                raise FetchError(f"pip could not fetch {name}:\n{error.stderr[-2000:]}") from error
            except (OSError, subprocess.TimeoutExpired) as error:
                raise FetchError(f"pip could not fetch {name}: {error}") from error
            _take_place(made, folder)
    return tuple(sorted(path for path in folder.iterdir() if path.name.endswith((".whl", ".tar.gz"))))


def _take_place(made: Path, place: Path) -> None:
    try:
        made.rename(place)
    except OSError:
        if not place.exists():  # else another build was quicker, and fetched the same
            raise


def _blocks(lines: str) -> Mapping[str, str]:
    """Return the requirements by name, each with the lines of its hashes."""
    blocks: dict[str, str] = {}
    name = ""
    for line in lines.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            name = line.partition("==")[0]
        if name and not line.lstrip().startswith("#"):
            blocks[name] = blocks.get(name, "") + line + "\n"
    return blocks


def _only(lines: str, name: str) -> str:
    return _blocks(lines)[name]


def _without(lines: str, name: str) -> str:
    return "".join(block for each, block in _blocks(lines).items() if each != name)
