"""The production pipeline: from rows to a promoted champion, every step recorded, a broken run resumed.

One run at a time for a project; the gate's refusal is a result, not an error.
"""

import fcntl
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path

import msgspec
from mlflow import MlflowClient

from edge_agent.bundle import Lineage
from edge_agent.clock import Clock, SystemClock
from exporter.model_file import load_estimator
from exporter.report import ExportReport
from trainer.errors import RunError
from trainer.pipeline import (
    evaluating,
    exporting,
    extracting,
    gate,
    preparing,
    promoting,
    registering,
    training,
    validating,
)
from trainer.pipeline.artefacts import load_arrays, save_value
from trainer.pipeline.evaluating import Champion
from trainer.pipeline.gate import GateDecision
from trainer.pipeline.journal import Journal, Progress, code_version
from trainer.pipeline.outcome import StepEvent
from trainer.pipeline.runs import HEAD_NAME, RESULT_NAME, RUNS_NAME, RunEnd, RunHead, StepRecord, load_run, run_folder
from trainer.project import LoadedProject
from trainer.registry.registry import CHAMPION, Registry
from trainer.registry.tracking import ensure_experiment, open_client

_MODULES = (extracting, validating, preparing, training, evaluating, registering, exporting, gate, promoting)


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run.

    Attributes:
        version: of the registered candidate.
        promoted: whether it became the champion.
        bundle: folder of its bundle; None when no variant was accepted.
    """

    run_id: str
    version: int
    promoted: bool
    decision: GateDecision
    bundle: Path | None
    report: ExportReport
    steps: tuple[StepRecord, ...]

    @property
    def reason(self) -> str:
        """Why it was promoted or refused, in words."""
        if not self.promoted:
            return "; ".join(self.decision.refusals)
        return "; ".join(check.text for check in self.decision.checks if check.decides)


def run_production(
    loaded: LoadedProject,
    *,
    trigger: str,
    reason: str,
    resume: str | None = None,
    progress: Progress | None = None,
    on_begin: Callable[[str], None] | None = None,
    clock: Clock | None = None,
) -> RunResult:
    """Run the production pipeline, or go on with a run that broke off.

    Args:
        loaded: the project.
        trigger: what started it: ``manual``, ``schedule``, ``labels``, ``deterioration``.
        reason: for people.
        resume: id of a run that broke off, or ``last``; its finished steps are kept.
        progress: is told of every step.
        on_begin: is told the run's id as soon as there is one.
        clock: tells the time.

    Raises:
        DataError, ProjectError, ExporterError: the run broke off for this reason.
        RunError: another run of this project goes on, or there is nothing to resume.
    """
    clock = clock or SystemClock()
    state = loaded.state
    (state / RUNS_NAME).mkdir(parents=True, exist_ok=True)
    with _alone(state / RUNS_NAME / ".lock"):
        client = open_client(state)
        registry = Registry(state, client)
        experiment = ensure_experiment(client, loaded.project.name, state)
        if resume is None:
            head = _begin(loaded, client, experiment, registry, trigger, reason, clock)
        else:
            head = load_run(state, resume).head
        if on_begin is not None:
            on_begin(head.run_id)
        folder = run_folder(state, head.run_id)
        journal = Journal(client, experiment, head.run_id, folder, clock, progress or _ignore)
        try:
            result = _run_steps(loaded, head, journal, registry, folder)
        except BaseException:
            client.set_terminated(head.run_id, "FAILED")
            raise
        _end(client, result, folder, clock)
        return result


def _run_steps(loaded: LoadedProject, head: RunHead, journal: Journal, registry: Registry, folder: Path) -> RunResult:
    project = loaded.project
    table = journal.step(
        "extract", extracting, lambda at: extracting.extract_rows(loaded, head.as_of_utc_s, at), extracting.load_rows
    )
    validation = journal.step(
        "validate", validating, lambda at: validating.validate_rows(project, table, at), validating.load_validation
    )
    splits = journal.step(
        "prepare",
        preparing,
        lambda at: preparing.prepare_splits(table, validation.is_kept, project.training, at),
        preparing.load_splits,
    )
    lesson = training.lesson_of(project, table, splits)
    trained = journal.step("train", training, lambda at: training.train_model(lesson, at), training.load_trained)
    champion = _load_champion(registry, project.name, head.champion)
    evaluation = journal.step(
        "evaluate",
        evaluating,
        lambda at: evaluating.evaluate_model(lesson, trained, champion, at),
        evaluating.load_evaluation,
    )
    version = journal.step(
        "register",
        registering,
        lambda at: registering.register_candidate(registry, head, table, evaluation, folder, at),
        registering.load_version,
    )
    lineage = Lineage(
        run_id=head.run_id,
        data_sha256=table.fingerprint,
        code_version=f"{package_version('fieldloop')}+{head.code_version}",
        created_utc=datetime.fromtimestamp(head.as_of_utc_s, UTC).isoformat(timespec="seconds"),
    )
    exported = journal.step(
        "export",
        exporting,
        lambda at: exporting.export_candidate(
            loaded, lesson, trained, evaluation, table.labels, version=version, lineage=lineage, folder=at
        ),
        exporting.load_exported,
    )
    decision = journal.step(
        "gate",
        gate,
        lambda at: promoting.judge_candidate(project, evaluation, exported, at),
        promoting.load_decision,
    )
    promoted = journal.step(
        "promote",
        promoting,
        lambda at: promoting.promote_candidate(registry, project.name, version, decision, at),
        promoting.load_promoted,
    )
    return RunResult(head.run_id, version, promoted, decision, exported.bundle, exported.report, tuple(journal.records))


def _begin(
    loaded: LoadedProject,
    client: MlflowClient,
    experiment: str,
    registry: Registry,
    trigger: str,
    reason: str,
    clock: Clock,
) -> RunHead:
    champion = registry.find(loaded.project.name, alias=CHAMPION)
    code = code_version(*_MODULES)
    tags = {
        "fieldloop.pipeline": "production",
        "fieldloop.pipeline_version": code,
        "fieldloop.trigger": trigger,
        "fieldloop.reason": reason[:1000],
        "fieldloop.previous_model": "" if champion is None else f"{champion.name}/{champion.version}",
        "fieldloop.project": msgspec.json.encode(loaded.project).decode()[:4000],
    }
    run = client.create_run(experiment, run_name=f"production {trigger}", tags=tags)
    head = RunHead(
        run_id=str(run.info.run_id),
        model=loaded.project.name,
        trigger=trigger,
        reason=reason,
        as_of_utc_s=clock.utc_s(),
        champion=0 if champion is None else champion.version,
        code_version=code,
        host=socket.gethostname(),
    )
    folder = run_folder(loaded.state, head.run_id)
    folder.mkdir(parents=True)
    save_value(folder / HEAD_NAME, head)
    return head


def _end(client: MlflowClient, result: RunResult, folder: Path, clock: Clock) -> None:
    end = RunEnd(result.promoted, result.version, result.reason, clock.utc_s())
    save_value(folder / RESULT_NAME, end)
    client.set_tag(result.run_id, "fieldloop.promoted", str(result.promoted).lower())
    client.set_tag(result.run_id, "fieldloop.version", str(result.version))
    client.set_terminated(result.run_id, "FINISHED")


def _load_champion(registry: Registry, name: str, version: int) -> Champion | None:
    if not version:
        return None
    model = registry.load(name, version=version)
    keys = load_arrays(model.folder / "evaluate" / evaluating.KEYS_NAME)["keys"]
    return Champion(version, load_estimator(model.model_file), keys)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one run of a project go on at a time, in any process."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"another production run of this project goes on ({path.parent}); wait for it, or end it"
            ) from error
        yield


def _ignore(event: StepEvent) -> None:
    """Nobody watches."""
