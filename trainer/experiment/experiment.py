"""Carries out an experiment: the pipeline's first steps, an analysis before and after them, and the page.

No run is recorded and nothing is registered. What the steps write lies in the project's state, and is made anew by the
next experiment.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from edge_agent.clock import Clock
from edge_agent.durable import replace_file
from trainer.cluster.opening import verify_installed
from trainer.experiment.columns_page import columns_page
from trainer.experiment.data_analysis import DataAnalysis, analyse_data
from trainer.experiment.findings import Finding, findings_of
from trainer.experiment.leakage import ColumnAlone, judge_columns
from trainer.experiment.model_analysis import ModelAnalysis, analyse_model
from trainer.experiment.report import ReportFacts, report_page
from trainer.features.guess import LeftOut
from trainer.features.sources.reading import Access
from trainer.features.table import TrainingTable
from trainer.features.view_rows import as_read, pull_project_views
from trainer.pipeline import evaluating, extracting, preparing, training, validating
from trainer.pipeline.lesson import lesson_of
from trainer.pipeline.outcome import Outcome, StepEvent
from trainer.pipeline.search.cluster import opened_place
from trainer.pipeline.search.families import families_of_project
from trainer.project.project import LoadedProject

REPORT_NAME: Final = "report.html"
ANALYSIS_NAME: Final = "analysis.json"
_WORK_NAME: Final = "experiment"

T = TypeVar("T")
Progress = Callable[[StepEvent], None]


class Analysis(Struct, frozen=True):
    """Everything that the page shows, for programs."""

    facts: ReportFacts
    findings: tuple[Finding, ...]
    data: DataAnalysis
    columns: tuple[ColumnAlone, ...]
    model: ModelAnalysis


@dataclass(frozen=True, slots=True)
class ExperimentResult:
    """What came of an experiment, and where it is written."""

    analysis: Analysis
    report: Path
    numbers: Path


def run_experiment(
    loaded: LoadedProject,
    folder: Path,
    *,
    clock: Clock,
    progress: Progress,
    left_out: Sequence[LeftOut] = (),
    access: Access | None = None,
) -> ExperimentResult:
    """Analyse the data, train, analyse the model, and write ``report.html`` and ``analysis.json``.

    Args:
        loaded: the project.
        folder: where the page is written.
        clock: tells the time.
        progress: is told of every step.
        left_out: columns that are no inputs, to be told of.
        access: to the sources of the project's views; None: by this process's environment, and no fleet.

    Raises:
        DataError, ProjectError: as the pipeline's steps.
    """
    project = loaded.project
    families_of_project(project)
    verify_installed(loaded.cluster)
    work = loaded.state / _WORK_NAME
    shutil.rmtree(work, ignore_errors=True)
    steps = _Steps(work, clock, progress)
    table = steps.carry_out("extract", lambda at: _extracted(loaded, access or Access(os.environ), clock, at))
    validation = steps.carry_out("validate", lambda at: validating.validate_rows(project, table, at))
    data, columns = steps.carry_out("analyse", lambda _: _analysed(loaded, table))
    splits = steps.carry_out(
        "prepare",
        lambda at: preparing.prepare_splits(
            table, validation.is_kept, project.training, at, label_delay_s=project.target.label_delay_s or 0.0
        ),
    )
    lesson = lesson_of(project, table, splits)
    place_of = partial(opened_place, cluster=loaded.cluster, clock=clock)
    trained = steps.carry_out("train", lambda at: training.train_model(lesson, at, place_of=place_of))
    evaluation = steps.carry_out("evaluate", lambda at: evaluating.evaluate_model(lesson, trained, None, at))
    model = steps.carry_out(
        "examine",
        lambda _: Outcome(
            analyse_model(
                lesson,
                trained,
                table,
                judged=evaluation.judged,
                constant=evaluation.figures.constant_quality,
                train=evaluation.figures.train_quality,
            )
        ),
    )
    chosen = trained.chosen
    facts = ReportFacts(
        name=project.name,
        task=project.target.task,
        target=project.target.column,
        where=", ".join([path.name for path in loaded.data_paths] or [str(loaded.data_name)]),
        made_utc=f"{datetime.fromtimestamp(clock.utc_s(), UTC):%Y-%m-%d %H:%M} UTC",
        family=chosen.family,
        parameters=" ".join(f"{name}={_text(value)}" for name, value in chosen.parameters.items()),
        trials=chosen.trials,
        judged_by=project.training.split,
    )
    analysis = Analysis(facts, findings_of(data, columns, model, left_out), data, columns, model)
    return steps.carry_out("report", lambda _: _written(analysis, columns_page(table, project), folder))


def _extracted(loaded: LoadedProject, access: Access, clock: Clock, folder: Path) -> Outcome[TrainingTable]:
    read = pull_project_views(loaded, access)
    return extracting.extract_rows(as_read(loaded, read), clock.utc_s(), folder, read)


class _Steps:
    """Carries out one step after the other, each in its own folder, and tells of it."""

    def __init__(self, work: Path, clock: Clock, progress: Progress) -> None:
        self._clock = clock
        self._work = work
        self._progress = progress

    def carry_out(self, name: str, do: Callable[[Path], Outcome[T]]) -> T:
        folder = self._work / name
        folder.mkdir(parents=True, exist_ok=True)
        self._progress(StepEvent(name, "started", 0.0))
        began = self._clock.monotonic_s()
        outcome = do(folder)
        self._progress(StepEvent(name, "finished", self._clock.monotonic_s() - began, outcome.facts))
        return outcome.value


def _analysed(loaded: LoadedProject, table: TrainingTable) -> Outcome[tuple[DataAnalysis, tuple[ColumnAlone, ...]]]:
    project = loaded.project
    data = analyse_data(table, project.features, project.target.column)
    columns = judge_columns(table, project.seed)
    hints = [column.name for column in columns if column.hint]
    moved = sum(item.drifts for item in data.drift)
    facts = (
        *((("may leak the target", ", ".join(hints)),) if hints else ()),
        ("columns that drift", f"{moved} of {len(data.drift)}"),
        ("most telling", ", ".join(f"{column.name} {column.gain:.2f}" for column in columns[:3])),
    )
    return Outcome((data, columns), facts=facts)


def _written(analysis: Analysis, browser: str, folder: Path) -> Outcome[ExperimentResult]:
    folder.mkdir(parents=True, exist_ok=True)
    report, numbers = folder / REPORT_NAME, folder / ANALYSIS_NAME
    page = report_page(analysis.facts, analysis.findings, analysis.data, analysis.columns, analysis.model, browser)
    replace_file(report, page.encode())
    replace_file(numbers, msgspec.json.format(msgspec.json.encode(analysis), indent=1) + b"\n")
    return Outcome(ExperimentResult(analysis, report, numbers), facts=(("page", f"{report.stat().st_size >> 10} KiB"),))


def _text(value: float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
