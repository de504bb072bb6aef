"""The agent's scoring loop: read, score, report, update.

It runs in the main thread and waits for nothing but rows: what must reach a disk or the network is handed to
housekeeping, which has a thread of its own. It decides when a window of telemetry ends, and nothing else.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from broker.messages import AskLabels, ScoreRow
from broker.topics import DeviceId
from edge_agent.bundle import Inputs
from edge_agent.clock import Clock
from edge_agent.errors import RowError
from edge_agent.handover import Answer, ClosedWindow, Handover
from edge_agent.scoring.row_block import CAPACITY, BlockScorer
from edge_agent.scoring.scorer import Prediction
from edge_agent.sensing.answer_lines import AnswerLines
from edge_agent.sensing.sink import LineSink, Sink
from edge_agent.sensing.source import Source, SourceRow
from edge_agent.surprises import Surprises
from edge_agent.telemetry.sampler import Candidate, Sampler
from edge_agent.telemetry.window import WindowBuilder
from edge_agent.update.engine import Engine
from edge_agent.update.shadow_queue import ShadowQueue

logger = logging.getLogger(__name__)

# Longest wait for a row: how soon orders and a stop are heeded while no row comes.
WAIT_S: Final = 0.1
RUNTIME: Final = "runtime"
# Failures inside the agent, as telemetry counts them.
COUNTING: Final = "counting"
ORDER: Final = "order"
# Of a reason, so much is told.
MAX_REASON: Final = 2048

# Longest time that a row waits for others which are scored together with it.
MAX_ADDED_S: Final = 0.01

OpenSource = Callable[[Inputs, int], Source]


class OpenedSource(Struct, frozen=True):
    """A source that one loop leaves to the next, at the row where it stands."""

    source: Source
    inputs: Inputs


class ScoringLoop:
    """Scores the rows of one source with the bundle that was offered last; implements `update.engines.Seat`.

    All methods but `offer`, `ask`, `stop` and `engine` belong to the thread of `run`.

    Attributes:
        rounds: how often it went round, which shows others that it does not hang.
    """

    def __init__(  # noqa: PLR0913 - the parts of the loop, each named by its caller
        self,
        device: DeviceId,
        *,
        open_source: OpenSource,
        sink: Sink,
        sampler: Sampler,
        handover: Handover,
        clock: Clock,
        max_window_s: float,
        stop_at_end: bool,
        engine: Engine | None,
        cursor: int,
        max_batch_rows: int = CAPACITY,
        abstain_below: float = 0.0,
        source: OpenedSource | None = None,
        shadow: ShadowQueue | None = None,
    ) -> None:
        """Join the parts; nothing is read before `run`.

        Args:
            device: names predictions.
            open_source: opens the source for what a bundle takes, at this row number.
            sink: takes answers.
            sampler: chooses rows worth a label.
            handover: takes what must become durable.
            clock: monotonic for durations, UTC for times.
            max_window_s: age at which a window ends even if it has few rows.
            stop_at_end: whether the end of the source is the end of the agent.
            engine: what scores at first; None: nothing yet.
            cursor: number of the first row that is not yet counted.
            max_batch_rows: rows that one call of the runtime may score, where so many wait; 1: each by itself.
            abstain_below: predictions of less confidence are marked as abstained.
            source: what a loop before this one left open; it stands at the cursor.
            shadow: takes the rows that were scored, for a bundle in the shadow.
        """
        self._shadow = shadow or ShadowQueue()
        self._device = device
        self._open_source = open_source
        self._sink = sink
        self._line_sink = sink if isinstance(sink, LineSink) else None
        self._sampler = sampler
        self._handover = handover
        self._clock = clock
        self._max_window_s = max_window_s
        self._stop_at_end = stop_at_end
        self._cursor = cursor
        self._source = source.source if source is not None else None
        self._inputs = source.inputs if source is not None else None
        self._keeps_source = False
        self.rounds = 0
        self._engine: Engine | None = None
        self._window: WindowBuilder | None = None
        self._window_ends_s = 0.0
        self._prediction_prefix = f"{device}."
        self._max_batch_rows = max_batch_rows
        self._abstain_below = abstain_below
        self._block: BlockScorer | None = None
        self._lines: AnswerLines | None = None
        # Of one row, as it was measured last: it bounds how many are taken together.
        self._row_s: float | None = None
        self._surprises = Surprises(logger)
        # Words from other threads. Deques need no lock; the event ends an idle wait.
        self._offers: deque[Engine | None] = deque([engine])
        self._asks: deque[tuple[str, AskLabels | ScoreRow]] = deque()
        self._wake = threading.Event()
        # A plain attribute: an event's lock may be held by the very thread that a signal's handler interrupts.
        self._is_stopping = False

    # --- from other threads ------------------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine | None:
        """The engine that scores now."""
        return self._engine

    def offer(self, engine: Engine | None) -> None:
        """Have an engine take over between two rows."""
        self._offers.append(engine)
        self._wake.set()

    def ask(self, command_id: str, order: AskLabels | ScoreRow) -> None:
        """Have an order carried out between two rows; the answer comes through the handover."""
        self._asks.append((command_id, order))
        self._wake.set()

    def stop(self) -> None:
        """End `run` soon; may be called by a signal's handler, so it takes no lock: the loop looks by itself."""
        self._is_stopping = True

    def keep_source(self) -> None:
        """Have `run` leave its source open for another loop: `kept_source`."""
        self._keeps_source = True

    @property
    def kept_source(self) -> OpenedSource | None:
        """What `run` left open."""
        if not self._keeps_source or self._source is None or self._inputs is None:
            return None
        return OpenedSource(self._source, self._inputs)

    def wait_for_stop(self, timeout_s: float) -> bool:
        """Wait a moment, at most so long; return whether `stop` was called."""
        if not self._is_stopping:
            self._idle(timeout_s)
        return self._is_stopping

    # --- the loop ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Score until stopped, or until the source ends and that is the end; the last window is handed over.

        Raises:
            SourceError: the source cannot be read (any more).
        """
        try:
            while not self._is_stopping:
                self._update()
                if not self._read_and_score():
                    break
                self.rounds += 1
        finally:
            self._report()
            if self._source is not None and not self._keeps_source:
                self._source.close()

    def _read_and_score(self) -> bool:
        """Read, score and report one row if there is one; return whether to go on."""
        engine, source = self._engine, self._source
        if engine is None or source is None:
            # Nothing can score yet: rows wait at their source.
            self._idle()
            return True
        rows = source.ready_rows(self._n_wanted())
        if not rows:
            row = source.next_row(WAIT_S)
            rows = [row] if row is not None else []
        if rows:
            self._score_rows(engine, rows)
        window = self._window
        is_due = window is not None and (window.is_full or self._clock.monotonic_s() >= self._window_ends_s)
        # Where the disk is slow, the window grows instead.
        if is_due and self._handover.has_room:
            self._report()
        if not rows and source.at_end:
            self._report()
            if self._stop_at_end:
                return False
            self._idle()
        return True

    def _n_wanted(self) -> int:
        """Return how many rows to take at once: no more than the window takes, nor than can be scored in a short time.

        All that are taken are scored before anything else happens, so that nobody need know of rows in between.
        """
        wanted = CAPACITY if self._block is None else self._block.capacity
        if self._row_s is None:
            # Nobody knows yet how long one takes.
            wanted = 1
        elif self._row_s * wanted > MAX_ADDED_S:
            wanted = max(1, int(MAX_ADDED_S / self._row_s))
        left = self._window.rows_left if self._window is not None else 0
        return min(wanted, left) if left > 0 else wanted

    def _score_rows(self, engine: Engine, rows: list[SourceRow]) -> None:
        block = self._block
        began_s = self._clock.monotonic_s()
        if block is None or not self._score_block(engine, block, rows):
            for row in rows:
                self._score(engine, row)
        self._row_s = (self._clock.monotonic_s() - began_s) / len(rows)

    def _score_block(self, engine: Engine, block: BlockScorer, rows: list[SourceRow]) -> bool:
        """Score and count rows together; return False if that failed before any was counted."""
        try:
            # What is on trial is judged by the time of single rows.
            together = engine.meter is None and self._max_batch_rows > 1
            refused = block.score(rows, self._clock.monotonic_s, together=together)
        except Exception as error:  # noqa: BLE001 - whatever it is, the rows are scored, one by one
            self._surprises.tell("scoring a block of rows", error)
            return False
        n_scored = block.settle(len(rows), refused)
        if self._window is not None:
            self._window.count_block(rows[0].number, rows[-1].number, n_scored)
        self._cursor = rows[-1].number + 1
        for place, refusal in refused:
            if refusal.kind == RUNTIME and isinstance(refusal.__cause__, Exception):
                self._surprises.tell(f"scoring row {rows[place].number}", refusal.__cause__)
            self._refuse(engine, rows[place].number, refusal)
        if n_scored:
            self._count_block(engine, block, rows)
        return True

    def _count_block(self, engine: Engine, block: BlockScorer, rows: list[SourceRow]) -> None:
        """Do for the rows of a block what `_count` does for one, but for the window."""
        places, at_utc_s = block.counted(len(rows)), self._clock.utc_s()
        prefix, answers = self._prediction_prefix, block.block

        def candidate(index: int) -> Candidate:
            place = places[index]
            _, value, confidence, agrees, *_ = answers.answer(place)
            prediction_id = prefix + str(rows[place].number)
            return Candidate(prediction_id, at_utc_s, answers.packed(place), value, confidence, bool(agrees))

        try:
            self._sampler.offer_many(len(places), candidate, lambda index: answers.answer(places[index])[5])
        except Exception as error:  # noqa: BLE001 - as in `_count`
            self._surprises.tell("sampling a block of rows", error)
            self._count_failure(engine, COUNTING)
        if self._shadow.is_open:
            for place in places:
                self._shadow.offer(rows[place].values, engine.scorer.scored(place))
        self._answer_block(engine, block, rows, at_utc_s)

    def _answer_block(self, engine: Engine, block: BlockScorer, rows: list[SourceRow], at_utc_s: float) -> None:
        """Give the answers of a block to the sink, as lines where it takes those, and count their times on a trial."""
        places, answers = block.counted(len(rows)), block.block
        if self._lines is not None and self._line_sink is not None:
            try:
                self._line_sink.write_lines(self._lines.write(answers, rows, at_utc_s))
            except Exception as error:  # noqa: BLE001 - as in `_count`
                self._surprises.tell("writing the answers of a block of rows", error)
                self._count_failure(engine, COUNTING)
            if engine.meter is not None:
                for place in places:
                    engine.meter.count(answers.answer(place)[6])
            return
        for place in places:
            number = rows[place].number
            try:
                prediction = engine.scorer.scored(place)
                prediction_id = self._prediction_prefix + str(number)
                self._sink.write(prediction_id, number, at_utc_s, engine.content.bundle, prediction)
                meter = engine.meter
                if meter is not None:
                    meter.count(answers.answer(place)[6])
            except Exception as error:  # noqa: BLE001 - as in `_count`
                self._surprises.tell(f"counting row {number}", error)
                self._count_failure(engine, COUNTING)

    def _score(self, engine: Engine, row: SourceRow) -> None:
        clock, number = self._clock, row.number
        began_s = clock.monotonic_s()
        try:
            prediction = engine.scorer.score(row.values)
        except RowError as error:
            self._refuse(engine, number, error)
        except Exception as error:  # noqa: BLE001 - whatever a row brings about is told, and the next row is scored
            self._surprises.tell(f"scoring row {number}", error)
            self._refuse(engine, number, RowError(RUNTIME, repr(error)))
        else:
            latency_us = (clock.monotonic_s() - began_s) * 1e6
            self._count(engine, number, prediction, latency_us)
            self._shadow.offer(row.values, prediction)
        self._cursor = number + 1

    def _count(self, engine: Engine, number: int, prediction: Prediction, latency_us: float) -> None:
        try:
            if self._window is not None:
                self._window.count(number, engine.scorer.row, prediction, latency_us)
            at_utc_s = self._clock.utc_s()
            prediction_id = self._prediction_prefix + str(number)
            self._sampler.offer(prediction_id, at_utc_s, engine.scorer.row, prediction)
            self._sink.write(prediction_id, number, at_utc_s, engine.content.bundle, prediction)
            meter = engine.meter
            if meter is not None:
                meter.count(latency_us)
        except Exception as error:  # noqa: BLE001 - as above
            self._surprises.tell(f"counting row {number}", error)
            self._count_failure(engine, COUNTING)

    def _refuse(self, engine: Engine, number: int, error: RowError) -> None:
        if self._window is not None:
            self._window.refuse(number, error)
        self._sink.refuse(number, error)
        meter = engine.meter
        if meter is None:
            return
        if error.kind == RUNTIME:
            meter.errors += 1
        else:
            meter.refused += 1

    def _count_failure(self, engine: Engine | None, kind: str) -> None:
        """Count a failure inside the agent: in telemetry, and against a bundle that is on trial."""
        if self._window is not None:
            self._window.error(kind)
        meter = engine.meter if engine is not None else None
        if meter is not None:
            meter.errors += 1

    def _report(self) -> None:
        """End the window and hand it over, with its samples and the place in the source where the next one begins."""
        window, engine = self._window, self._engine
        if window is None or engine is None:
            return
        self._window_ends_s = self._clock.monotonic_s() + self._max_window_s
        if window.is_empty:
            window.end(self._clock.utc_s())
            return
        closed = window.end(self._clock.utc_s())
        samples = self._sampler.end_window(engine.content.bundle)
        self._handover.put(ClosedWindow(closed, samples, self._cursor, self._sampler.state()))

    def _update(self) -> None:
        """Between two rows: let another bundle take over, carry out what was asked."""
        while self._offers:
            self._switch(self._offers.popleft())
        while self._asks:
            command_id, order = self._asks.popleft()
            try:
                answer = self._carry_out(command_id, order)
            except Exception as error:  # noqa: BLE001 - whatever an order brings about is told, and rows are scored
                self._surprises.tell(f"carrying out order {command_id}", error)
                self._count_failure(None, ORDER)
                answer = Answer(command_id, accepted=False, reason=f"a surprise: {error!r}"[:MAX_REASON])
            self._handover.put(answer)

    def _switch(self, engine: Engine | None) -> None:
        if engine is self._engine:
            return
        # 1. The window of the old bundle ends: no window mixes two. 2. The source gives what the new one takes.
        # 3. One assignment: every row is scored by the one or the other.
        self._report()
        if engine is not None:
            manifest = engine.manifest
            inputs = manifest.inputs
            if self._source is None or inputs != self._inputs:
                if self._source is not None:
                    self._source.close()
                self._source = self._open_source(inputs, self._cursor)
                self._inputs = inputs
            engine.scorer.abstain_below = self._abstain_below
            block = self._block = engine.scorer.block
            self._lines = AnswerLines(manifest, self._prediction_prefix, self._abstain_below)
            counts = block.block if block is not None else None
            now_utc_s = self._clock.utc_s()
            self._window = WindowBuilder(manifest, engine.content.variant, now_utc_s, counts, engine.layout)
            self._window_ends_s = self._clock.monotonic_s() + self._max_window_s
        else:
            self._window = self._block = self._lines = None
        self._engine = engine
        self._row_s = None

    def _carry_out(self, command_id: str, order: AskLabels | ScoreRow) -> Answer:
        if isinstance(order, AskLabels):
            refusal = self._sampler.ask(order)
            return Answer(command_id, accepted=not refusal, reason=refusal, sampler_state=self._sampler.state())
        if self._engine is None:
            return Answer(command_id, accepted=False, reason="there is no bundle yet")
        try:
            prediction = self._engine.scorer.score_indexed(order.features)
        except RowError as error:
            return Answer(command_id, accepted=False, reason=f"{error.kind}: {error}")
        return Answer(command_id, accepted=True, scores=tuple(prediction.outputs))

    def _idle(self, timeout_s: float = WAIT_S) -> None:
        self._wake.wait(timeout_s)
        self._wake.clear()
