"""Sends the spool's records in order, and gives them up only when the receiver says that it stored them.

A broker's acknowledgement is not storage: its queues overflow, and it dies. So a record counts as under way until a
mark covers it; without progress everything after the mark is sent again.

`step` does a small piece of work and returns; one housekeeping thread calls it again and again. `on_link` and
`on_stored` only leave a word for it, so that the network's thread never waits for the disk.
"""

import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Final

from broker.errors import LinkError
from broker.messages import Stored
from broker.topics import Channel
from edge_agent.clock import Clock
from edge_agent.telemetry.spool import Spool

IN_FLIGHT: Final = 32
BATCH: Final = 8
MAX_BACKOFF: Final = 16

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
        """
        self._spool = spool
        self._publish = publish
        self._clock = clock
        self._rng = rng
        self._resend_after_s = resend_after_s
        self._in_flight = in_flight
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
        if self._sent_through >= self._spool.last_sequence:
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

    def _start_over(self, now_s: float) -> None:
        self._resend_at_s = float("inf")
        if self._spool.waiting_through(self._sent_through):
            _log.debug("nothing stored for %.0f s; sending again", self._resend_after_s * self._backoff)
            self.resends += 1
            self._backoff = min(self._backoff * 2, MAX_BACKOFF)
            self._sent_through = 0
            self._resend_at_s = self._deadline(now_s)

    def _send(self, limit: int, now_s: float) -> int:
        sent = 0
        for record in self._spool.peek(limit, self._sent_through):
            try:
                self._publish(record.channel, record.payload())
            except LinkError as error:
                _log.debug("record %d waits: %s", record.key.sequence, error)
                break
            self._sent_through = record.key.sequence
            sent += 1
        if sent and self._resend_at_s == float("inf"):
            self._resend_at_s = self._deadline(now_s)
        self.sent += sent
        return sent

    def _deadline(self, now_s: float) -> float:
        """Return when to send again: spread by a quarter, so that a fleet does not do it all at once."""
        return now_s + self._resend_after_s * self._backoff * (1.0 + 0.25 * self._rng.random())
