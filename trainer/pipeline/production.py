"""The production pipeline: from rows to a promoted champion, every step recorded, a broken run resumed.

One run at a time for a project; the gate's refusal is a result, not an error.
"""

import fcntl
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from mlflow import MlflowClient
from msgspec.structs import replace

from edge_agent.clock import Clock, SystemClock
from exporter.models.model_file import load_estimator
from exporter.proof.report import ExportReport
from exporter.variants import choose_forms
from trainer.errors import BusyError, RunError
from trainer.pipeline import (
    candidates,
    evaluating,
    exporting,
    extracting,
    fitting,
    gate,
    lesson,
    model_bytes,
    preparing,
    promoting,
    registering,
    rounds,
    training,
    validating,
)
from trainer.pipeline.artefacts import save_value
from trainer.pipeline.evaluating import Champion
from trainer.pipeline.gate import GateDecision
from trainer.pipeline.journal import Journal, Progress, code_version
from trainer.pipeline.outcome import StepEvent
from trainer.pipeline.runs import HEAD_NAME, RESULT_NAME, RUNS_NAME, RunEnd, RunHead, StepRecord, load_run, run_folder
from trainer.pipeline.search import cost, exportable, families, front, named, pruning, study, trial
from trainer.project.project import LoadedProject, Project
from trainer.project.signal import declared_in
from trainer.registry.registry import CHAMPION, Registry, open_registry
from trainer.registry.tracking import ensure_experiment, open_client

_SEARCH = (candidates, lesson, rounds, cost, exportable, families, front, named, pruning, study, trial)
_MODULES = (
    *(extracting, validating, preparing, training, *_SEARCH, fitting, model_bytes),
    *(evaluating, registering, exporting, gate, promoting),
)

WAITS_FOR_APPROVAL: Final = (
    "it passed, and a person must approve it: fieldloop registry promote {version} --to champion --by NAME"
)


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
            return "; ".join(self.decision.refusals) or WAITS_FOR_APPROVAL.format(version=self.version)
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
        resume: id of a run that broke off, or ``last``; the steps are kept that it finished for the project as it is
            now. It is compared with the champion as it is now.
        progress: is told of every step.
        on_begin: is told the run's id as soon as there is one.
        clock: tells the time.

    Raises:
        DataError, ProjectError, ExporterError: the run broke off, or did not begin, for this reason.
        BusyError: another run of this project goes on.
        RunError: there is nothing to resume.
    """
    clock = clock or SystemClock()
    state = loaded.state
    # Names that nobody knows are told now, not after minutes of training.
    families.families_of_project(loaded.project)
    choose_forms(loaded.project.export.variants, loaded.project.export.boards)
    (state / RUNS_NAME).mkdir(parents=True, exist_ok=True)
    with _alone(state / RUNS_NAME / ".lock"):
        client = open_client(state, loaded.stores.metadata)
        registry = open_registry(loaded, client)
        experiment = ensure_experiment(client, loaded.project.name, state, loaded.stores.artefacts)
        if resume is None:
            head = _begin(loaded, client, experiment, registry, trigger, reason, clock)
        else:
            head = _take_up(loaded, client, registry, resume)
        if on_begin is not None:
            on_begin(head.run_id)
        folder = run_folder(state, head.run_id)
        journal = Journal(
            client,
            experiment,
            head.run_id,
            folder,
            inputs=sha256(msgspec.json.encode(loaded.project)).hexdigest()[:16],
            clock=clock,
            progress=progress or _ignore,
        )
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
    learnt = lesson.lesson_of(project, table, splits)
    trained = journal.step(
        "train",
        training,
        lambda at: training.train_model(learnt, at),
        training.load_trained,
        given=code_version(*_SEARCH, fitting, model_bytes),
    )
    champion = _load_champion(registry, project, table.labels, head.champion)
    evaluation = journal.step(
        "evaluate",
        evaluating,
        lambda at: evaluating.evaluate_model(learnt, trained, champion, at),
        evaluating.load_evaluation,
        given=f"champion {head.champion} {code_version(fitting)}",
    )
    version = journal.step(
        "register",
        registering,
        lambda at: registering.register_candidate(registry, head, table, evaluation, folder, at),
        registering.load_version,
    )
    lineage = exporting.lineage_of(head, table)
    exported = journal.step(
        "export",
        exporting,
        lambda at: exporting.export_candidate(
            loaded,
            learnt,
            trained,
            evaluation,
            table.labels,
            version=version,
            lineage=lineage,
            folder=at,
            registry=registry,
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


def _take_up(loaded: LoadedProject, client: MlflowClient, registry: Registry, run: str) -> RunHead:
    """Return the head of a run that broke off; it must match the champion as it is now, not as it was then."""
    overview = load_run(loaded.state, run)
    head = overview.head
    if overview.end is not None:
        came_of_it = "promoted" if overview.end.promoted else "refused"
        raise RunError(f"run {head.run_id} has ended ({came_of_it}): there is nothing to resume; start a new one")
    champion = registry.find(loaded.project.name, alias=CHAMPION)
    # A run that was cut off in its promotion is itself the champion, and goes on as it began.
    if champion is not None and champion.version != head.champion and champion.run_id != head.run_id:
        head = replace(head, champion=champion.version)
        save_value(run_folder(loaded.state, head.run_id) / HEAD_NAME, head)
    client.update_run(head.run_id, "RUNNING")
    return head


def _end(client: MlflowClient, result: RunResult, folder: Path, clock: Clock) -> None:
    end = RunEnd(result.promoted, result.version, result.reason, clock.utc_s())
    save_value(folder / RESULT_NAME, end)
    client.set_tag(result.run_id, "fieldloop.promoted", str(result.promoted).lower())
    client.set_tag(result.run_id, "fieldloop.version", str(result.version))
    client.set_terminated(result.run_id, "FINISHED")


def _load_champion(registry: Registry, project: Project, labels: tuple[str, ...], version: int) -> Champion | None:
    """Return the champion that a candidate must match; None when there is none."""
    if not version:
        return None
    model = registry.load(project.name, version=version)
    return evaluating.load_champion(
        version,
        load_estimator(model.model_file),
        model.folder("evaluate"),
        answers_alike=extracting.load_names(model.folder("extract")) == (_names_of(project), labels)
        and extracting.load_signal(model.folder("extract")) == declared_in(project.signal),
    )


def _names_of(project: Project) -> tuple[str, ...]:
    return tuple(feature.name for feature in project.features)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one run of a project go on at a time, in any process."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"another production run of this project goes on ({path.parent}); wait for it, or end it"
            ) from error
        yield


def _ignore(event: StepEvent) -> None:
    """Nobody watches."""
