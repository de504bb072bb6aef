"""A bundle in the shadow: gets the rows that were scored, and has reported how far it differs. It decides nothing else.

The scoring thread leaves the rows in a queue (``shadow_queue``). All else is done by housekeeping, and the scoring
itself by a process of its own (``shadow_child``).
"""

import logging
from collections.abc import Callable
from typing import Final, Protocol

from broker.messages import Event, ShadowReport
from edge_agent.clock import Clock
from edge_agent.update.record import Content
from edge_agent.update.shadow_messages import ShadowCounts, ShadowOrder, ShadowRow
from edge_agent.update.shadow_queue import ShadowQueue
from edge_agent.update.shadows import KIND
from edge_agent.update.slots import SlotStore
from edge_agent.update.updater import Updater

logger = logging.getLogger(__name__)

MAX_BATCH: Final = 1024
MAX_DEATHS: Final = 3


class Process(Protocol):
    """A shadow's process, as `shadow_process.ShadowProcess`."""

    counts: ShadowCounts

    @property
    def is_ready(self) -> bool:
        """Whether it takes rows now."""
        ...

    def hand(self, rows: list[ShadowRow]) -> None:
        """Hand over rows; only when it is ready."""

    def poll(self) -> str | None:
        """Move on what can be moved; return why it ended."""
        ...

    def end(self) -> None:
        """End it."""


class Shadow:
    """Keeps a process at work as long as the record says so; used by the housekeeping thread."""

    def __init__(
        self,
        queue: ShadowQueue,
        updater: Updater,
        store: SlotStore,
        *,
        start_process: Callable[[ShadowOrder], Process],
        tell: Callable[[Event], None],
        clock: Clock,
        report_every_s: float,
    ) -> None:
        """Join the parts.

        Args:
            queue: of rows that were scored.
            updater: says which bundle is in the shadow, if any.
            store: the slots.
            start_process: starts the process that scores them again.
            tell: reports an event.
            clock: monotonic for pauses, UTC for events.
            report_every_s: pause between reports.
        """
        self._queue = queue
        self._updater = updater
        self._store = store
        self._start_process = start_process
        self._tell = tell
        self._clock = clock
        self._report_every_s = report_every_s
        self._process: Process | None = None
        # What scores in it, and beside what.
        self._pair: tuple[Content, Content] | None = None
        self._order_id = ""
        self._told = ShadowCounts()
        self._told_dropped = 0
        self._compared_before = 0
        self._report_at_s = 0.0
        self._deaths = 0

    def poll(self) -> None:
        """Do what can be done now without waiting.

        Raises:
            OSError: no process can be started now; call again later.
        """
        wanted, counting, record = self._updater.shadows.content, self._updater.scoring, self._updater.record
        order_id = record.order.order_id if record.order is not None else ""
        pair = (wanted, counting) if wanted is not None and counting is not None else None
        if pair != self._pair or order_id != self._order_id:
            self.stop()
            if order_id != self._order_id:
                self._deaths = self._compared_before = 0
            self._pair, self._order_id = pair, order_id
        if pair is None:
            return
        if self._process is None:
            self._start(pair[0])
        elif (reason := self._process.poll()) is not None:
            self._bury(self._process, reason)
        else:
            self._feed(self._process)

    def stop(self) -> None:
        """End the process, and report what it has counted."""
        if self._process is not None:
            self._report(self._process)
            self._process.end()
            self._process = None
        self._queue.close()
        self._pair = None

    def _start(self, wanted: Content) -> None:
        slot = self._updater.record.roles.candidate
        if slot is None:
            return
        order = ShadowOrder(str(self._store.folder(slot)), wanted, self._updater.scoring_features)
        self._process = self._start_process(order)
        self._told, self._told_dropped = ShadowCounts(), self._queue.dropped
        self._report_at_s = self._clock.monotonic_s() + self._report_every_s
        self._queue.open()

    def _feed(self, process: Process) -> None:
        if process.is_ready:
            rows = self._queue.take(MAX_BATCH)
            if rows:
                process.hand(rows)
        limit = self._updater.record.shadow_rows
        if limit and self._compared_before + process.counts.rows >= limit:
            self._report(process)
            self._updater.shadows.end(f"{limit} rows are compared")
        elif self._clock.monotonic_s() >= self._report_at_s:
            self._report(process)
            self._updater.shadows.worked()

    def _bury(self, process: Process, reason: str) -> None:
        self._report(process)
        self._compared_before += process.counts.rows
        self._process = None
        self._queue.close()
        self._deaths += 1
        logger.warning("the shadow: %s", reason)
        # One that cannot be opened will not be opened by trying again.
        if process.counts.error or self._deaths >= MAX_DEATHS:
            self._updater.shadows.end(reason, severity="error")

    def _report(self, process: Process) -> None:
        """Tell what was counted since the last time, if there is anything."""
        self._report_at_s = self._clock.monotonic_s() + self._report_every_s
        now, told = process.counts, self._told
        dropped = self._queue.dropped - self._told_dropped
        rows, refused = now.rows - told.rows, now.refused - told.refused
        if self._pair is None or rows + refused + dropped == 0:
            return
        shadow, counting = self._pair
        report = ShadowReport(
            bundle=shadow.bundle,
            variant=shadow.variant,
            against=counting.bundle,
            rows=rows,
            disagreements=now.disagreements - told.disagreements,
            difference_sum=max(0.0, now.difference_sum - told.difference_sum),
            refused=refused,
            dropped=dropped,
            median_latency_us=now.median_latency_us,
        )
        self._told, self._told_dropped = now, self._queue.dropped
        self._tell(
            Event(
                KIND,
                self._clock.utc_s(),
                "info",
                in_words(report),
                bundle=shadow.bundle,
                order_id=self._order_id or None,
                shadow=report,
            )
        )


def in_words(report: ShadowReport) -> str:
    """Return a report for people."""
    share = f" ({report.disagreements / report.rows:.1%})" if report.rows else ""
    text = f"{report.disagreements} of {report.rows} rows differ from {report.against}{share}"
    if report.difference_sum:
        text += f", mean difference {report.difference_sum / report.rows:.4g}"
    return f"{text}; {report.refused} refused, {report.dropped} not seen, median {report.median_latency_us:.0f} us"
