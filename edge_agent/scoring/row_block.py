"""Rows that are there together, taken through the engine: checked, scored and counted without Python in between.

What the rules of a row are is said by `schema`, `second_model`, `scorer` and `telemetry.window`, in Python. This is the
quick way to the same answers, for whoever has the engine's extension module; a row that is unusual is put back into
Python's hands, one by one.
"""

from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import accumulate, chain
from typing import Final, Protocol

from edge_agent.bundle import Manifest, n_agreement_bins
from edge_agent.engine.face import COUNTED, IS_CATEGORY, REFUSES_MISSING, REFUSES_OUT_OF_RANGE, SCORED, RowBlock
from edge_agent.engine.loading import load_row_engine
from edge_agent.errors import RowError
from edge_agent.scoring.runtime import BlockRuntime, Bound, Runtime
from edge_agent.scoring.schema import RawRow, RowEncoder
from edge_agent.scoring.second_model import SecondModel

RUNTIME: Final = "runtime"
CAPACITY: Final = 64
# Bound of a block's numbers: rows of thousands of features are taken a few at a time.
MAX_BYTES: Final = 1 << 19
_BYTES_A_NUMBER: Final = 13


class Row(Protocol):
    """A row of a source, as `edge_agent.sensing.source.SourceRow`."""

    @property
    def number(self) -> int:
        """Position in the source."""
        ...

    @property
    def values(self) -> RawRow:
        """The values, not yet checked."""
        ...


class BlockScorer:
    """One bundle's block of rows; used by the scoring thread.

    Attributes:
        block: the engine's block, which has the answers of the rows scored last and the counts of the open window.
        capacity: rows that it takes at once.
    """

    def __init__(self, bound: Bound, block: RowBlock, encoder: RowEncoder, capacity: int) -> None:
        self.block = block
        self.capacity = capacity
        self._bound = bound
        self._encoder = encoder

    def score(self, rows: Sequence[Row], clock: Callable[[], float], *, together: bool) -> list[tuple[int, RowError]]:
        """Encode and score rows; nothing is counted before `settle`.

        Args:
            rows: a list, of `capacity` at most.
            clock: seconds that never go back.
            together: whether one call of the runtime may score more than one row; the latency of each is then the time
                of all, for so long it waited.

        Returns:
            Place and error of each row that has no answer.
        """
        n = len(rows)
        began_s = clock()
        refused = self._encode(rows)
        many = self._bound.run_many if together and n > 1 else None
        if many is None or not self._score_together(many, n, began_s, clock):
            self._score_each(n, (clock() - began_s) / n * 1e6, clock, refused)
        return refused

    def settle(self, n: int, refused: list[tuple[int, RowError]]) -> int:
        """Decide and count the rows that have an answer; add those to ``refused`` whose answer is not finite.

        Args:
            n: rows of the last `score`.
            refused: what it returned.

        Returns:
            How many were counted.
        """
        n_counted = self.block.settle(n)
        if n_counted + len(refused) < n:
            states = self.block.states(n)
            refused += [(place, self._not_finite(place)) for place in range(n) if states[place] == SCORED]
        return n_counted

    def counted(self, n: int) -> Sequence[int]:
        """Return the places of the rows, among the first ``n``, that the last `score` scored."""
        states = self.block.states(n)
        if states.count(COUNTED) == n:
            return range(n)
        return [place for place, state in enumerate(states) if state == COUNTED]

    def warm_up(self) -> None:
        """Take a row of zeros all the way and forget it, so that the next row is no first one.

        Memory is there only once it was written to, and runtimes lay things out in their first call.
        """
        block, bound = self.block, self._bound
        block.put(0, [0.0] * len(self._encoder.rules), [])
        # Whatever it raises on this row, it may well score those that come.
        with suppress(Exception):
            block.score_each(0, 1, bound.run, bound.arguments, float, 0.0)
        block.settle(1)
        block.forget()

    def _encode(self, rows: Sequence[Row]) -> list[tuple[int, RowError]]:
        refused: list[tuple[int, RowError]] = []
        place = self.block.encode(rows, 0)
        while place < len(rows):
            try:
                row = self._encoder.encode(rows[place].values)
                self.block.put(place, row.values, row.out_of_range)
            except RowError as error:
                refused.append((place, error))
            except OverflowError as error:
                refused.append((place, RowError(RUNTIME, str(error))))
            place = self.block.encode(rows, place + 1)
        return refused

    def _score_together(
        self, many: Callable[[int], object], n: int, began_s: float, clock: Callable[[], float]
    ) -> bool:
        try:
            many(n)
        except Exception:  # noqa: BLE001 - which row it was is found out one by one
            return False
        self.block.scored(n, (clock() - began_s) * 1e6)
        return True

    def _score_each(
        self, n: int, more_us: float, clock: Callable[[], float], refused: list[tuple[int, RowError]]
    ) -> None:
        bound, start = self._bound, 0
        while start < n:
            try:
                self.block.score_each(start, n, bound.run, bound.arguments, clock, more_us)
            except Exception as error:  # noqa: BLE001 - whatever a runtime raises on a row is the row's
                place = self.block.place
                refused.append((place, self._failure(error)))
                start = place + 1
            else:
                return

    def _failure(self, error: Exception) -> RowError:
        """Return what an exception of the runtime says of its row; one that nobody expected stands as its cause."""
        if isinstance(error, self._bound.errors):
            return RowError(RUNTIME, next(iter(str(error).splitlines()), type(error).__name__)[:300])
        failure = RowError(RUNTIME, repr(error))
        failure.__cause__ = error
        return failure

    def _not_finite(self, place: int) -> RowError:
        outputs = self.block.outputs(place)
        return RowError(RUNTIME, f"the model answered {list(outputs)[:8]}, which is not finite")


def open_block(manifest: Manifest, runtime: Runtime) -> BlockScorer | None:
    """Bind a runtime to a block of the engine; None where there is no engine, or the runtime cannot be bound."""
    engine = load_row_engine()
    capacity = max(1, min(CAPACITY, MAX_BYTES // (_BYTES_A_NUMBER * len(manifest.features))))
    bound = runtime.bind(capacity) if engine is not None and isinstance(runtime, BlockRuntime) else None
    if engine is None or bound is None:
        return None
    encoder = RowEncoder(manifest)
    second = SecondModel(manifest.estimation.second_model)
    edges = [reference.edges for reference in manifest.references]
    block = engine.rows(
        capacity,
        manifest.n_outputs,
        n_agreement_bins(manifest),
        int(bool(manifest.labels)),
        tuple(rule.categories for rule in encoder.rules),
        bytes(
            IS_CATEGORY * (rule.categories is not None)
            + REFUSES_MISSING * rule.refuses_missing
            + REFUSES_OUT_OF_RANGE * rule.refuses_out_of_range
            for rule in encoder.rules
        ),
        array("d", chain.from_iterable((rule.low, rule.high) for rule in encoder.rules)),
        array("I", accumulate(map(len, edges), initial=0)),
        array("d", chain.from_iterable(edges)),
        array("d", manifest.output_edges),
        array("d", manifest.estimation.disagreement_edges),
        array("d", second.means),
        array("d", chain.from_iterable(zip(*second.slopes, strict=True))),
        array("d", second.intercepts),
        bound.rows,
        bound.answers,
        bound.entry,
        bound.exit,
    )
    return BlockScorer(bound, block, encoder, capacity)
