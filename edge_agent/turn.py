"""One bundle's turn in the scoring loop: its rows are scored, counted and answered here.

A turn is made beforehand, by the thread that offers the bundle: what is left to do between two rows is `begin`, and
`end` for the one before it. Rows that are there together go by `block_path` where there is an engine for that, all
others one by one.
"""

from typing import Final

from edge_agent.block_path import BlockPath
from edge_agent.bundle import Inputs
from edge_agent.errors import RowError
from edge_agent.handover import ClosedWindow
from edge_agent.scoring.row_block import CAPACITY
from edge_agent.scoring.scorer import Prediction
from edge_agent.sensing.source import SourceRow
from edge_agent.tally import COUNTING, RUNTIME, Outlets, Tally
from edge_agent.telemetry.novelty import Novelty
from edge_agent.telemetry.window import WindowBuilder
from edge_agent.update.engine import Engine

# Longest time that a row waits for others which are scored together with it.
MAX_ADDED_S: Final = 0.01


class Turn:
    """All that one bundle needs while it scores; used by the scoring thread once it was begun.

    Attributes:
        engine: the bundle.
        inputs: what it takes of a source.
        window: counts its rows.
        tally: counts refusals and failures, and where the source stands.
    """

    def __init__(self, engine: Engine, outlets: Outlets, known: Inputs | None = None) -> None:
        """Make all that can be made before it begins; the same engine may be scoring, in another turn, meanwhile.

        Args:
            engine: the bundle.
            outlets: where rows go.
            known: what the source gives now; if the bundle takes the same, `inputs` is this very object.
        """
        manifest, scorer = engine.manifest, engine.scorer
        self.engine = engine
        inputs = manifest.inputs
        self.inputs = known if known is not None and known == inputs else inputs
        scorer.abstain_below = outlets.abstain_below
        block = scorer.block
        counts = block.block if block is not None else None
        self.window = WindowBuilder(manifest, engine.content.variant, 0.0, counts, engine.layout)
        self.tally = Tally(engine, self.window, outlets.sink)
        self._novelty = Novelty(manifest.references)
        self._outlets = outlets
        self._sampler, self._bundle = outlets.sampler, engine.content.bundle
        self._path = BlockPath(manifest, block, self.tally, outlets) if block is not None else None
        self._capacity = self._path.capacity if self._path is not None else CAPACITY
        # Of one row, as it was measured last: it bounds how many are taken together.
        self._row_s: float | None = None

    def begin(self, cursor: int, at_utc_s: float) -> None:
        """Begin between two rows.

        Args:
            cursor: number of the source's next row.
            at_utc_s: time at which its first window begins.
        """
        self.tally.cursor = cursor
        self.window.begin(at_utc_s)

    def end_window(self, at_utc_s: float) -> ClosedWindow | None:
        """End the window; return it with its samples and the place in the source where the next begins, if it has any.

        What takes long to write down is left to whoever takes it.
        """
        if self.window.is_empty:
            self.window.begin(at_utc_s)
            return None
        window = self.window.end(at_utc_s)
        return ClosedWindow(window, self._sampler.end_window(self._bundle), self.tally.cursor)

    def end(self, at_utc_s: float) -> ClosedWindow | None:
        """End the last window as `end_window` does: between two rows, before another turn begins."""
        if self.window.is_empty:
            return None
        window = self.window.finish(at_utc_s)
        return ClosedWindow(window, self._sampler.end_window(self._bundle), self.tally.cursor, self)

    @property
    def n_wanted(self) -> int:
        """How many rows to take at once: no more than the window takes, nor than can be scored in a short time.

        All that are taken are scored before anything else happens, so that nobody need know of rows in between.
        """
        wanted, row_s = self._capacity, self._row_s
        if row_s is None:
            # Nobody knows yet how long one takes.
            wanted = 1
        elif row_s * wanted > MAX_ADDED_S:
            wanted = max(1, int(MAX_ADDED_S / row_s))
        left = self.window.rows_left
        return min(wanted, left) if left > 0 else wanted

    def score(self, rows: list[SourceRow]) -> None:
        """Score rows, together where that can be."""
        clock = self._outlets.clock
        began_s = clock.monotonic_s()
        if self._path is None or not self._path.score(rows):
            for row in rows:
                self._score_one(row)
                self.tally.cursor = row.number + 1
        self._row_s = (clock.monotonic_s() - began_s) / len(rows)

    def _score_one(self, row: SourceRow) -> None:
        clock, number = self._outlets.clock, row.number
        began_s = clock.monotonic_s()
        try:
            prediction = self.engine.scorer.score(row.values)
        except RowError as error:
            self.tally.refuse(number, error)
        except Exception as error:  # noqa: BLE001 - whatever a row brings about is told, and the next row is scored
            self._outlets.surprises.tell(f"scoring row {number}", error)
            self.tally.refuse(number, RowError(RUNTIME, repr(error)))
        else:
            latency_us = (clock.monotonic_s() - began_s) * 1e6
            self._count_one(number, prediction, latency_us)
            self._outlets.shadow.offer(row.values, prediction)

    def _count_one(self, number: int, prediction: Prediction, latency_us: float) -> None:
        engine, outlets = self.engine, self._outlets
        try:
            self.window.count(number, engine.scorer.row, prediction, latency_us)
            at_utc_s = outlets.clock.utc_s()
            prediction_id = outlets.prediction_prefix + str(number)
            outlets.sampler.offer(prediction_id, at_utc_s, engine.scorer.row, prediction, self._novelty.of)
            outlets.sink.write(prediction_id, number, at_utc_s, engine.content.bundle, prediction)
            meter = engine.meter
            if meter is not None:
                meter.count(latency_us)
        except Exception as error:  # noqa: BLE001 - as above
            outlets.surprises.tell(f"counting row {number}", error)
            self.tally.fail(COUNTING)
