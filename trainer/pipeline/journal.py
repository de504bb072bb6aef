"""Records the steps of one run as they are carried out: on the disk, and as child runs in MLflow.

A step is finished when its record stands: it is written last. In MLflow each attempt at a step is a child run: versions
of code and packages, executor, host, parameters, metrics, times, pointers to artefacts. What must be carried out is
decided elsewhere (`trainer.pipeline.plan`).
"""

import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from msgspec import Struct
from msgspec.structs import replace

from edge_agent.clock import Clock
from trainer.errors import RunError
from trainer.pipeline.artefacts import is_intact, list_artefacts, load_value, save_value, sync_files
from trainer.pipeline.keys import StepKey, digest_of
from trainer.pipeline.outcome import Outcome, StepEvent
from trainer.pipeline.plan import NOT_DONE, Found
from trainer.pipeline.runs import RECORD_NAME, Attempt, StepRecord, StepVerdict, load_attempts, save_attempts
from trainer.pipeline.step import B, Step

Progress = Callable[[StepEvent], None]

LOCAL: Final = "local process"
_MAX_PARAM: Final = 500
_MAX_TAG: Final = 5000
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
        clock: Clock,
        progress: Progress,
        executor: str = LOCAL,
    ) -> None:
        """Open the journal of a run; another attempt at it begins.

        Args:
            client: of the store that keeps the records.
            experiment_id: of the project.
            run_id: of the run, under which each step is a child.
            folder: of the run.
            clock: tells the time.
            progress: is told of every step.
            executor: what runs the steps, for the records.
        """
        self._client = client
        self._experiment_id = experiment_id
        self._run_id = run_id
        self._folder = folder
        self._clock = clock
        self._progress = progress
        self._executor = executor
        self._host = socket.gethostname()
        self._earlier = load_attempts(folder)
        self._attempt = Attempt(clock.utc_s(), self._host, executor)
        self.records: list[StepRecord] = []

    def record_of(self, name: str) -> StepRecord | None:
        """Return the record of a step that is finished; None when it is not, or when its record cannot be read."""
        path = self._folder / name / RECORD_NAME
        try:
            return load_value(path, StepRecord) if path.exists() else None
        except RunError:
            return None

    def find(self, name: str) -> Found | None:
        """Look at what stands of a step; every file of a finished one is read."""
        record = self.record_of(name)
        return None if record is None else Found(record.key, is_intact(self._folder / name, record.artefacts))

    def keep(self, record: StepRecord, why: str) -> None:
        """Write down that a finished step is kept."""
        self._note(StepVerdict(record.name, ran=False, why=why))
        self.records.append(record)
        self._progress(StepEvent(record.name, "skipped", record.seconds, record.facts, why))

    def carry_out(self, step: Step[B], key: StepKey, why: str, do: Callable[[Path], Outcome[Any]]) -> Outcome[Any]:
        """Carry out a step and record it.

        Args:
            step: the step.
            key: what it depends on.
            why: it is carried out.
            do: carries it out, writing its files into the folder that it is given.

        Raises:
            RunError: MLflow does not take the record; the run can be resumed.
        """
        folder, begun = self._folder / step.name, Begun(key.code, key.digest)
        self._prepare_folder(folder, begun)
        self._note(StepVerdict(step.name, ran=True, why=why))
        told = "" if why == NOT_DONE else why
        self._progress(StepEvent(step.name, "started", 0.0, why=told))
        started_utc_s, started_s = self._clock.utc_s(), self._clock.monotonic_s()
        child = self._begin_child(step.name, key, why)
        save_value(folder / _BEGUN_NAME, replace(begun, child=child))
        try:
            outcome = do(folder)
        except BaseException:
            self._end_child(child, "FAILED")
            raise
        seconds = self._clock.monotonic_s() - started_s
        sync_files(folder)
        artefacts = list_artefacts(folder, besides=frozenset({_BEGUN_NAME}))
        record = StepRecord(
            name=step.name,
            version=begun.version,
            inputs=begun.inputs,
            executor=self._executor,
            started_utc_s=started_utc_s,
            ended_utc_s=self._clock.utc_s(),
            seconds=seconds,
            params=dict(outcome.params),
            metrics=dict(outcome.metrics),
            facts=outcome.facts,
            artefacts=artefacts,
            key=key,
            outputs=digest_of([(file.path, file.sha256) for file in artefacts if not step.is_by_product(file.path)]),
            why=why,
            host=self._host,
        )
        self._record_child(child, record, step.named)
        # The order is the safety: only now the step counts as finished.
        save_value(folder / RECORD_NAME, record)
        self.records.append(record)
        self._progress(StepEvent(step.name, "finished", seconds, outcome.facts, told))
        return outcome

    def _note(self, verdict: StepVerdict) -> None:
        self._attempt = replace(self._attempt, verdicts=(*self._attempt.verdicts, verdict))
        save_attempts(self._folder, (*self._earlier, self._attempt))

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

    def _begin_child(self, name: str, key: StepKey, why: str) -> str:
        tags = {
            "mlflow.parentRunId": self._run_id,
            "mlflow.runName": name,
            "fieldloop.step": name,
            "fieldloop.step_version": key.code,
            "fieldloop.executor": self._executor,
            "fieldloop.host": self._host,
            "fieldloop.python": key.packages.get("python", ""),
            "fieldloop.packages": packages_text(key.packages),
            "fieldloop.why": why[:_MAX_TAG],
        }
        with _told("begin"):
            run = self._client.create_run(self._experiment_id, run_name=name, tags=tags)
        return str(run.info.run_id)

    def _end_child(self, child: str, status: str) -> None:
        with _told("end"):
            self._client.set_terminated(child, status)

    def _record_child(self, child: str, record: StepRecord, named: Mapping[str, str]) -> None:
        now_ms = int(record.ended_utc_s * 1000)
        params = [Param(key, str(value)[:_MAX_PARAM]) for key, value in record.params.items()]
        metrics = [Metric(_metric_name(key), value, now_ms, 0) for key, value in record.metrics.items()]
        metrics.append(Metric("seconds", record.seconds, now_ms, 0))
        folder = self._folder / record.name
        names = {path: name for name, path in named.items()}
        pointers = [
            {"name": names.get(a.path, a.path), "path": str(folder / a.path), "sha256": a.sha256}
            for a in record.artefacts
        ]
        tags = [
            RunTag(f"fieldloop.artefact.{names[a.path]}", f"{folder / a.path} sha256:{a.sha256}")
            for a in record.artefacts
            if a.path in names
        ]
        with _told("record"):
            self._client.log_batch(child, metrics=metrics, params=params)
            self._client.log_batch(self._run_id, metrics=metrics[:-1], tags=tags)
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


def packages_text(packages: Mapping[str, str]) -> str:
    """Return packages as people read them."""
    return " ".join(f"{name}=={version}" for name, version in sorted(packages.items()))[:_MAX_TAG]


def _begun_in(folder: Path) -> Begun | None:
    """Return what the last attempt at a step began with; None when there was none that came so far."""
    try:
        return load_value(folder / _BEGUN_NAME, Begun)
    except RunError:
        return None


def _metric_name(name: str) -> str:
    """MLflow takes letters, digits and a few signs."""
    return "".join(sign if sign.isalnum() or sign in "_-. /" else "_" for sign in name)
