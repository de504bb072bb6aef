"""Puts a project's rows into the one CSV file that devices replay, and the truth about each of them."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from edge_agent.bundle import Feature
from edge_agent.durable import replace_file
from trainer.demo.outcome import Answer
from trainer.errors import DataError
from trainer.features.columns import Place, column_of, numbers, texts, times
from trainer.features.files import read_joined
from trainer.project.project import LoadedProject

REPLAY_NAME = "replay.csv"


@dataclass(frozen=True, slots=True)
class Replay:
    """What devices replay.

    Attributes:
        path: a CSV file with the features of every row, the training rows first, then in the order of time.
        rows: row number to ``(n_features,)`` values as they stand in the file.
        truth: row number to the label's name, or the value; without the rows whose truth nobody knows.
        first_row: number of the first row after the training rows.
        end_row: number after the last row of the data; from there on they come again from ``first_row`` on, for devices
            that go on. What is said of a model is said of the rows before it: the others may have taught it.
    """

    path: Path
    rows: dict[int, tuple[str, ...]]
    truth: dict[int, Answer]
    first_row: int
    end_row: int


def write_replay(loaded: LoadedProject, passes: int = 1) -> Replay:
    """Write the rows of all data files of a project into one file in its folder.

    Values stay what they are, right or wrong: judging them is the device's part.

    Args:
        loaded: the project.
        passes: how often the rows after the training rows stand in the file, one after the other.

    Raises:
        DataError: a file or a column cannot be read, or no rows are left after the training rows.
    """
    project = loaded.project
    if project.signal is not None:
        raise DataError(
            "key 'signal': what is replayed are rows, and the truth about each, not readings of a signal; "
            "train by fieldloop pipeline run, and let devices read the signal"
        )
    if project.data.views:
        raise DataError(
            "key 'data.view': what is replayed are rows of files, and the truth about each; write them with "
            "fieldloop features extract, and train on views by fieldloop pipeline run"
        )
    if not project.target.is_labelled:
        raise DataError(
            "key 'target.column': what is replayed is answered with the truth about each row, and no row is labelled; "
            "train by fieldloop pipeline run, and let devices read the rows themselves"
        )
    if project.data.rows is None:
        raise DataError(
            "key 'data.rows' names no training rows, so that none are left to replay: "
            "set it to the first part of your data, for example rows = [0, 1000]"
        )
    table, later = read_joined(loaded.data_paths)

    def place(column: str) -> Place:
        return Place(loaded.data_paths[0], column, later=later)

    first = project.data.rows[1]
    if first >= table.num_rows:
        raise DataError(f"key 'data.rows': it ends at {first}, and there are {table.num_rows} rows: none is left")
    order = np.arange(table.num_rows)
    if project.data.timestamp is not None:
        at = times(column_of(table, place(project.data.timestamp)), place(project.data.timestamp))
        order[first:] = first + np.argsort(at[first:], kind="stable")
    order = np.concatenate([order[:first], np.tile(order[first:], passes)])
    columns = [
        texts(_without_booleans(column_of(table, place(f.name)), f), place(f.name), may_miss=True)
        for f in project.features
    ]
    rows = dict(enumerate(zip(*([column[i] or "" for i in order] for column in columns), strict=True)))
    target = column_of(table, place(project.target.column))
    known: list[Any] = (
        numbers(target, place(project.target.column), may_miss=True).tolist()
        if project.target.task == "regression"
        else texts(target, place(project.target.column), may_miss=True)
    )
    # NaN is the value that does not equal itself.
    truth = {row: known[i] for row, i in enumerate(order) if known[i] is not None and known[i] == known[i]}
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(feature.name for feature in project.features)
    writer.writerows(rows.values())
    path = loaded.folder / REPLAY_NAME
    replace_file(path, text.getvalue().encode())
    return Replay(path, rows, truth, first, table.num_rows)


def _without_booleans(column: Any, feature: Feature) -> Any:  # noqa: ANN401 - Arrow ships no types
    """Return a column of numbers without true and false, which training takes for 1 and 0."""
    is_flag = feature.dtype == "float32" and pa.types.is_boolean(column.type)
    return pc.cast(column, pa.int8()) if is_flag else column
