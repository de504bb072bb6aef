"""Carries out the steps of one run, records each, and skips those that an earlier attempt has finished.

A step is finished when its record stands and its files are what the record says; from the first step that is not, all
are carried out. Each is a child run in MLflow: versions, executor, parameters, metrics, times, pointers to artefacts.
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

from edge_agent.clock import Clock
from trainer.errors import RunError
from trainer.pipeline.artefacts import is_intact, list_artefacts, load_value, save_value, sync_files
from trainer.pipeline.outcome import Outcome, StepEvent
from trainer.pipeline.runs import RECORD_NAME, StepRecord

T = TypeVar("T")

Progress = Callable[[StepEvent], None]

_PACKAGES: Final = ("scikit-learn", "numpy", "skl2onnx", "onnx", "onnxruntime")
_MAX_PARAM: Final = 500


class Journal:
    """The steps of one run."""

    def __init__(
        self, client: MlflowClient, experiment_id: str, run_id: str, folder: Path, clock: Clock, progress: Progress
    ) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._run_id = run_id
        self._folder = folder
        self._clock = clock
        self._progress = progress
        self._is_fresh = False
        self.records: list[StepRecord] = []

    def step(self, name: str, module: ModuleType, do: Callable[[Path], Outcome[T]], load: Callable[[Path], T]) -> T:
        """Carry out a step, or load what an earlier attempt made of it.

        Args:
            name: of the step and of its folder.
            module: whose code it is.
            do: carries it out, writing its files into the folder that it is given.
            load: reads them again.

        Raises:
            RunError: MLflow does not take the record; the run can be resumed.
        """
        folder = self._folder / name
        code = code_version(module)
        kept = None if self._is_fresh else _finished(folder, code)
        if kept is not None:
            self.records.append(kept)
            self._progress(StepEvent(name, "skipped", kept.seconds, kept.facts))
            return load(folder)
        self._is_fresh = True
        return self._carry_out(name, code, folder, do)

    def _carry_out(self, name: str, code: str, folder: Path, do: Callable[[Path], Outcome[T]]) -> T:
        self._prepare_folder(folder, code)
        self._progress(StepEvent(name, "started", 0.0))
        started_utc_s, started_s = self._clock.utc_s(), self._clock.monotonic_s()
        child = self._begin_child(name, code)
        try:
            outcome = do(folder)
        except BaseException:
            self._end_child(child, "FAILED")
            raise
        seconds = self._clock.monotonic_s() - started_s
        sync_files(folder)
        record = StepRecord(
            name=name,
            version=code,
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

    def _prepare_folder(self, folder: Path, code: str) -> None:
        """Make the step's folder; what an attempt of the same code left unfinished stays: a search goes on with it."""
        begun = folder / _BEGUN_NAME
        is_same = begun.exists() and begun.read_text(encoding="utf-8") == code and not (folder / RECORD_NAME).exists()
        if folder.exists() and not is_same:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        begun.write_text(code, encoding="utf-8")

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


_BEGUN_NAME: Final = "begun"


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


def _finished(folder: Path, code: str) -> StepRecord | None:
    """Return the record of a step whose files are whole and whose code has not changed."""
    if not (folder / RECORD_NAME).exists():
        return None
    try:
        record = load_value(folder / RECORD_NAME, StepRecord)
    except RunError:
        return None
    return record if record.version == code and is_intact(folder, record.artefacts) else None


def _metric_name(name: str) -> str:
    """MLflow takes letters, digits and a few signs."""
    return "".join(sign if sign.isalnum() or sign in "_-. /" else "_" for sign in name)
