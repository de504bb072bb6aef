"""Makes a small Debian of another architecture in a folder, for programs under emulation.

Packages are downloaded by apt, which verifies their signatures, into a state of its own, and unpacked: no maintainer
script runs and nothing is installed, so that it takes seconds, needs no root and no emulator. Python packages come as
wheels, put in from here.

`bookworm` alone, without its security updates: their index for armhf was once found inconsistent, and what runs in here
is Python and a runtime over files of ours. Its Python 3.11 is the last that tflite-runtime has wheels for.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from exporter.proof.places import NotRunError

Architecture: TypeAlias = Literal["arm64", "armhf"]

SUITE: Final = "bookworm"
_PYTHON: Final = (3, 11)
_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_TIMEOUT_S: Final = 900


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one architecture needs.

    Attributes:
        emulator: program of the Debian package qemu-user-static.
        packages: Debian packages; what they depend on comes with them.
        platforms: tags of the wheels that fit, best first.
        library_path: folders of libraries that Debian's alternatives would point to.
    """

    emulator: str
    packages: tuple[str, ...]
    platforms: tuple[str, ...]
    library_path: str


_PACKAGES: Final = ("libgomp1", "libpython3.11-stdlib", "libstdc++6", "python3-minimal")
RECIPES: Final[Mapping[Architecture, Recipe]] = {
    "arm64": Recipe(
        "qemu-aarch64-static",
        _PACKAGES,
        tuple(f"manylinux{glibc}_aarch64" for glibc in ("_2_34", "_2_28", "_2_27", "_2_17", "2014")),
        "",
    ),
    "armhf": Recipe(
        "qemu-arm-static",
        # There is no wheel of numpy for armv7: Debian's own.
        (*_PACKAGES, "python3-numpy"),
        ("manylinux_2_34_armv7l", "manylinux2014_armv7l", "linux_armv7l"),
        "/usr/lib/arm-linux-gnueabihf/blas:/usr/lib/arm-linux-gnueabihf/lapack",
    ),
}


def prepare_root(architecture: Architecture, cache: Path) -> Path:
    """Return a root with Python, made once for each list of packages.

    Args:
        architecture: of the root.
        cache: folder for roots, outside of any project.

    Raises:
        NotRunError: a tool is missing, or the packages cannot be had; the message says what to install.
    """
    recipe = RECIPES[architecture]
    emulator = _tool(recipe.emulator, "qemu-user-static")
    key = hashlib.sha256(" ".join((SUITE, *recipe.packages)).encode()).hexdigest()[:12]
    root = cache / f"{architecture}-{SUITE}-{key}"
    if not root.exists():
        for tool, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg")):
            _tool(tool, package)
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as name:
            made = Path(name) / "root"
            _unpack(architecture, recipe.packages, Path(name), made)
            (made / "tmp").mkdir(exist_ok=True)
            shutil.copy(emulator, made / "qemu")
            _take_place(made, root)
    return root


def add_wheels(architecture: Architecture, root: Path, requirements: Sequence[str]) -> str:
    """Put wheels into a root, once for each list of requirements; return their folder as seen from inside.

    Args:
        architecture: of the root.
        root: from `prepare_root`.
        requirements: all that is needed; nothing that these depend on comes with them.

    Raises:
        NotRunError: there are no such wheels, or this Python has no pip.
    """
    name = hashlib.sha256(" ".join(requirements).encode()).hexdigest()[:12]
    target = root / "opt" / name
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as folder:
            made = Path(folder) / "lib"
            tags = [part for tag in RECIPES[architecture].platforms for part in ("--platform", tag)]
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
            command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11", *tags]
            _run([*command, "--target", str(made), *requirements])
            if sys.version_info[:2] == _PYTHON:
                # Compiled under emulation it would take ten times as long.
                _run([sys.executable, "-m", "compileall", "-q", "-s", str(made), "-p", f"/opt/{name}", str(made)])
            _take_place(made, target)
    return f"/opt/{name}"


def _unpack(architecture: Architecture, packages: Sequence[str], folder: Path, root: Path) -> None:
    for part in ("state/lists/partial", "cache/archives/partial", "root"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(
        f"deb [signed-by={_KEYRING}] {debian_mirror()} {SUITE} main\n", encoding="utf-8"
    )
    options = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "true",
        "Dir::State": str(folder / "state"),
        "Dir::State::status": str(folder / "status"),
        "Dir::Cache": str(folder / "cache"),
        "Dir::Etc::sourcelist": str(folder / "sources.list"),
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
    }
    apt = ["apt-get", "-qq", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]
    _run([*apt, "update"])
    _run([*apt, "--yes", "--download-only", "install", *packages])
    for archive in sorted((folder / "cache" / "archives").glob("*.deb")):
        _run(["dpkg-deb", "-x", str(archive), str(root)])


def debian_mirror() -> str:
    """Return where this machine's apt gets Debian from.

    Raises:
        NotRunError: it gets none.
    """
    found = _run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"])
    mirrors = [line.split()[2] for line in found.splitlines() if line.startswith("Debian main ")]
    if not mirrors:
        raise NotRunError("this machine's apt knows no Debian: it needs a Debian host, and apt-get update")
    return mirrors[0]


def _take_place(made: Path, place: Path) -> None:
    try:
        made.rename(place)
    except OSError:
        if not place.exists():  # else another process was quicker, and made the same
            raise


def _tool(name: str, package: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise NotRunError(f"{name} is missing: apt-get install {package}")
    return found


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotRunError(f"{command[0]}: {error}") from error
    if done.returncode:
        said = [line for line in done.stderr.strip().splitlines() if not line.startswith(("W:", "WARNING"))]
        raise NotRunError(f"{' '.join(command[:4])} … failed: {(said or ['no word'])[-1][:300]}")
    return done.stdout
