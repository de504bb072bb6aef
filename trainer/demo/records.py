"""Reads what devices recorded: the predictions of their sinks, as rows."""

import json
from pathlib import Path

from trainer.demo.outcome import ScoredRow
from trainer.errors import DataError


def read_predictions(path: Path) -> list[ScoredRow]:
    """Read a device's predictions in the order of its rows; missing file: none.

    An agent that was killed scores the rows of its unfinished window again, under the same ids: the last line of an id
    counts. A line that was cut off by the kill is not a line.

    Raises:
        DataError: a whole line is not a prediction.
    """
    if not path.exists():
        return []
    rows: dict[int, ScoredRow] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
                answer = record["label"] if "label" in record else float(record["value"])
                version = int(str(record["bundle"]).rpartition("/")[2])
                row = ScoredRow(int(record["row"]), float(record["at"]), version, answer)
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}, line {number}: not a prediction: {error}") from error
            rows[row.row] = row
    return [rows[number] for number in sorted(rows)]
