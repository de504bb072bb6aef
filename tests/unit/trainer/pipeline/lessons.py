"""Small projects, tables and lessons for tests of the pipeline's steps."""

from typing import Any, Final

import msgspec
import numpy as np

from trainer.features.table import NO_ENTITY, TrainingTable
from trainer.pipeline.preparing import split
from trainer.pipeline.training import Lesson, lesson_of
from trainer.project.project import Project

NAMES: Final = ("pressure", "vibration")
LABELS: Final = ("good", "scrap")


def make_project(task: str = "classification", **changes: Any) -> Project:
    """A project of two numbers; the other arguments are keys of the project, sections as dicts."""
    values: dict[str, Any] = {
        "name": "quality",
        "data": {"path": ["rows.csv"]},
        "features": [{"name": name} for name in NAMES],
        "target": {"column": "quality", "task": task},
        "training": {"candidates": ["logistic" if task == "classification" else "ridge"], "trials": 1, "blocks": 2},
    }
    return msgspec.convert({**values, **changes}, Project)


def make_table(
    rows: Any,
    truth: Any,
    *,
    n_fleet: int = 0,
    chosen: tuple[int, ...] = (),
    entity: Any = None,
    labels: tuple[str, ...] = LABELS,
    names: tuple[str, ...] = NAMES,
) -> TrainingTable:
    """A table whose last rows are the fleet's; `chosen` are the places of rows that were sent for being hard."""
    values, n_rows = np.asarray(rows, dtype=np.float32), len(truth)
    is_fleet = np.arange(n_rows) >= n_rows - n_fleet
    is_chosen = np.isin(np.arange(n_rows), chosen)
    entities = np.full(n_rows, NO_ENTITY) if entity is None else np.asarray(entity)
    known = np.asarray(truth, dtype=np.float64)
    return TrainingTable(names, labels, values, known, is_fleet, is_chosen, entities.astype(np.int64), "0" * 64)


def draw_table(n_rows: int, *, n_fleet: int = 0, chosen: tuple[int, ...] = (), seed: int = 1) -> TrainingTable:
    """Rows of which the sum decides, with some noise; for the fleet's rows the sign is turned round."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_rows, len(NAMES)))
    signal = rows.sum(axis=1) + 0.3 * rng.normal(size=n_rows)
    signal[n_rows - n_fleet :] *= -1
    return make_table(rows, signal > 0, n_fleet=n_fleet, chosen=chosen)


def make_lesson(project: Project, table: TrainingTable) -> Lesson:
    """All rows of a table with their roles."""
    splits = split(
        table.is_fleet, table.is_fleet & ~table.is_chosen, table.entity, np.arange(len(table.truth)), project.training
    )
    return lesson_of(project, table, splits)
