"""Where a variant's file can be run besides this process: other Python environments, each found or named as missing.

A child process of that environment scores the same file and rows with the same adapter (`exporter.proof.child`). It
gets this installation's own packages by links in a folder of their own: the rest of an environment must not shadow that
of the other, whose numpy is an older one for a reason.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import numpy as np

from edge_agent.errors import BundleError
from edge_agent.scoring.implementations import implementation_of
from exporter.models.model import Outputs, Rows
from exporter.proof.cost import Latency, Memory
from exporter.proof.runtimes import CLAIMS

_TIMEOUT_S: Final = 600
_PACKAGES: Final = ("broker", "edge_agent", "exporter")
_FOLDER: Final = Path(__file__).resolve().parents[2]
# By library: the variable that names the Python of its environment, and the environment's usual name.
_ENVIRONMENTS: Final[Mapping[str, tuple[str, str]]] = {
    "tflite-runtime": ("FIELDLOOP_TFLITE_PYTHON", ".venv-tflite"),
    "ai-edge-litert": ("FIELDLOOP_LITERT_PYTHON", ".venv-litert"),
}

# No index has our own engine; what has its name there is somebody else's.
_OURS: Final[Mapping[str, str]] = {"native": "not built here: python -m edge_agent.engine.compile"}


class NotRunError(Exception):
    """A place could not run anything, which says nothing of the variant: the report names it."""


@dataclass(frozen=True, slots=True)
class Job:
    """A file to be run.

    Attributes:
        rows: ``(n, n_features) float32``.
        scores: whether the answers to all rows are wanted.
        weighs: whether its memory is measured.
        times: whether its latency is measured.
        face: how the native engine is called; empty: as on a device.
    """

    runtime: str
    path: Path
    rows: Rows
    n_outputs: int
    scores: bool = True
    weighs: bool = True
    times: bool = True
    face: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a place found.

    Attributes:
        outputs: ``(n, n_outputs)``; no rows where none were wanted.
        implementation: the library that ran it, with its version.
        where: the Python and processor that ran it.
    """

    outputs: Outputs
    implementation: str
    where: str
    memory: Memory | None
    latency: Latency | None


class Place(Protocol):
    """Somewhere a variant's file can be run."""

    @property
    def runtime(self) -> str:
        """The runtime whose files run there."""
        ...

    @property
    def implementation(self) -> str:
        """The library that runs them there."""
        ...

    def run(self, job: Job) -> Answer:
        """Run a file.

        Raises:
            NotRunError: it cannot be run there, for this reason.
            BundleError: the variant is at fault: its runtime refused it, or died of it.
        """
        ...


@dataclass(frozen=True, slots=True)
class MissingPlace:
    """A library that a variant claims and that is nowhere to be found."""

    runtime: str
    implementation: str
    reason: str

    def run(self, job: Job) -> Answer:  # noqa: ARG002 - as the protocol wants
        """Say why nothing can be run."""
        raise NotRunError(self.reason)


@dataclass(frozen=True, slots=True)
class PythonPlace:
    """Another process of this or another Python of this machine; `library` is what it must find there."""

    runtime: str
    library: str
    python: Path
    face: str = ""

    @property
    def implementation(self) -> str:
        """The library, with the way it is called if there are several."""
        return f"{self.library} ({self.face})" if self.face else self.library

    def run(self, job: Job) -> Answer:
        """Run a file; see `Place.run`."""
        with tempfile.TemporaryDirectory(prefix="fieldloop-") as name:
            folder = Path(name)
            link_packages(folder / "lib")
            environment = {**os.environ, "PYTHONPATH": str(folder / "lib"), "OPENBLAS_NUM_THREADS": "1"}
            command = [str(self.python), "-m", "exporter.proof.child"]
            asked = replace(job, face=self.face)
            answer = run_child(command, asked, folder, self.library, environment=environment)
        return replace(answer, implementation=f"{answer.implementation} ({self.face})") if self.face else answer


def find_places(environ: Mapping[str, str], prefix: Path = Path(sys.prefix)) -> tuple[Place, ...]:
    """Find every library that variants claim and that this process does not run; name those that are missing.

    Args:
        environ: may name an environment's Python, for example ``FIELDLOOP_TFLITE_PYTHON``.
        prefix: folder of this environment; others lie beside it, or in the checkout.
    """
    # This process calls the native engine in the way that is fastest; devices with another Python in the other one.
    places: list[Place] = [PythonPlace("native", "native", Path(sys.executable), face="ctypes")]
    for runtime, claims in CLAIMS.items():
        for implementation in claims:
            if implementation == implementation_of(runtime):
                continue
            variable, usual = _ENVIRONMENTS.get(implementation, ("", ""))
            if not variable:
                how = _OURS.get(implementation, f"not installed: pip install {implementation}")
                places.append(MissingPlace(runtime, implementation, how))
                continue
            named = environ.get(variable)
            beside = [parent / usual / "bin" / "python" for parent in (prefix.parent, _FOLDER)]
            pythons = [Path(named)] if named else beside
            found = next((python for python in pythons if python.exists()), None)
            if found is not None:
                places.append(PythonPlace(runtime, implementation, found))
                continue
            reason = f"no environment with it at {pythons[0]}; {variable} may name the Python of one"
            places.append(MissingPlace(runtime, implementation, reason))
    return tuple(places)


def link_packages(folder: Path) -> None:
    """Make a folder for PYTHONPATH with nothing but this installation's own packages."""
    folder.mkdir()
    for package in _PACKAGES:
        (folder / package).symlink_to(_FOLDER / package, target_is_directory=True)


def copy_packages(folder: Path) -> None:
    """Copy this installation's own packages into a folder, for a child that sees no link out of it."""
    for package in _PACKAGES:
        shutil.copytree(_FOLDER / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))


def run_child(
    command: Sequence[str],
    job: Job,
    folder: Path,
    implementation: str,
    *,
    environment: Mapping[str, str],
    seen_as: Path | None = None,
) -> Answer:
    """Run `exporter.proof.child` by a command and read its answer; raise as `Place.run` does.

    Args:
        command: starts the child.
        job: what it has to do.
        folder: for its files.
        implementation: the library that it must find.
        environment: of the child.
        seen_as: what the child calls ``folder``, if it sees another file system; the variant's file is then in there.
    """
    seen = seen_as or folder
    (folder / "rows").write_bytes(np.ascontiguousarray(job.rows, dtype=np.float32).tobytes())
    text = json.dumps(
        {
            "runtime": job.runtime,
            "face": job.face,
            "path": str(seen / job.path.name if seen_as else job.path.resolve()),
            "n_features": job.rows.shape[1],
            "n_outputs": job.n_outputs,
            "rows": str(seen / "rows"),
            "outputs": str(seen / "outputs") if job.scores else "",
            "weighs": job.weighs,
            "times": job.times,
        }
    )
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=dict(environment)
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotRunError(f"{command[0]}: {error}") from error
    if done.returncode < 0:
        raise BundleError(f"{implementation} ended by signal {-done.returncode} while it ran {job.path.name}")
    if done.returncode:
        raise NotRunError(f"{command[0]}: {(done.stderr.strip().splitlines() or ['no word'])[-1][:300]}")
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "missing" in facts:
        raise NotRunError(f"{command[0]}: {facts['missing']}")
    if "refused" in facts:
        raise BundleError(facts["refused"])
    if facts["implementation"] != implementation:
        raise NotRunError(f"{command[0]} has {facts['implementation']} instead")
    outputs = np.zeros((0, job.n_outputs))
    if job.scores:
        outputs = np.frombuffer((folder / "outputs").read_bytes(), dtype=np.float64).reshape(len(job.rows), -1)
    return Answer(
        outputs=outputs,
        implementation=f"{implementation} {facts['version']}".strip(),
        where=f"Python {facts['python']}, {facts['machine']}",
        memory=msgspec.convert(facts["memory"], Memory) if "memory" in facts else None,
        latency=msgspec.convert(facts["latency"], Latency) if "latency" in facts else None,
    )
