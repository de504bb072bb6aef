"""When rows were, and when their labels became known: of the project's own rows and of the fleet's."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.features.table import RowTimes
from trainer.project.project import Project


def row_times(project: Project, source: Any, fleet: Any | None, entity: NDArray[np.int64]) -> RowTimes | None:  # noqa: ANN401 - Arrow ships no types
    """Return the times of the rows of a table; None where none has any.

    A label of the project's own rows is known ``target.label_delay_s`` after its row, or when its view says, whichever
    is later; one of the fleet when it came.

    Args:
        project: the project.
        source: its own rows, with ``at``, ``known`` where they have them.
        fleet: labelled rows of the fleet, with ``scored_utc_s``, ``known_utc_s`` and ``device``.
        entity: ``(n_own,)``: of the own rows.
    """
    if project.data.time is None and fleet is None:
        return None
    n_own, delay_s = source.num_rows, project.target.label_delay_s or 0.0
    at = _numbers(source, "at") if project.data.time is not None else np.full(n_own, np.nan)
    known = at + delay_s
    if "known" in source.column_names:
        known = np.maximum(known, _numbers(source, "known"))
    # Where no entity is named, all rows are of one.
    series = np.maximum(entity, 0)
    if fleet is not None:
        scored = _numbers(fleet, "scored_utc_s")
        at = np.concatenate([at, scored])
        known = np.concatenate([known, np.maximum(_numbers(fleet, "known_utc_s"), scored + delay_s)])
        _, device = np.unique(fleet.column("device").to_pylist(), return_inverse=True)
        series = np.concatenate([series, device.astype(np.int64) + series.max(initial=0) + 1])
    return RowTimes(at, known, series)


def _numbers(table: Any, column: str) -> NDArray[np.float64]:  # noqa: ANN401
    return np.asarray(table.column(column).to_numpy(), dtype=np.float64)
