"""Scores one part: a table of rows in, the answers as the bytes that are kept of them."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa
from msgspec import Struct

from trainer.serving.batch.answers import AnswerColumns
from trainer.serving.batch.encoding import BlockEncoder
from trainer.serving.batch.model import BlockModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_agent.errors import RowError

# Arrow ships no types: tables are Any.
# ruff: noqa: ANN401

EXAMPLES: Final = 3


class ScoredPart(Struct, frozen=True):
    """The answers to a part.

    Attributes:
        data: an Arrow file.
        refused: how many rows, by the rule that refused them.
        examples: number of the row, from 0, and reason, of the first that were.
    """

    data: bytes
    n_rows: int
    refused: dict[str, int]
    examples: tuple[tuple[int, str], ...]


class Place(Protocol):
    """Where parts are scored."""

    def scored(self, tables: Iterator[Any], first_row: int) -> Iterator[ScoredPart]:
        """Give the answers to parts, in their order; the first part begins with that row."""
        ...


class PartScorer:
    """Scores parts, block by block, with one model; for one thread at a time."""

    def __init__(self, model: BlockModel, columns: AnswerColumns) -> None:
        self._model = model
        self._columns = columns
        self._encoder = BlockEncoder(model.manifest)

    def score(self, table: Any, first_row: int) -> ScoredPart:
        """Score a part that begins with that row."""
        model = self._model
        outputs: NDArray[np.float32] = np.empty((table.num_rows, model.manifest.n_outputs), dtype=np.float32)
        refused: dict[int, RowError] = {}
        for start in range(0, table.num_rows, model.capacity):
            block = table.slice(start, model.capacity)
            n = block.num_rows
            here = self._encoder.encode(block, model.rows[:n])
            model.score(n, outputs[start : start + n], here)
            refused |= {start + place: error for place, error in here.items()}
        in_order = dict(sorted(refused.items()))
        examples = tuple(
            (first_row + place, f"{error.kind}: {error}") for place, error in islice(in_order.items(), EXAMPLES)
        )
        counts = dict(sorted(Counter(error.kind for error in refused.values()).items()))
        return ScoredPart(file_bytes(self._columns.table(table, outputs, in_order)), table.num_rows, counts, examples)


class Here:
    """This process, one part after the other."""

    def __init__(self, model: BlockModel, columns: AnswerColumns) -> None:
        self._scorer = PartScorer(model, columns)

    def scored(self, tables: Iterator[Any], first_row: int) -> Iterator[ScoredPart]:
        """Score each part when it is asked for."""
        for table in tables:
            part = self._scorer.score(table, first_row)
            first_row += part.n_rows
            yield part


def file_bytes(table: Any) -> bytes:
    """Return a table as an Arrow file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data
