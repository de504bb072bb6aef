"""Scores a file: reads it part by part, keeps each part's answers, and joins them at the end.

The parts begin at fixed rows, whatever was interrupted where: the answers of a run that was killed and taken up again
are those of one that was not, to the byte.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from msgspec import Struct

from edge_agent.durable import replacing
from trainer.errors import DataError
from trainer.serving.batch.answers import AnswerColumns, kept_columns
from trainer.serving.batch.encoding import verify_columns
from trainer.serving.batch.model import BlockModel
from trainer.serving.batch.parts import Job, Parts, held_parts
from trainer.serving.batch.scoring import EXAMPLES, Here, Place
from trainer.serving.batch.source import FileRows

# Arrow ships no types: tables are Any.
# ruff: noqa: ANN401

PART_ROWS: Final = 1 << 17
_END_BYTES: Final = 1 << 20

Progress = Callable[[int, int | None], None]
PlaceOf = Callable[[AnswerColumns], AbstractContextManager[Place]]


class Options(Struct, frozen=True):
    """How a file is scored.

    Attributes:
        keep: names of the columns that are carried along.
        probabilities: whether each label has a column.
        restart: whether parts of an earlier run are thrown away.
        part_rows: rows of a part.
    """

    keep: tuple[str, ...] = ()
    probabilities: bool = False
    restart: bool = False
    part_rows: int = PART_ROWS


class Outcome(Struct, frozen=True):
    """What came of a file.

    Attributes:
        resumed_rows: that an earlier run had scored already.
        refused: rows by the rule that refused them.
        examples: number of the row, from 0, and reason, of the first that were.
    """

    model: str
    n_rows: int
    resumed_rows: int
    refused: dict[str, int]
    examples: tuple[tuple[int, str], ...]


def score_file(
    rows: Path,
    answers: Path,
    model: BlockModel,
    options: Options,
    progress: Progress,
    *,
    place_of: PlaceOf | None = None,
) -> Outcome:
    """Score every row of a file.

    Args:
        rows: Parquet or CSV.
        answers: is written once all rows are scored: CSV if it is named so, else Parquet.
        model: scores.
        options: how.
        progress: is told how many rows are done, of how many; None where that is not known.
        place_of: opens where parts are scored, given the columns of their answers; None: in this process.

    Raises:
        DataError: the file of rows cannot be read, or does not fit the model.
        ServingError: parts of another run lie beside the answers.
        BusyError: another process scores into the same file.
        ClusterError: where parts are scored is lost.
        OSError: something cannot be written.
    """
    source = FileRows(rows)
    verify_columns(model.manifest, source.columns, str(rows), is_text=source.is_text)
    kept = kept_columns(source.columns, options.keep, str(rows))
    columns = AnswerColumns(model.manifest, kept, probabilities=options.probabilities)
    wanted = list(dict.fromkeys((*(feature.name for feature in model.manifest.features), *kept)))
    answered = ", ".join(f"{field.name} {field.type}" for field in columns.schema)
    job = Job(_identity_of(rows), f"{model.manifest.ref} {model.variant.sha256}", answered, options.part_rows)
    folder = answers.with_name(f"{answers.name}.parts")
    with held_parts(folder, job, restart=options.restart) as parts:
        resumed = sum(part.n_rows for part in parts.done)
        done = resumed
        progress(done, source.n_rows)
        tables = source.parts(wanted, options.part_rows, len(parts.done))
        with nullcontext(Here(model, columns)) if place_of is None else place_of(columns) as place:
            for scored in place.scored(_ahead(tables), done):
                parts.put(scored)
                done += scored.n_rows
                progress(done, source.n_rows)
        if _identity_of(rows) != job.rows:
            raise DataError(f"{rows}: it was changed while it was scored; leave it alone, and score it again")
        _join(parts, columns.schema, answers)
        outcome = _outcome_of(parts, str(model.manifest.ref), resumed)
        parts.remove()
    return outcome


def _ahead(tables: Iterator[Any]) -> Iterator[Any]:
    """Give tables, and have the next one read meanwhile."""
    with ThreadPoolExecutor(1, "reading") as thread:
        coming = thread.submit(next, tables, None)
        while (table := coming.result()) is not None:
            coming = thread.submit(next, tables, None)
            yield table


def _join(parts: Parts, schema: Any, answers: Path) -> None:
    is_csv = answers.suffix.lower() == ".csv"
    with replacing(answers) as file:
        writer = pa_csv.CSVWriter(file, schema) if is_csv else pq.ParquetWriter(file, schema)
        with writer:
            for table in parts.tables():
                writer.write_table(table)


def _outcome_of(parts: Parts, model: str, resumed: int) -> Outcome:
    refused: Counter[str] = Counter()
    examples: list[tuple[int, str]] = []
    for part in parts.done:
        refused.update(part.refused)
        examples += part.examples
    n_rows = sum(part.n_rows for part in parts.done)
    return Outcome(model, n_rows, resumed, dict(refused), tuple(examples[:EXAMPLES]))


def _identity_of(path: Path) -> str:
    """Return what tells a file from another, without reading all of it: size, time, digest of its ends."""
    status = path.stat()
    with path.open("rb") as file:
        ends = file.read(_END_BYTES)
        file.seek(max(0, status.st_size - _END_BYTES))
        ends += file.read(_END_BYTES)
    return f"{status.st_size} bytes of {status.st_mtime_ns} {sha256(ends).hexdigest()[:16]}"


def refusals_text(outcome: Outcome) -> Sequence[str]:
    """Say in lines which rows were refused; none where none was."""
    if not outcome.refused:
        return ()
    kinds = ", ".join(f"{kind} {n}" for kind, n in outcome.refused.items())
    return (
        f"{sum(outcome.refused.values())} rows have no answer ({kinds}); the column 'refused' says why:",
        *(f"  row {number}: {reason}" for number, reason in outcome.examples),
    )
