"""An emulated device to run Python tests on: a Debian of another processor with the agent of its own Debian package."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from exporter.proof.debian_root import RECIPES, Architecture, add_wheels, prepare_root
from exporter.proof.emulated import roots_folder
from tests.arm.processors import among_processors
from tests.conftest import REPOSITORY

_OURS: Final = Path("usr") / "lib" / "fieldloop"
_PYTHON: Final = (3, 11)
# What the package has not, and tests need: the exporter writes models for them.
_PARTS: Final = ("benchmarks", "exporter", "tests", "docs/guides/sensors")
_TOOLS: Final = ("pytest", "pluggy", "iniconfig", "packaging", "pygments", "pytest-timeout", "hypothesis",
                 "sortedcontainers")  # fmt: skip
# Of armhf there are no wheels of the others, and numpy is Debian's.
_RUNTIMES: Final[Mapping[Architecture, tuple[str, ...]]] = {
    "arm64": ("numpy", "onnx", "onnxruntime", "ai-edge-litert", "ml_dtypes", "protobuf", "typing_extensions",
              "flatbuffers", "backports.zstd", "zstandard"),
    "armhf": (),
}  # fmt: skip
_INI: Final = """[pytest]
markers =
    slow: as in pyproject.toml
    tflite: as in pyproject.toml
"""


@dataclass(frozen=True, slots=True)
class Device:
    """One of them, in a root that others use as well.

    Attributes:
        root: of the Debian.
        folder: of this device alone, as seen from inside; Python starts there.
    """

    architecture: Architecture
    root: Path
    folder: str

    def pytest(self, arguments: Sequence[str], deadline_s: float) -> subprocess.CompletedProcess[str]:
        """Run pytest there."""
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": self.folder,
            "LC_ALL": "C.UTF-8",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": self.folder,
            "TMPDIR": str(Path(self.folder) / "tmp"),
        }
        if RECIPES[self.architecture].library_path:
            environment["LD_LIBRARY_PATH"] = RECIPES[self.architecture].library_path
        # Its own modules are compiled here: under emulation, compiling is what takes longest. So asserts stay plain.
        fixed = ("-m", "pytest", "-q", "-c", "pytest.ini", "--assert=plain", "-p", "no:cacheprovider", "-rs")
        return subprocess.run(
            among_processors(("/usr/bin/python3", *fixed, *arguments), self.root, self.folder),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=deadline_s,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


@contextmanager
def device_with(architecture: Architecture, package: Path) -> Iterator[Device]:
    """Make a device that has the agent's package, and the tests; it is gone afterwards, the root stays.

    Raises:
        exporter.proof.places.NotRunError: there is no such Debian here, and none can be made.
    """
    root = prepare_root(architecture, roots_folder(os.environ))
    names = (*_TOOLS, *_RUNTIMES[architecture])
    wheels = add_wheels(architecture, root, [f"{name}=={version(name)}" for name in names])
    with tempfile.TemporaryDirectory(dir=root / "tmp", prefix="device-") as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        _unpack(package, folder)
        for part in _PARTS:
            shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "pytest.ini").write_text(_INI, encoding="utf-8")
        # Links that only lead somewhere inside; as in a device, all that Python needs is in one folder.
        for path in (root / wheels.lstrip("/")).iterdir():
            (folder / path.name).symlink_to(f"{wheels}/{path.name}")
        seen = f"/tmp/{folder.name}"  # noqa: S108 - inside the root
        if sys.version_info[:2] == _PYTHON:
            compiled = (sys.executable, "-m", "compileall", "-q", "-s", name, "-p", seen, name)
            subprocess.run(compiled, check=True, env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""})
        yield Device(architecture, root, seen)


def _unpack(package: Path, folder: Path) -> None:
    """Lay what the package installs for this Python side by side."""
    subprocess.run(["dpkg-deb", "--extract", str(package), str(folder / "package")], check=True)
    ours = folder / "package" / _OURS
    compiled = ours / "python{}.{}".format(*_PYTHON)
    for path in (*compiled.iterdir(), *(path for path in ours.iterdir() if not path.name.startswith("python3"))):
        path.rename(folder / path.name)
