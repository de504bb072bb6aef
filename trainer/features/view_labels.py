"""Counts the labelled rows of a project with views that nobody has learnt from yet."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.features.columns import Place, column_of, texts, times
from trainer.features.offline.series import EVENT
from trainer.features.view_rows import labelled_events, open_store, rows_of_files
from trainer.project.project import LoadedProject


def count_new_events(loaded: LoadedProject, as_of_utc_s: float, learnt: LoadedProject | None, then_utc_s: float) -> int:
    """Return how many events of the view of labels have a label now, and had none when somebody learnt from it.

    A label that was corrected is not new.

    Args:
        loaded: the project, with ``data.labels``.
        as_of_utc_s: the present.
        learnt: the project with its views as they were read then (`view_rows.as_read`); None: nobody has learnt.
        then_utc_s: when that was.

    Raises:
        DataError: there is no such view, or it has no such label.
    """
    now = _events(loaded, as_of_utc_s)
    if learnt is None:
        return int(now.num_rows)
    then = _events(learnt, then_utc_s)
    return int(now.join(then, keys=now.column_names, join_type="left anti").num_rows)


def count_later_rows(loaded: LoadedProject, newest: float) -> int:
    """Return how many labelled rows of the project's files are later than a time.

    Args:
        loaded: the project, with ``data.view`` and ``data.path``.
        newest: on the scale of `trainer.features.columns.times`; minus infinity: all are.

    Raises:
        DataError: a file cannot be read, or lacks a column.
    """
    count, project = 0, loaded.project
    for path, raw in rows_of_files(loaded, open_store(loaded)):
        place = Place(path, str(project.data.time))
        at = times(column_of(raw, place), place)
        target = Place(path, project.target.column)
        has_label = np.array([text is not None for text in texts(column_of(raw, target), target, may_miss=True)])
        count += int((has_label & (at > newest)).sum()) if math.isfinite(newest) else int(has_label.sum())
    return count


def _events(loaded: LoadedProject, as_of_utc_s: float) -> pa.Table:
    view, rows = labelled_events(loaded, open_store(loaded), as_of_utc_s)
    found = rows.select([*view.keys, EVENT])
    return found.set_column(found.num_columns - 1, EVENT, pc.cast(found.column(EVENT), pa.int64()))
