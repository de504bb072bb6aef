"""Reads the rows of the project's own files, strictly, in the order of the project."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from edge_agent.bundle import Feature
from edge_agent.raw_signal import columns_of
from trainer.errors import DataError
from trainer.features.columns import Place, category_codes, column_of, label_codes, numbers, texts, times
from trainer.features.files import read_raw
from trainer.features.signals import windows_in
from trainer.project.project import LoadedProject, Project

_NO_WINDOW: Final = "recordings are too short, have gaps or lack readings, or windows have several labels"


def read_source(loaded: LoadedProject) -> Any:  # noqa: ANN401 - Arrow ships no types
    """Read the rows that ``data.rows`` names, over all files, ordered by ``data.timestamp`` (else as they stand).

    Returns:
        An Arrow table of rows, or of windows where the project has a signal: a column ``x.<feature>`` each (float64, or
        text for categories), ``truth`` (text or float64), and ``entity`` (text) where the project names one.

    Raises:
        DataError: what `read_raw` or `columns` refuse, fewer rows than ``data.rows`` asks for, rows that it asks for
            are later than rows that it leaves for later, or there is no window.
    """
    project = loaded.project
    first, last = project.data.rows or (0, None)
    parts, orders, later, seen = [], [], [], 0
    for path in loaded.data_paths:
        raw = read_raw(path)
        low = max(first - seen, 0)
        high = raw.num_rows if last is None else min(last - seen, raw.num_rows)
        seen += raw.num_rows
        if low < high:
            part, order = _checked(raw.slice(low, high - low), project, path, low)
            parts.append(part)
            orders.append(order)
        if project.data.timestamp is not None and last is not None and raw.num_rows > max(high, 0):
            place = Place(path, project.data.timestamp, max(high, 0))
            later.append((place, times(column_of(raw, place).slice(max(high, 0)), place)))
    if last is not None and seen < last:
        files = ", ".join(str(path) for path in loaded.data_paths)
        msg = f"{files}: {seen} rows of data, but data.rows ends at {last}; shorten it or add files"
        raise DataError(msg)
    if not parts:
        msg = f"{loaded.data_paths[0]}: data.rows begins at {first}, but there are only {seen} rows of data"
        raise DataError(msg)
    table = pa.concat_tables(parts)
    if project.signal is not None and table.num_rows == 0:
        msg = f"{loaded.data_paths[0]}: no window of {project.signal.size} readings to learn from; {_NO_WINDOW}"
        raise DataError(msg)
    if project.data.timestamp is not None:
        _verify_later(np.concatenate(orders), later)
        table = table.take(pa.array(np.argsort(np.concatenate(orders), kind="stable")))
    return table


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
    for name in (*inputs, target.column, data.timestamp, data.entity):
        if name is not None:
            column(name)
    if signal is not None:
        truth = _truth(column(target.column), project, place(target.column))
        return windows_in(raw, truth, project, signal, place(signal.channels[0].name)), np.empty(0)
    columns = {f"x.{f.name}": _feature(column(f.name), f, place(f.name)) for f in project.features}
    columns["truth"] = _truth(column(target.column), project, place(target.column))
    if data.entity is not None:
        columns["entity"] = pa.array(texts(column(data.entity), place(data.entity), may_miss=False), type=pa.string())
    order = np.empty(0) if data.timestamp is None else times(column(data.timestamp), place(data.timestamp))
    return pa.table(columns), order


def _feature(raw: Any, feature: Feature, place: Place) -> Any:  # noqa: ANN401
    may_miss = feature.on_missing == "flag"
    if feature.dtype == "category":
        names = texts(raw, place, may_miss=may_miss)
        category_codes(names, feature, place)
        return pa.array(names, type=pa.string())
    return pa.array(numbers(raw, place, may_miss=may_miss), type=pa.float64())


def _truth(raw: Any, project: Project, place: Place) -> Any:  # noqa: ANN401
    if project.target.task == "regression":
        return pa.array(numbers(raw, place, may_miss=False), type=pa.float64())
    names = texts(raw, place, may_miss=False)
    if project.target.labels:
        label_codes(names, project.target.labels, place)
    return pa.array(names, type=pa.string())
