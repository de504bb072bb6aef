"""The columns of answers: label and confidence, or a value; why a row was refused; and what is carried along."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from edge_agent.bundle import Manifest
from edge_agent.errors import RowError
from trainer.errors import DataError

# Arrow ships no types: tables and schemas are Any.
# ruff: noqa: ANN401

REFUSED: Final = "refused"


class AnswerColumns:
    """Makes the table of a part's answers.

    Attributes:
        schema: of every part.
        kept: names of the columns that are carried along.
    """

    def __init__(self, manifest: Manifest, kept: Mapping[str, Any], *, probabilities: bool) -> None:
        """Lay the columns out.

        Args:
            manifest: of the model.
            kept: type by name of the columns that are carried along, in their order.
            probabilities: whether each label has a column of its own.

        Raises:
            DataError: a column that is carried along has the name of an answer.
        """
        self.kept = tuple(kept)
        self._labels = manifest.labels
        self._probabilities = probabilities and bool(manifest.labels)
        own = [pa.field(REFUSED, pa.string())]
        if manifest.labels:
            names = [f"probability_{label}" for label in manifest.labels] if self._probabilities else []
            label = pa.field("label", pa.dictionary(pa.int32(), pa.string()))
            own = [label, *(pa.field(name, pa.float32()) for name in ("confidence", *names)), *own]
        else:
            own = [pa.field("value", pa.float32()), *own]
        hidden = sorted({field.name for field in own} & set(kept))
        if hidden:
            raise DataError(
                f"column {hidden[0]!r} cannot be carried along: an answer is named so; rename it, or leave it"
            )
        self.schema = pa.schema([*(pa.field(name, kind) for name, kind in kept.items()), *own])

    def table(self, rows: Any, outputs: NDArray[np.float32], refused: Mapping[int, RowError]) -> Any:
        """Return the answers to a part.

        Args:
            rows: the part as it was read.
            outputs: ``(n_rows, n_outputs) float32``, NaN in rows without an answer.
            refused: by place, why.
        """
        is_refused = np.zeros(len(outputs), dtype=bool)
        is_refused[list(refused)] = True
        columns = [rows[name] for name in self.kept]
        if self._labels:
            # A row of NaN has the greatest at 0; it is masked.
            chosen = outputs.argmax(axis=1)
            confidence = np.clip(outputs[np.arange(len(outputs)), chosen], 0.0, 1.0)
            indices = pa.array(chosen.astype(np.int32), mask=is_refused)
            columns.append(pa.DictionaryArray.from_arrays(indices, pa.array(self._labels, pa.string())))
            columns.append(pa.array(confidence, mask=is_refused))
            if self._probabilities:
                columns += [pa.array(np.ascontiguousarray(column), mask=is_refused) for column in outputs.T]
        else:
            columns.append(pa.array(outputs[:, 0], mask=is_refused))
        columns.append(_reasons(len(outputs), refused))
        return pa.Table.from_arrays(columns, schema=self.schema)


def _reasons(n: int, refused: Mapping[int, RowError]) -> Any:
    if not refused:
        return pa.nulls(n, pa.string())
    # By index: a list of all rows would take longer than their scoring.
    indices = np.zeros(n, dtype=np.int32)
    indices[list(refused)] = np.arange(len(refused))
    is_scored = np.ones(n, dtype=bool)
    is_scored[list(refused)] = False
    reasons = pa.array([f"{error.kind}: {error}" for error in refused.values()], pa.string())
    return reasons.take(pa.array(indices, mask=is_scored))


def kept_columns(columns: Mapping[str, Any], wanted: Sequence[str], where: str) -> dict[str, Any]:
    """Return type by name of the columns that are carried along, as the file has them.

    Raises:
        DataError: the file has no such column.
    """
    unknown = [name for name in wanted if name not in columns]
    if unknown:
        raise DataError(f"{where}: there is no column {unknown[0]!r} to carry along; there are {', '.join(columns)}")
    return {name: columns[name] for name in wanted}
