"""Reads the project's own rows, from files or views, strictly, in the order of the project."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from edge_agent.bundle import Feature
from edge_agent.raw_signal import columns_of
from trainer.errors import DataError
from trainer.features.columns import Place, category_codes, column_of, label_codes, numbers, texts, times
from trainer.features.files import read_raw
from trainer.features.signals import windows_in
from trainer.features.view_rows import LABEL_KNOWN, read_view_rows
from trainer.project.project import LoadedProject, Project

logger = logging.getLogger(__name__)

_NO_WINDOW: Final = "recordings are too short, have gaps or lack readings, or windows have several labels"


def read_source(
    loaded: LoadedProject, as_of_utc_s: float = math.inf, *, on_left_out: Callable[[int], None] | None = None
) -> Any:  # noqa: ANN401 - Arrow ships no types
    """Read the rows that ``data.rows`` names, over all files, ordered by ``data.timestamp`` (else as they stand).

    Args:
        loaded: the project.
        as_of_utc_s: of a view of labels, what became known later is no row.
        on_left_out: is told how many rows of a view lack a feature that may not be missing: no model could answer them.

    Returns:
        An Arrow table of rows, or of windows where the project has a signal: a column ``x.<feature>`` each (float64, or
        text for categories), ``truth`` (text or float64), ``entity`` (text) where the project names one, ``at``
        (float64) where it names a time, and ``known`` where the labels have one of their own.

    Raises:
        DataError: what `read_raw` or `columns` refuse, fewer rows than ``data.rows`` asks for, rows that it asks for
            are later than rows that it leaves for later, or there is no window.
    """
    project = loaded.project
    first, last = project.data.rows or (0, None)
    parts, orders, later, seen = [], [], [], 0
    for path, raw in _raw_tables(loaded, as_of_utc_s):
        low = max(first - seen, 0)
        high = raw.num_rows if last is None else min(last - seen, raw.num_rows)
        seen += raw.num_rows
        if low < high:
            whole = whole_rows(raw.slice(low, high - low), project, path, on_left_out)
            part, order = _checked(whole, project, path, low)
            parts.append(part)
            orders.append(order)
        if project.data.time is not None and last is not None and raw.num_rows > max(high, 0):
            place = Place(path, project.data.time, max(high, 0))
            later.append((place, times(column_of(raw, place).slice(max(high, 0)), place)))
    if last is not None and seen < last:
        files = ", ".join(str(path) for path in loaded.data_paths or (loaded.data_name,))
        msg = f"{files}: {seen} rows of data, but data.rows ends at {last}; shorten it or add files"
        raise DataError(msg)
    if not parts:
        msg = f"{loaded.data_name}: data.rows begins at {first}, but there are only {seen} rows of data"
        raise DataError(msg)
    table = pa.concat_tables(parts)
    if project.signal is not None and table.num_rows == 0:
        msg = f"{loaded.data_name}: no window of {project.signal.size} readings to learn from; {_NO_WINDOW}"
        raise DataError(msg)
    if project.data.time is not None:
        _verify_later(np.concatenate(orders), later)
        table = table.take(pa.array(np.argsort(np.concatenate(orders), kind="stable")))
    return table


def _raw_tables(loaded: LoadedProject, as_of_utc_s: float) -> Iterable[tuple[Path, Any]]:
    if loaded.project.data.views:
        return read_view_rows(loaded, as_of_utc_s)
    return ((path, read_raw(path)) for path in loaded.data_paths)


def whole_rows(
    raw: Any,  # noqa: ANN401
    project: Project,
    path: Path,
    on_left_out: Callable[[int], None] | None,
) -> Any:  # noqa: ANN401
    """Leave out rows of which a view did not know then what may not be missing: a device would not answer them.

    Args:
        raw: labelled rows as an Arrow table, with what of the features is there.
        project: says what may be missing.
        path: of the rows, for messages.
        on_left_out: is told how many are left out.

    Returns:
        The other rows; all of them, where no feature comes from a view.

    Raises:
        DataError: there are rows, and all of them would be left out.
    """
    needed = [f.name for f in project.features if f.on_missing == "refuse" and f.name in raw.column_names]
    if not project.data.views or not needed:
        return raw
    is_whole = pc.is_valid(raw.column(needed[0]))
    for name in needed[1:]:
        is_whole = pc.and_(is_whole, pc.is_valid(raw.column(name)))
    whole = raw.filter(is_whole)
    left_out = raw.num_rows - whole.num_rows
    if left_out:
        logger.warning("%s: of %d of %d rows a feature was not known then: left out", path, left_out, raw.num_rows)
        if on_left_out is not None:
            on_left_out(left_out)
    if raw.num_rows and not whole.num_rows:
        raise DataError(
            f"{path}: of none of {raw.num_rows} rows all of {', '.join(needed)[:200]} were known at its time; push the "
            "rows that are missing (fieldloop features push), or see whether a view's ttl_s is too short"
        )
    return whole


def _verify_later(known: NDArray[np.float64], later: Sequence[tuple[Place, NDArray[np.float64]]]) -> None:
    """Refuse to learn from what happened after rows that are kept for later: that would be knowing the future."""
    for place, at in later:
        early = np.flatnonzero(at < known.max())
        if early.size:
            raise place.refusal(
                int(early[0]),
                "is earlier than a row of data.rows, which would learn from the future: "
                "sort the data by this column, or let data.rows name all rows",
            )


def _checked(raw: Any, project: Project, path: Path, first_row: int) -> tuple[Any, NDArray[np.float64]]:  # noqa: ANN401
    def place(column: str) -> Place:
        return Place(path, column, first_row)

    def column(name: str) -> Any:  # noqa: ANN401
        return column_of(raw, place(name))

    # Every missing column is told before any value is judged.
    data, target = project.data, project.target
    signal = project.signal
    inputs = [f.name for f in project.features] if signal is None else [*columns_of(signal), signal.recording]
    for name in (*inputs, target.column, data.time, data.entity):
        if name:
            column(name)
    if signal is not None:
        truth = _truth(raw, project, place(target.column))
        return windows_in(raw, truth, project, signal, place(signal.channels[0].name)), np.empty(0)
    columns = {f"x.{f.name}": _feature(column(f.name), f, place(f.name)) for f in project.features}
    columns["truth"] = _truth(raw, project, place(target.column))
    if data.entity is not None:
        columns["entity"] = pa.array(texts(column(data.entity), place(data.entity), may_miss=False), type=pa.string())
    if data.time is None:
        return pa.table(columns), np.empty(0)
    order = times(column(data.time), place(data.time))
    columns["at"] = pa.array(order, type=pa.float64())
    if LABEL_KNOWN in raw.column_names:
        columns["known"] = pa.array(times(column(LABEL_KNOWN), place(LABEL_KNOWN)), type=pa.float64())
    return pa.table(columns), order


def _feature(raw: Any, feature: Feature, place: Place) -> Any:  # noqa: ANN401
    may_miss = feature.on_missing == "flag"
    if feature.dtype == "category":
        names = texts(raw, place, may_miss=may_miss)
        category_codes(names, feature, place)
        return pa.array(names, type=pa.string())
    return pa.array(numbers(raw, place, may_miss=may_miss), type=pa.float64())


def _truth(table: Any, project: Project, place: Place) -> Any:  # noqa: ANN401
    if not project.target.is_labelled:
        # Nobody has said of any row that it is an anomaly.
        return pa.array([project.target.known_labels[0]] * table.num_rows, type=pa.string())
    raw = column_of(table, place)
    if project.target.task == "regression":
        return pa.array(numbers(raw, place, may_miss=False), type=pa.float64())
    names = texts(raw, place, may_miss=False)
    if project.target.labels:
        label_codes(names, project.target.labels, place)
    return pa.array(names, type=pa.string())
