"""Sends the spool's records in order, and gives them up only when the receiver says that it stored them.

A broker's acknowledgement is not storage: its queues overflow, and it dies. So a record counts as under way until a
mark covers it; without progress everything after the mark is sent again.

Windows that follow each other go as one pack (`broker.packs`): around its payload a message costs nearly as many bytes
as a window. So a slow window waits for company, for a few times its own length at most; what else there is to send, a
new link, and `flush` let nothing wait.

`step` does a small piece of work and returns; one housekeeping thread calls it again and again. `on_link` and
`on_stored` only leave a word for it, so that the network's thread never waits for the disk.
"""

import itertools
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from broker.errors import LinkError, WireError
from broker.messages import Stored, TelemetryWindow, parse_as
from broker.packs import MAX_WINDOWS, pack_payloads
from broker.topics import Channel
from edge_agent.clock import Clock
from edge_agent.telemetry.spool import Spool, SpoolRecord

IN_FLIGHT: Final = 32
BATCH: Final = 8
MAX_BACKOFF: Final = 16
# Shorter windows are not held back: where they come so often, somebody wants to see them soon.
HELD_FROM_S: Final = 10.0
# Longer than any window is; a clock that jumped makes some look so.
HELD_AT_MOST_S: Final = 3600.0

_log = logging.getLogger(__name__)


class Forwarder:
    """Empties one spool over one link; `step` belongs to one thread."""

    def __init__(
        self,
        spool: Spool,
        publish: Callable[[Channel, bytes], None],
        clock: Clock,
        rng: random.Random,
        *,
        resend_after_s: float = 15.0,
        in_flight: int = IN_FLIGHT,
        together: int = 1,
    ) -> None:
        """Wire it; nothing is sent before the first `step` with a link.

        Args:
            spool: what is sent.
            publish: hands a payload to the link without waiting; raises LinkError when the link does not take it.
            clock: tells when there was no progress for too long.
            rng: spreads the resending of many devices.
            resend_after_s: time without progress after which everything after the mark is sent again; it doubles,
                up to `MAX_BACKOFF` times, while nothing comes back, and starts over with each new link or progress.
            in_flight: records under way at most.
            together: windows of `HELD_FROM_S` and more wait until they are so many, each for so many times its own
                length at most; 1: nothing waits.
        """
        self._spool = spool
        self._publish = publish
        self._clock = clock
        self._rng = rng
        self._resend_after_s = resend_after_s
        self._in_flight = in_flight
        self._together = min(together, BATCH, MAX_WINDOWS)
        # What was there when it was decided whether to wait, the first record that waits, and until when.
        self._looked_through = 0
        self._held_from = 0
        self._held_until_s = 0.0
        self._is_flushing = False
        # Words from the network's thread; deques need no lock.
        self._marks: deque[Stored] = deque(maxlen=64)
        self._links: deque[bool] = deque(maxlen=64)
        self._is_up = False
        self._sent_through = 0
        self._backoff = 1
        self._resend_at_s = float("inf")
        self.sent = 0
        self.resends = 0

    def on_link(self, is_up: bool) -> None:  # noqa: FBT001 - the link's own word, as its listener gets it
        """Take the word that the link is up or down; any thread."""
        self._links.append(is_up)

    def on_stored(self, mark: Stored) -> None:
        """Take the receiver's mark; any thread."""
        self._marks.append(mark)

    def flush(self) -> None:
        """Let nothing wait for company from now on; any thread."""
        self._is_flushing = True

    def step(self) -> int:
        """Release what is stored, send what is due, and return how many records were sent.

        Raises:
            SpoolError: the spool refuses; the next step tries again.
        """
        self._heed_marks()
        self._heed_link()
        if not self._is_up:
            return 0
        now_s = self._clock.monotonic_s()
        if now_s >= self._resend_at_s:
            self._start_over(now_s)
        if self._sent_through >= self._spool.last_sequence or self._is_holding_back(now_s):
            return 0
        room = self._in_flight - self._spool.waiting_through(self._sent_through)
        return self._send(min(room, BATCH), now_s) if room > 0 else 0

    def _heed_marks(self) -> None:
        while self._marks:
            mark = self._marks[0]
            epoch = self._spool.epoch
            released = self._spool.release_through(mark.epoch, mark.sequence)
            # Taken off only now: a disk that refuses must not lose the mark.
            self._marks.popleft()
            if self._spool.epoch != epoch:
                self._sent_through = 0
            if released:
                self._backoff = 1
                is_done = self._spool.waiting_through(self._sent_through) == 0
                self._resend_at_s = float("inf") if is_done else self._deadline(self._clock.monotonic_s())

    def _heed_link(self) -> None:
        while self._links:
            self._is_up = self._links.popleft()
            # What was under way may be lost with the link; who stored it drops what comes twice.
            self._sent_through = 0
            self._backoff = 1
            self._resend_at_s = float("inf")
            self._hold_nothing()

    def _start_over(self, now_s: float) -> None:
        self._resend_at_s = float("inf")
        if self._spool.waiting_through(self._sent_through):
            _log.debug("nothing stored for %.0f s; sending again", self._resend_after_s * self._backoff)
            self.resends += 1
            self._backoff = min(self._backoff * 2, MAX_BACKOFF)
            self._sent_through = 0
            self._hold_nothing()
            self._resend_at_s = self._deadline(now_s)

    def _is_holding_back(self, now_s: float) -> bool:
        """Tell whether all that is unsent are a few slow windows, which have not waited for long."""
        if self._is_flushing or self._together == 1:
            return False
        last = self._spool.last_sequence
        if last != self._looked_through:
            self._looked_through = last
            unsent = self._spool.look(self._together, self._sent_through)
            length_s = _length_s(unsent[0]) if unsent else 0.0
            is_worth_it = (
                len(unsent) < self._together
                and all(record.channel is Channel.TELEMETRY for record in unsent)
                and HELD_FROM_S <= length_s <= HELD_AT_MOST_S
            )
            if not is_worth_it:
                self._held_until_s = 0.0
            elif unsent[0].key.sequence != self._held_from:
                self._held_from = unsent[0].key.sequence
                self._held_until_s = now_s + length_s * self._together
        return now_s < self._held_until_s

    def _hold_nothing(self) -> None:
        """Let go what is there now; what comes may wait again."""
        self._looked_through = self._spool.last_sequence
        self._held_until_s = 0.0

    def _send(self, limit: int, now_s: float) -> int:
        sent = 0
        for records, payload in _messages_of(self._spool.peek(limit, self._sent_through)):
            try:
                self._publish(records[0].channel, payload)
            except LinkError as error:
                _log.debug("record %d waits: %s", records[0].key.sequence, error)
                break
            self._sent_through = records[-1].key.sequence
            sent += len(records)
        if sent and self._resend_at_s == float("inf"):
            self._resend_at_s = self._deadline(now_s)
        self.sent += sent
        return sent

    def _deadline(self, now_s: float) -> float:
        """Return when to send again: spread by a quarter, so that a fleet does not do it all at once."""
        return now_s + self._resend_after_s * self._backoff * (1.0 + 0.25 * self._rng.random())


def _messages_of(records: Sequence[SpoolRecord]) -> Iterator[tuple[Sequence[SpoolRecord], bytes]]:
    """Yield what goes into one message, and its payload; windows that follow each other go together."""
    for is_telemetry, group in itertools.groupby(records, lambda record: record.channel is Channel.TELEMETRY):
        if is_telemetry:
            yield from _packs_of(list(group))
        else:
            for record in group:
                yield (record,), record.payload()


def _packs_of(run: Sequence[SpoolRecord]) -> Iterator[tuple[Sequence[SpoolRecord], bytes]]:
    """Yield windows in one pack, or in two of half the size where that is too much for one, down to none at all."""
    try:
        yield run, pack_payloads([record.payload() for record in run])
    except WireError as error:
        _log.debug("%d windows do not go into one pack: %s", len(run), error)
        if len(run) == 1:
            yield run, run[0].payload()
        else:
            middle = len(run) // 2
            yield from _packs_of(run[:middle])
            yield from _packs_of(run[middle:])


def _length_s(record: SpoolRecord) -> float:
    if record.channel is not Channel.TELEMETRY:
        return 0.0
    window = parse_as(TelemetryWindow, record.channel, record.payload())
    return window.ended_utc_s - window.started_utc_s
