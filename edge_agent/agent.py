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
from edge_agent.handover import Answer, Handover
from edge_agent.scoring.row_block import CAPACITY
from edge_agent.sensing.sink import LineSink, Sink
from edge_agent.sensing.source import Source
from edge_agent.surprises import Surprises
from edge_agent.tally import Outlets
from edge_agent.telemetry.sampler import Sampler
from edge_agent.turn import Turn
from edge_agent.update.engine import Engine
from edge_agent.update.shadow_queue import ShadowQueue

logger = logging.getLogger(__name__)

# Longest wait for a row: how soon orders and a stop are heeded while no row comes.
WAIT_S: Final = 0.1
# While answers are taken more slowly than rows come, so long no row is read; then it is looked again.
HOLD_S: Final = 0.01
# Scoring never stops for a taker that takes nothing: it is waited for so long, then the oldest answers are dropped.
MAX_HOLD_S: Final = 2.0
# A failure inside the agent, as telemetry counts it.
ORDER: Final = "order"
# Of a reason, so much is told.
MAX_REASON: Final = 2048

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
        self._open_source = open_source
        self._sampler = sampler
        self._handover = handover
        self._clock = clock
        self._max_window_s = max_window_s
        self._stop_at_end = stop_at_end
        self._source = source.source if source is not None else None
        self._inputs = source.inputs if source is not None else None
        self._keeps_source = False
        self.rounds = 0
        self._surprises = Surprises(logger)
        self._outlets = Outlets(
            prediction_prefix=f"{device}.",
            sink=sink,
            line_sink=sink if isinstance(sink, LineSink) else None,
            sampler=sampler,
            shadow=shadow or ShadowQueue(),
            clock=clock,
            surprises=self._surprises,
            batches=max_batch_rows > 1,
            abstain_below=abstain_below,
        )
        self._turn: Turn | None = None
        self._window_ends_s = 0.0
        # Since when answers find no room; None: they do.
        self._held_since_s: float | None = None
        # Where the source stands while nothing scores.
        self._cursor = cursor
        # Words from other threads. Deques need no lock; the event ends an idle wait.
        self._offers: deque[Turn | None] = deque([self._turn_of(engine)])
        self._asks: deque[tuple[str, AskLabels | ScoreRow]] = deque()
        self._wake = threading.Event()
        # A plain attribute: an event's lock may be held by the very thread that a signal's handler interrupts.
        self._is_stopping = False

    # --- from other threads ------------------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine | None:
        """The engine that scores now."""
        turn = self._turn
        return turn.engine if turn is not None else None

    def offer(self, engine: Engine | None) -> None:
        """Have an engine take over between two rows; all that it needs then is made here."""
        self._offers.append(self._turn_of(engine))
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
        turn, source = self._turn, self._source
        if turn is None or source is None:
            # Nothing can score yet: rows wait at their source.
            self._idle()
            return True
        if self._outlets.sink.has_room:
            self._held_since_s = None
        elif self._hold():
            return True
        rows = source.ready_rows(turn.n_wanted)
        if not rows:
            row = source.next_row(WAIT_S)
            rows = [row] if row is not None else []
        if rows:
            turn.score(rows)
        # Where the disk is slow, the window grows instead.
        is_due = turn.window.is_full or self._clock.monotonic_s() >= self._window_ends_s
        if is_due and self._handover.has_room:
            self._report()
        if not rows and source.at_end:
            self._report()
            if self._stop_at_end:
                return False
            self._idle()
        return True

    def _hold(self) -> bool:
        """Wait a moment for answers to be taken; return whether to look again before a row is read."""
        now_s = self._clock.monotonic_s()
        if self._held_since_s is None:
            self._held_since_s = now_s
        if now_s - self._held_since_s > MAX_HOLD_S:
            return False
        # Housekeeping may sleep until a window ends, and none ends now.
        self._handover.wake()
        self._idle(HOLD_S)
        return True

    def _report(self) -> None:
        """End the window and hand it over."""
        turn = self._turn
        if turn is None:
            return
        self._window_ends_s = self._clock.monotonic_s() + self._max_window_s
        closed = turn.end_window(self._clock.utc_s())
        if closed is not None:
            self._handover.put(closed)

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
                if self._turn is not None:
                    self._turn.window.error(ORDER)
                answer = Answer(command_id, accepted=False, reason=f"a surprise: {error!r}"[:MAX_REASON])
            self._handover.put(answer)

    def _turn_of(self, engine: Engine | None) -> Turn | None:
        return Turn(engine, self._outlets, self._inputs) if engine is not None else None

    def _switch(self, turn: Turn | None) -> None:
        before = self._turn
        if turn is before or (turn is not None and before is not None and turn.engine is before.engine):
            return
        # 1. The window of the old bundle ends: no window mixes two. 2. The source gives what the new one takes.
        # 3. One assignment: every row is scored by the one or the other.
        now_utc_s = self._clock.utc_s()
        if before is not None:
            closed = before.end(now_utc_s)
            if closed is not None:
                self._handover.put(closed)
            self._cursor = before.tally.cursor
        if turn is not None:
            if self._source is None or (turn.inputs is not self._inputs and turn.inputs != self._inputs):
                self._open(turn.inputs)
            turn.begin(self._cursor, now_utc_s)
            self._window_ends_s = self._clock.monotonic_s() + self._max_window_s
        self._turn = turn

    def _open(self, inputs: Inputs) -> None:
        if self._source is not None:
            self._source.close()
        self._source = self._open_source(inputs, self._cursor)
        self._inputs = inputs

    def _carry_out(self, command_id: str, order: AskLabels | ScoreRow) -> Answer:
        if isinstance(order, AskLabels):
            refusal = self._sampler.ask(order)
            return Answer(command_id, accepted=not refusal, reason=refusal, sampler_state=self._sampler.state())
        if self._turn is None:
            return Answer(command_id, accepted=False, reason="there is no bundle yet")
        try:
            prediction = self._turn.engine.scorer.score_indexed(order.features)
        except RowError as error:
            return Answer(command_id, accepted=False, reason=f"{error.kind}: {error}")
        return Answer(command_id, accepted=True, scores=tuple(prediction.outputs))

    def _idle(self, timeout_s: float = WAIT_S) -> None:
        self._wake.wait(timeout_s)
        self._wake.clear()
