"""Runs variants on boards' processors that are not here: the device's own code on a Debian of theirs, under qemu.

For correctness: times and memory under emulation say nothing about a board, and are not taken. The root is entered by
chroot, as root or in a user namespace; the emulator is started by name, so that the kernel needs to know nothing of
it. Neither /proc nor /sys is mounted in there: ONNX Runtime would read the host's processor from both, and die of it.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

from exporter.errors import ExporterError
from exporter.pinned_environment import cache_folder
from exporter.proof.debian_root import RECIPES, Architecture, add_wheels, prepare_root
from exporter.proof.places import Answer, Job, NotRunError, Place, copy_packages, run_child
from exporter.proof.runtimes import ADAPTERS, installed_version

# By architecture: the runtime, its library, and the wheels that it needs; a version that is left open is that of here.
_LIBRARIES: Final[Mapping[Architecture, tuple[tuple[str, str, tuple[str, ...]], ...]]] = {
    "arm64": (
        ("onnx", "onnxruntime", ("onnxruntime", "numpy<3")),
        ("tflite", "ai-edge-litert", ("ai-edge-litert", "ml_dtypes", "numpy<3")),
        ("tflite", "tflite-runtime", ("tflite-runtime==2.14.0", "numpy==1.26.4")),
        ("native", "native", ()),
    ),
    "armhf": (
        ("tflite", "tflite-runtime", ("tflite-runtime==2.14.0",)),
        ("native", "native", ()),
    ),
}


class UnknownArchitectureError(ExporterError):
    """Variants were to be run on an architecture that cannot be emulated here."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class EmulatedPlace:
    """A library on an emulated architecture; the root is made when the first file is run."""

    runtime: str
    library: str
    requirements: tuple[str, ...]
    architecture: Architecture
    cache: Path

    @property
    def implementation(self) -> str:
        """The library with its architecture."""
        return f"{self.library} ({self.architecture})"

    def run(self, job: Job) -> Answer:
        """Run a file; see `Place.run`."""
        root = prepare_root(self.architecture, self.cache)
        path = ["/lib"]
        if self.requirements:
            path.append(add_wheels(self.architecture, root, [_pinned(name) for name in self.requirements]))
        with tempfile.TemporaryDirectory(dir=root / "tmp", prefix="job-") as name:
            folder = Path(name)
            seen = Path("/tmp") / folder.name  # noqa: S108 - inside the root
            path[0] = str(seen / "lib")
            copy_packages(folder / "lib")
            shutil.copy(job.path, folder / job.path.name)
            command = _enter(root, self.architecture, ":".join(path))
            asked = replace(job, weighs=False, times=False)
            answer = run_child(command, asked, folder, self.library, environment=os.environ, seen_as=seen)
        return replace(answer, implementation=f"{answer.implementation} ({self.architecture})")


def emulated_places(architectures: Sequence[str], environ: Mapping[str, str]) -> tuple[Place, ...]:
    """Return every library of the architectures that variants can be run on.

    Args:
        architectures: ``arm64``, ``armhf``.
        environ: says where caches lie.

    Raises:
        UnknownArchitectureError: another architecture.
    """
    known: tuple[Architecture, ...] = get_args(Architecture)
    places: list[Place] = []
    for name in dict.fromkeys(architectures):
        architecture = next((a for a in known if a == name), None)
        if architecture is None:
            raise UnknownArchitectureError(f"{name!r} cannot be emulated; known: {', '.join(known)}")
        places += [
            EmulatedPlace(runtime, library, requirements, architecture, roots_folder(environ))
            for runtime, library, requirements in _LIBRARIES[architecture]
            if runtime in ADAPTERS
        ]
    return tuple(places)


def roots_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of all roots, outside of any project."""
    return cache_folder(environ) / "roots"


def _pinned(requirement: str) -> str:
    """Pin what is left open to the version of here, which is what the other runs are compared with."""
    version = "" if set(requirement) & set("=<>") else installed_version(requirement)
    return f"{requirement}=={version}" if version else requirement


def _enter(root: Path, architecture: Architecture, python_path: str) -> list[str]:
    """Return the command that starts Python inside a root."""
    chroot = shutil.which("chroot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if chroot is None:
        raise NotRunError("chroot is missing: apt-get install coreutils")
    as_root = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
    variables = {"PYTHONPATH": python_path, "OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin", "HOME": "/tmp"}  # noqa: S108 - inside
    if RECIPES[architecture].library_path:
        variables["LD_LIBRARY_PATH"] = RECIPES[architecture].library_path
    settings = [part for key, value in variables.items() for part in ("-E", f"{key}={value}")]
    return [*as_root, chroot, str(root), "/qemu", *settings, "/usr/bin/python3", "-m", "exporter.proof.child"]
