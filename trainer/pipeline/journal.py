"""Carries out the steps of one run, records each, and skips those that an earlier attempt has finished.

A step is finished when its record stands, was made by the present code for the present project, and its files are what
the record says; from the first step that is not, all are carried out. Each is a child run in MLflow: versions,
executor, parameters, metrics, times, pointers to artefacts.
"""

import hashlib
import platform
import shutil
import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Final, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from msgspec import Struct
from msgspec.structs import replace

from edge_agent.clock import Clock
from trainer.errors import RunError
from trainer.pipeline.artefacts import is_intact, list_artefacts, load_value, save_value, sync_files
from trainer.pipeline.outcome import Outcome, StepEvent
from trainer.pipeline.runs import RECORD_NAME, StepRecord

T = TypeVar("T")

Progress = Callable[[StepEvent], None]

_PACKAGES: Final = ("scikit-learn", "numpy", "skl2onnx", "onnx", "onnxruntime")
_MAX_PARAM: Final = 500
_BEGUN_NAME: Final = "begun.json"


class Begun(Struct, frozen=True):
    """What an attempt at a step began with; `child` is its run in MLflow."""

    version: str
    inputs: str
    child: str = ""


class Journal:
    """The steps of one run."""

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        run_id: str,
        folder: Path,
        *,
        inputs: str,
        clock: Clock,
        progress: Progress,
    ) -> None:
        """Open the journal of a run.

        Args:
            client: of the store that keeps the records.
            experiment_id: of the project.
            run_id: of the run, under which each step is a child.
            folder: of the run.
            inputs: stands for all that every step depends on and that an earlier attempt may have had otherwise.
            clock: tells the time.
            progress: is told of every step.
        """
        self._client = client
        self._experiment_id = experiment_id
        self._run_id = run_id
        self._folder = folder
        self._inputs = inputs
        self._clock = clock
        self._progress = progress
        self._is_fresh = False
        self.records: list[StepRecord] = []

    def step(
        self,
        name: str,
        module: ModuleType,
        do: Callable[[Path], Outcome[T]],
        load: Callable[[Path], T],
        *,
        given: str = "",
    ) -> T:
        """Carry out a step, or load what an earlier attempt made of it.

        Args:
            name: of the step and of its folder.
            module: whose code it is.
            do: carries it out, writing its files into the folder that it is given.
            load: reads them again.
            given: what this step depends on besides the journal's inputs and the steps before.

        Raises:
            RunError: MLflow does not take the record; the run can be resumed.
        """
        folder = self._folder / name
        begun = Begun(code_version(module), f"{self._inputs} {given}".strip())
        kept = None if self._is_fresh else _finished(folder, begun)
        if kept is not None:
            self.records.append(kept)
            self._progress(StepEvent(name, "skipped", kept.seconds, kept.facts))
            return load(folder)
        if self._is_fresh and folder.exists():
            shutil.rmtree(folder)  # made of what an earlier step made otherwise
        self._is_fresh = True
        return self._carry_out(name, begun, folder, do)

    def _carry_out(self, name: str, begun: Begun, folder: Path, do: Callable[[Path], Outcome[T]]) -> T:
        self._prepare_folder(folder, begun)
        self._progress(StepEvent(name, "started", 0.0))
        started_utc_s, started_s = self._clock.utc_s(), self._clock.monotonic_s()
        child = self._begin_child(name, begun.version)
        save_value(folder / _BEGUN_NAME, replace(begun, child=child))
        try:
            outcome = do(folder)
        except BaseException:
            self._end_child(child, "FAILED")
            raise
        seconds = self._clock.monotonic_s() - started_s
        sync_files(folder)
        record = StepRecord(
            name=name,
            version=begun.version,
            inputs=begun.inputs,
            executor="local process",
            started_utc_s=started_utc_s,
            ended_utc_s=self._clock.utc_s(),
            seconds=seconds,
            params=dict(outcome.params),
            metrics=dict(outcome.metrics),
            facts=outcome.facts,
            artefacts=list_artefacts(folder, besides=frozenset({_BEGUN_NAME})),
        )
        self._record_child(child, record)
        # The order is the safety: only now the step counts as finished.
        save_value(folder / RECORD_NAME, record)
        self.records.append(record)
        self._progress(StepEvent(name, "finished", seconds, outcome.facts))
        return outcome.value

    def _prepare_folder(self, folder: Path, begun: Begun) -> None:
        """Make the step's folder; what a like attempt left unfinished stays: a search goes on with it."""
        earlier = _begun_in(folder)
        if earlier is not None and earlier.child and not (folder / RECORD_NAME).exists():
            self._end_killed(earlier.child)
        is_alike = earlier is not None and replace(earlier, child="") == begun
        if folder.exists() and not (is_alike and not (folder / RECORD_NAME).exists()):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_value(folder / _BEGUN_NAME, begun)

    def _end_killed(self, child: str) -> None:
        """Let no attempt that was killed stand as running for ever."""
        with _told("end"):
            if self._client.get_run(child).info.status == "RUNNING":
                self._client.set_terminated(child, "KILLED")

    def _begin_child(self, name: str, code: str) -> str:
        tags = {
            "mlflow.parentRunId": self._run_id,
            "mlflow.runName": name,
            "fieldloop.step": name,
            "fieldloop.step_version": code,
            "fieldloop.executor": "local process",
            "fieldloop.host": socket.gethostname(),
            "fieldloop.python": platform.python_version(),
        }
        with _told("begin"):
            run = self._client.create_run(self._experiment_id, run_name=name, tags=tags)
        return str(run.info.run_id)

    def _end_child(self, child: str, status: str) -> None:
        with _told("end"):
            self._client.set_terminated(child, status)

    def _record_child(self, child: str, record: StepRecord) -> None:
        now_ms = int(record.ended_utc_s * 1000)
        params = [Param(key, str(value)[:_MAX_PARAM]) for key, value in record.params.items()]
        metrics = [Metric(_metric_name(key), value, now_ms, 0) for key, value in record.metrics.items()]
        metrics.append(Metric("seconds", record.seconds, now_ms, 0))
        with _told("record"):
            self._client.log_batch(child, metrics=metrics, params=params)
            self._client.log_batch(self._run_id, metrics=metrics[:-1])
            pointers = [
                {"path": str(self._folder / record.name / a.path), "sha256": a.sha256} for a in record.artefacts
            ]
            self._client.log_dict(child, {"artefacts": pointers}, "artefacts.json")
            self._client.set_terminated(child, "FINISHED")


class _told:  # noqa: N801 - reads as a word
    """Turns MLflow's errors into ours: a record that cannot be written must not pass in silence."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, MlflowException):
            raise RunError(
                f"MLflow did not take the record ({self._what}): {error.message}; "
                "mend it and go on with: fieldloop pipeline resume last"
            ) from error


def code_version(*modules: ModuleType) -> str:
    """Return a hash of modules' sources and of the packages that decide what a step makes."""
    digest = hashlib.sha256()
    for module in modules:
        if module.__file__ is not None:
            digest.update(Path(module.__file__).read_bytes())
    for package in _PACKAGES:
        digest.update(f"{package}={version(package)};".encode())
    return digest.hexdigest()[:16]


def _begun_in(folder: Path) -> Begun | None:
    """Return what the last attempt at a step began with; None when there was none that came so far."""
    try:
        return load_value(folder / _BEGUN_NAME, Begun)
    except RunError:
        return None


def _finished(folder: Path, begun: Begun) -> StepRecord | None:
    """Return the record of a step whose files are whole, made by the same code from the same inputs."""
    if not (folder / RECORD_NAME).exists():
        return None
    try:
        record = load_value(folder / RECORD_NAME, StepRecord)
    except RunError:
        return None
    is_alike = (record.version, record.inputs) == (begun.version, begun.inputs)
    return record if is_alike and is_intact(folder, record.artefacts) else None


def _metric_name(name: str) -> str:
    """MLflow takes letters, digits and a few signs."""
    return "".join(sign if sign.isalnum() or sign in "_-. /" else "_" for sign in name)
