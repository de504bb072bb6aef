"""A Mosquitto without root: Debian's packages, fetched by apt (which checks who signed them) and unpacked into a cache.

Nothing is installed and nothing of the system is changed. The packages that Mosquitto needs and that are not here are
fetched with it; it is kept once it has run.
"""

import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import BrokerStartError

logger = logging.getLogger(__name__)

_PACKAGE: Final = "mosquitto"
_FOLDER: Final = "mosquitto"
_DOWNLOAD_S: Final = 120.0
_LOOK_S: Final = 20.0
_DEPENDENCY: Final = re.compile(r"^\s*(?:Pre)?Depends: (?P<name>[a-z0-9][a-z0-9+.-]*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class UnpackedMosquitto:
    """A Mosquitto in a folder of its own.

    Attributes:
        program: what to run.
        libraries: where the libraries are that came with it.
    """

    program: Path
    libraries: tuple[Path, ...]

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the variables under which it finds its libraries."""
        paths = [*map(str, self.libraries), *filter(None, [given.get("LD_LIBRARY_PATH")])]
        return {**given, "LD_LIBRARY_PATH": os.pathsep.join(paths)}


def cache_folder(given: Mapping[str, str] | None = None) -> Path:
    """Return where what was fetched is kept: ``$XDG_CACHE_HOME/fieldloop``, else ``~/.cache/fieldloop``."""
    variables = os.environ if given is None else given
    base = variables.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "fieldloop"


def find_unpacked(cache: Path) -> UnpackedMosquitto | None:
    """Return the one that was unpacked before and still runs here; None when there is none."""
    unpacked = _in(cache / _FOLDER)
    return unpacked if unpacked is not None and _why_it_does_not_run(unpacked) is None else None


def unpack_mosquitto(cache: Path) -> UnpackedMosquitto:
    """Fetch Mosquitto and what it needs, unpack it into the cache, and try it.

    Raises:
        BrokerStartError: apt or dpkg is not here, apt reaches nothing, or what came does not run.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise BrokerStartError("mosquitto can be unpacked where apt-get and dpkg are; here is neither or only one")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".mosquitto-") as temporary:
            folder = Path(temporary) / _FOLDER
            debs = Path(temporary) / "debs"
            folder.mkdir()
            debs.mkdir()
            _run(debs, "apt-get", "download", *_missing_packages(debs))
            for deb in sorted(debs.glob("*.deb")):
                _run(debs, "dpkg", "-x", str(deb), str(folder))
            return _keep(folder, cache / _FOLDER)
    except OSError as error:
        raise BrokerStartError(f"mosquitto cannot be unpacked into {cache}: {error}") from error


def _keep(folder: Path, place: Path) -> UnpackedMosquitto:
    """Move what was unpacked to its place, if it runs; another program may have done the same meanwhile."""
    made = _in(folder)
    why_not = "there is no program in the packages" if made is None else _why_it_does_not_run(made)
    if why_not is not None:
        raise BrokerStartError(f"the mosquitto that apt gave does not run here: {why_not}")
    shutil.rmtree(place, ignore_errors=True)
    folder.rename(place)
    kept = _in(place)
    if kept is None:  # another program replaced it between these lines
        raise BrokerStartError(f"{place}: was changed while it was made; try again")
    return kept


def _missing_packages(folder: Path) -> list[str]:
    """Return Mosquitto's package and the packages that it needs and that are not installed."""
    told = _run(
        folder,
        *("apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks"),
        *("--no-replaces", "--no-enhances", _PACKAGE),
    )
    needed = sorted(set(_DEPENDENCY.findall(told)) - {_PACKAGE})
    listed = _run(folder, "dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Abbrev}\n")
    installed = {line.split()[0] for line in listed.splitlines() if line.endswith("ii ")}
    # Only libraries: the program needs nothing else to run in the foreground (no init system, no user database).
    libraries = [name for name in needed if name.startswith("lib") and name not in installed]
    return [_PACKAGE, *libraries]


def _in(folder: Path) -> UnpackedMosquitto | None:
    program = folder / "usr" / "sbin" / "mosquitto"
    if not program.is_file():
        return None
    libraries = sorted({path.parent for path in folder.glob("**/*.so*")})
    return UnpackedMosquitto(program, tuple(libraries))


def _why_it_does_not_run(unpacked: UnpackedMosquitto) -> str | None:
    command = [str(unpacked.program), "-h"]
    try:
        result = subprocess.run(
            command,
            env=unpacked.environment(os.environ),
            capture_output=True,
            text=True,
            timeout=_LOOK_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    # It ends with 3 after its help; what matters is that its libraries were found.
    return None if "mosquitto version" in result.stdout else result.stderr.strip()[-500:] or "it says nothing"


def _run(folder: Path, *command: str) -> str:
    try:
        result = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokerStartError(f"{command[0]}: {error}") from error
    if result.returncode != 0:
        raise BrokerStartError(f"`{' '.join(command[:3])}` ended with code {result.returncode}: {result.stderr[-500:]}")
    return result.stdout
