"""The anomalies of a run with the rows that show them, read from what its steps left, for people."""

from pathlib import Path
from typing import Literal

import numpy as np
from msgspec import Struct

from trainer.errors import RunError
from trainer.features.table import TrainingTable
from trainer.pipeline.anomalies import ANOMALIES_NAME, Anomaly, Rows, load_anomalies, load_anomalous_rows
from trainer.pipeline.artefacts import load_value
from trainer.pipeline.extracting import VOCABULARIES_NAME, load_rows

Value = float | str | None


class AnomalousRow(Struct, frozen=True):
    """One row that shows an anomaly.

    Attributes:
        row: its place among the extracted rows, counted from 0 in the order of time.
        origin: ``own``, of the project's files or views, or ``fleet``.
        value: what the anomaly is about; None where it is missing, or about no column of the rows.
        values: the whole row by name, the target among it; None where a value is missing.
    """

    row: int
    origin: Literal["own", "fleet"]
    value: Value
    values: dict[str, Value]


class ShownAnomaly(Struct, frozen=True):
    """An anomaly, and the first of its rows.

    Attributes:
        number: counted from 1, in the order in which they were found.
        rows: how many rows show it; `shown` are the first of them, none where they were not kept.
    """

    number: int
    kind: Literal["schema", "value"]
    feature: str
    check: str
    text: str
    rows: int
    shown: tuple[AnomalousRow, ...]


def read_anomalies(run_folder: Path, *, at_most: int) -> tuple[ShownAnomaly, ...]:
    """Return all anomalies of a run, those that ended it among them, each with at most so many of its rows.

    Raises:
        RunError: the run has not come so far, or its files cannot be read.
    """
    folder = run_folder / "validate"
    if not (folder / ANOMALIES_NAME).exists():
        raise RunError(f"run {run_folder.name} has not come to the step 'validate', which looks for anomalies")
    found = load_anomalies(folder)
    if not found:
        return ()
    table = load_rows(run_folder / "extract")
    names = load_value(run_folder / "extract" / VOCABULARIES_NAME, dict[str, tuple[str, ...]])
    target = next((name for name in names if name not in table.names), "target")
    return tuple(
        ShownAnomaly(
            number=number + 1,
            kind=anomaly.kind,
            feature=anomaly.feature,
            check=anomaly.check,
            text=anomaly.text,
            rows=anomaly.rows,
            shown=_shown(anomaly, load_anomalous_rows(folder, number)[:at_most], table, names, target),
        )
        for number, anomaly in enumerate(found)
    )


def _shown(
    anomaly: Anomaly, rows: Rows, table: TrainingTable, names: dict[str, tuple[str, ...]], target: str
) -> tuple[AnomalousRow, ...]:
    shown = []
    for row in rows.tolist():
        values: dict[str, Value] = {
            name: _value(float(str(table.rows[row, place])), names.get(name, ()))
            for place, name in enumerate(table.names)
        }
        values[target] = _value(float(table.truth[row]), table.labels)
        value = values.get(target if anomaly.feature == "target" else anomaly.feature)
        shown.append(AnomalousRow(row, "fleet" if table.is_fleet[row] else "own", value, values))
    return tuple(shown)


def _value(number: float, names: tuple[str, ...]) -> Value:
    """Return what a number of the table stands for; float32 is written as shortly as it can be told apart."""
    if np.isnan(number):
        return None
    return names[int(number)] if names and 0 <= number < len(names) else number
