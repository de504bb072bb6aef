"""The production pipeline: from rows to a promoted champion, every step recorded, a broken run resumed.

One run at a time for a project; the gate's refusal is a result, not an error.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.clock import Clock, SystemClock
from exporter.proof.report import ExportReport
from exporter.variants import choose_forms
from trainer.cluster.opening import verify_installed
from trainer.errors import RunError
from trainer.features.sources.reading import Access
from trainer.pipeline.gate_evidence import GateDecision
from trainer.pipeline.journal import LOCAL, Progress
from trainer.pipeline.opening import Beginning, OpenRun, opened_run
from trainer.pipeline.outcome import StepEvent
from trainer.pipeline.runs import RunEnd, StepRecord
from trainer.pipeline.search import families
from trainer.pipeline.steps import PRODUCTION
from trainer.project.project import LoadedProject

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
    def waits(self) -> bool:
        """Whether it passed the gate, and a person must approve it."""
        return self.decision.passed and not self.promoted

    @property
    def reason(self) -> str:
        """Why it was promoted or refused, or what it waits for, in words."""
        if not self.promoted:
            return WAITS_FOR_APPROVAL.format(version=self.version) if self.waits else "; ".join(self.decision.refusals)
        return "; ".join(check.text for check in self.decision.checks if check.decides)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came of one step.

    Attributes:
        ran: whether it was carried out; else it was finished, and held still.
        end: how the run ended; None unless this step was its last.
    """

    run_id: str
    ran: bool
    record: StepRecord
    end: RunEnd | None


def run_production(  # noqa: PLR0913 - each is a choice of whoever calls
    loaded: LoadedProject,
    *,
    trigger: str,
    reason: str,
    resume: str | None = None,
    progress: Progress | None = None,
    on_begin: Callable[[str], None] | None = None,
    clock: Clock | None = None,
    executor: str = LOCAL,
    access: Access | None = None,
) -> RunResult:
    """Run the production pipeline, or go on with a run that broke off.

    Args:
        loaded: the project.
        trigger: what started it: ``manual``, ``schedule``, ``labels``, ``deterioration``.
        reason: for people.
        resume: id of a run that broke off, or ``last``; of the steps that it finished those are kept that depend on
            nothing that has changed. It is compared with the champion as it is now.
        progress: is told of every step.
        on_begin: is told the run's id as soon as there is one.
        clock: tells the time.
        executor: what runs the steps, for the records.
        access: to the sources of views; None: by this process's environment, and no fleet.

    Raises:
        DataError, ProjectError, ExporterError: the run broke off, or did not begin, for this reason.
        BusyError: another run of this project goes on.
        RunError: there is nothing to resume.
    """
    clock = clock or SystemClock()
    _verify_names(loaded)
    start = Beginning(trigger, reason) if resume is None else resume
    with opened_run(
        loaded,
        start,
        clock=clock,
        progress=progress or _ignore,
        executor=executor,
        on_begin=on_begin or _ignore_id,
        access=access or Access(os.environ),
    ) as run:
        run.executor.run()
        result = _result_of(run)
        run.end(_end_of(result, clock))
    return result


def run_step(
    loaded: LoadedProject,
    name: str,
    start: Beginning | str,
    *,
    executor: str,
    progress: Progress | None = None,
    on_begin: Callable[[str], None] | None = None,
    clock: Clock | None = None,
    access: Access | None = None,
) -> StepResult:
    """Carry out one step of a run, in a process of its own: what an engine calls that runs the steps elsewhere.

    A step that is finished, and depends on nothing that has changed, is kept. The run ends with its last step.

    Args:
        loaded: the project.
        name: of the step.
        start: id of the run, or ``last``; or why a new one begins, with its first step.
        executor: what runs the step, for the records.
        progress: is told of it.
        on_begin: is told the run's id.
        clock: tells the time.
        access: to the sources of views, as for `run_production`.

    Raises:
        DataError, ProjectError, ExporterError: the step failed for this reason.
        BusyError: another process works on a run of this project.
        RunError: there is no such step or run, the run has ended, or a step before it must be carried out first.
    """
    clock = clock or SystemClock()
    step = PRODUCTION.step(name)
    _verify_names(loaded)
    if isinstance(start, Beginning) and step.after:
        raise RunError(f"step {name!r} needs a run: a new one begins with {PRODUCTION.order[0].name!r}")
    with opened_run(
        loaded,
        start,
        clock=clock,
        progress=progress or _ignore,
        executor=executor,
        on_begin=on_begin or _ignore_id,
        access=access or Access(os.environ),
    ) as run:
        ran = run.executor.run_one(name)
        end: RunEnd | None = None
        if step is PRODUCTION.order[-1]:
            end = _end_of(_result_of(run), clock)
            run.end(end)
        return StepResult(run.head.run_id, ran, run.journal.records[-1], end)


def _result_of(run: OpenRun) -> RunResult:
    bench = run.bench
    return RunResult(
        run.head.run_id,
        bench.version,
        bench.promoted,
        bench.decision,
        bench.exported.bundle,
        bench.exported.report,
        tuple(run.journal.records),
    )


def _end_of(result: RunResult, clock: Clock) -> RunEnd:
    return RunEnd(result.promoted, result.version, result.reason, clock.utc_s(), result.waits)


def _verify_names(loaded: LoadedProject) -> None:
    """Tell of names that nobody knows now, not after minutes of training."""
    project = loaded.project
    families.families_of_project(project)
    verify_installed(loaded.cluster)
    choose_forms(project.export.variants, project.export.boards)


def _ignore(event: StepEvent) -> None:
    """Nobody watches."""


def _ignore_id(run_id: str) -> None:
    """Nobody asks."""
