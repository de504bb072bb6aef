"""Counts what a service scored into windows, and chooses rows worth a label: a device's rules, in a thread of its own.

No window mixes two bundles: rows of another one than the open window's end it. A window becomes durable when it ends; a
service that is killed loses the counts of the open one, never an answer.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from broker.messages import AskLabels, BundleRef, ScoreRow
from edge_agent.bundle import Manifest
from edge_agent.clock import Clock
from edge_agent.errors import RowError
from edge_agent.handover import Answer, ClosedWindow, Handover
from edge_agent.scoring.schema import RawRow, RowEncoder
from edge_agent.scoring.scorer import Prediction
from edge_agent.surprises import Surprises
from edge_agent.telemetry.novelty import Novelty
from edge_agent.telemetry.sampler import Sampler
from edge_agent.telemetry.window import WindowBuilder
from trainer.serving.feedback.scored import ScoredRows

logger = logging.getLogger(__name__)

# Rows that may wait to be counted; more are answered and not counted, and that is told.
MAX_WAITING: Final = 100_000
UNCOUNTED: Final = "uncounted"
COUNTING: Final = "counting"
_LOOK_S: Final = 0.1
_MAX_REASON: Final = 2048

ScoreOne = Callable[[Sequence[float | None]], Sequence[float]]


class _TakeOver(Struct, frozen=True):
    manifest: Manifest
    variant: str


class _Ask(Struct, frozen=True):
    command_id: str
    order: AskLabels | ScoreRow


_Item = ScoredRows | _TakeOver | _Ask | None


class _Open:
    """The window that is being counted, and what its bundle needs for it."""

    def __init__(self, manifest: Manifest, variant: str, at_utc_s: float) -> None:
        self.manifest = manifest
        self.variant = variant
        self.window = WindowBuilder(manifest, variant, at_utc_s)
        self.encoder = RowEncoder(manifest)
        self.novelty = Novelty(manifest.references)

    def is_of(self, manifest: Manifest, variant: str) -> bool:
        """Tell whether these rows go into it."""
        return manifest is self.manifest or (manifest.ref == self.manifest.ref and variant == self.variant)


class Counting:
    """One service's windows and samples; `count` and `take_over` are called by one thread, `ask` by another.

    Attributes:
        uncounted: rows that were answered and not counted, because too many waited.
        bundle, variant: that answer now.
    """

    def __init__(
        self,
        sampler: Sampler,
        handover: Handover,
        clock: Clock,
        *,
        cursor: int,
        max_window_s: float,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """Join the parts; nothing is counted before `start`.

        Args:
            sampler: chooses rows worth a label.
            handover: takes windows and answers to orders.
            clock: monotonic for the age of a window, UTC for times.
            cursor: number of the first row that is not yet counted.
            max_window_s: age at which a window ends even if it has few rows.
            max_waiting: rows that may wait to be counted.
        """
        self.uncounted = 0
        self.bundle: BundleRef | None = None
        self.variant: str | None = None
        self._sampler = sampler
        self._handover = handover
        self._clock = clock
        self._max_window_s = max_window_s
        self._max_waiting = max_waiting
        self._score_one: ScoreOne | None = None
        self._items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        # Each is written by one thread alone.
        self._put = 0
        self._done = 0
        self._uncounted_told = 0
        self._next = cursor
        self._open: _Open | None = None
        self._ends_s = 0.0
        self._is_over = False
        self._surprises = Surprises(logger)
        self._thread = threading.Thread(target=self._run, name="counting", daemon=True)

    # --- from other threads ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start to count."""
        self._thread.start()

    def score_by(self, score_one: ScoreOne) -> None:
        """Have rows that are ordered scored by this; it raises RowError for one that is refused."""
        self._score_one = score_one

    def count(self, scored: ScoredRows) -> None:
        """Take the rows of one request; see `Feedback.count`."""
        n_rows = len(scored.rows)
        if self._put - self._done + n_rows > self._max_waiting:
            self.uncounted += n_rows
            return
        self._put += n_rows
        self._items.put(scored)

    def take_over(self, manifest: Manifest, variant: str) -> None:
        """End the window of the bundle before; see `Feedback.take_over`."""
        self.bundle, self.variant = manifest.ref, variant
        self._items.put(_TakeOver(manifest, variant))

    def ask(self, command_id: str, order: AskLabels | ScoreRow) -> None:
        """Have an order carried out; the answer comes through the handover."""
        self._items.put(_Ask(command_id, order))

    def stop(self, timeout_s: float) -> bool:
        """Count what waits, end the last window, and return whether that was done in time."""
        self._items.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- from this thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_over:
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and counting goes on
                self._surprises.tell("counting what was scored", error)
                self._fail(COUNTING)
        self._end_window(is_last=True)

    def _step(self) -> None:
        item = self._next_item()
        match item:
            case ScoredRows():
                try:
                    self._count_rows(item)
                finally:
                    self._done += len(item.rows)
            case _TakeOver():
                self._switch(item.manifest, item.variant)
            case _Ask():
                self._handover.put(self._carry_out(item.command_id, item.order))
        if self.uncounted != self._uncounted_told:
            self._uncounted_told = self.uncounted
            logger.warning("%d rows so far were answered and not counted: too many waited", self.uncounted)
            self._fail(UNCOUNTED)
        self._end_if_due()

    def _next_item(self) -> _Item:
        try:
            item = self._items.get(timeout=_LOOK_S)
        except queue.Empty:
            return None
        self._is_over = item is None
        return item

    def _count_rows(self, scored: ScoredRows) -> None:
        self._switch(scored.manifest, scored.variant)
        for row, prediction_id, outcome in zip(scored.rows, scored.ids, scored.outcomes, strict=True):
            number, self._next = self._next, self._next + 1
            self._count_one(number, row, prediction_id, outcome, scored.row_us)
            self._end_if_due()

    def _count_one(
        self, number: int, row: RawRow, prediction_id: str, outcome: Prediction | RowError, row_us: float
    ) -> None:
        counted = self._open
        if counted is None:
            return
        if isinstance(outcome, RowError):
            counted.window.refuse(number, outcome)
            return
        # The scorer has filled its own row again by now.
        encoded = counted.encoder.encode(row)
        counted.window.count(number, encoded, outcome, row_us)
        self._sampler.offer(prediction_id, self._clock.utc_s(), encoded, outcome, counted.novelty.of)

    def _fail(self, kind: str) -> None:
        if self._open is not None:
            self._open.window.error(kind)

    def _switch(self, manifest: Manifest, variant: str) -> None:
        if self._open is not None and self._open.is_of(manifest, variant):
            return
        self._end_window(is_last=True)
        self._open = _Open(manifest, variant, self._clock.utc_s())
        self._ends_s = self._clock.monotonic_s() + self._max_window_s

    def _end_if_due(self) -> None:
        counted = self._open
        if counted is None:
            return
        is_due = counted.window.is_full or self._clock.monotonic_s() >= self._ends_s
        # Where the disk is slow, the window grows instead.
        if is_due and self._handover.has_room:
            self._end_window(is_last=False)

    def _end_window(self, *, is_last: bool) -> None:
        counted, now_utc_s = self._open, self._clock.utc_s()
        if counted is None:
            return
        self._ends_s = self._clock.monotonic_s() + self._max_window_s
        window = counted.window
        if window.is_empty:
            window.begin(now_utc_s)
            return
        built = window.finish(now_utc_s) if is_last else window.end(now_utc_s)
        self._handover.put(ClosedWindow(built, self._sampler.end_window(counted.manifest.ref), self._next))
        if is_last:
            self._open = None

    def _carry_out(self, command_id: str, order: AskLabels | ScoreRow) -> Answer:
        if isinstance(order, AskLabels):
            refusal = self._sampler.ask(order)
            return Answer(command_id, accepted=not refusal, reason=refusal, sampler_state=self._sampler.state())
        if self._score_one is None:
            return Answer(command_id, accepted=False, reason="the service does not answer yet")
        try:
            return Answer(command_id, accepted=True, scores=tuple(self._score_one(order.features)))
        except RowError as error:
            return Answer(command_id, accepted=False, reason=f"{error.kind}: {error}"[:_MAX_REASON])
        except Exception as error:  # noqa: BLE001 - whatever an order brings about is told
            self._surprises.tell(f"carrying out order {command_id}", error)
            return Answer(command_id, accepted=False, reason=f"a surprise: {error!r}"[:_MAX_REASON])
