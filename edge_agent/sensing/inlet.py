"""Where a live source's rows wait for the scoring thread: numbered, kept on the disk, never more than a bound.

Producers (threads of a server, a client, a sensor) hand rows in; the scoring thread takes them without a lock. A row is
opaque here: it is decoded when it is taken, for the features that the bundle takes then, so a bundle that takes over
finds the rows that waited for the last one.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from edge_agent.scoring.schema import RawRow
from edge_agent.sensing.journal import ROWS_PER_FILE, Journal
from edge_agent.sensing.source import SourceRow

logger = logging.getLogger(__name__)

# How soon a producer that waits for room sees it.
_LOOK_S: Final = 0.005

Decode = Callable[[bytes, Sequence[str]], RawRow]


class Inlet:
    """The one entrance of a live source; it outlives the sources that are opened on it.

    Attributes:
        taken_in: rows that were accepted.
        turned_away: rows that were refused because too many waited.
        unkept: rows that were accepted while the disk refused: after a cut they are not counted.
    """

    def __init__(self, journal: Journal, decode: Decode, cursor: int, max_waiting_rows: int) -> None:
        """Begin with what the journal kept.

        Args:
            journal: gives numbers, and keeps rows until they are counted.
            decode: makes a row of a payload; what it cannot take apart it returns as `Unreadable`.
            cursor: number of the first row that is not yet counted.
            max_waiting_rows: bound of what waits for the scoring thread.
        """
        self.taken_in = 0
        self.turned_away = 0
        self.unkept = 0
        self._journal = journal
        self._kept = journal.replay(cursor)
        self._decode = decode
        self._max_waiting = min(max_waiting_rows, ROWS_PER_FILE)
        self._waiting: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
        # Each is written by one side alone: the producers behind their lock, and the scoring thread.
        self._put = 0
        self._taken = 0
        self._producing = threading.Lock()
        self._closed = threading.Event()
        self._is_over = False
        self._is_disk_refusing = False

    @property
    def n_waiting(self) -> int:
        """Rows that were accepted and not yet taken."""
        return self._put - self._taken

    @property
    def max_rows(self) -> int:
        """Most rows that can ever be offered together."""
        return self._max_waiting

    # --- producers ---------------------------------------------------------------------------------------------------

    def offer(
        self, payloads: Sequence[bytes], timeout_s: float = 0.0, tell: Callable[[range], None] | None = None
    ) -> range | None:
        """Accept rows together, or none of them; wait for room at most ``timeout_s``.

        When this returns numbers, the rows are kept as the journal keeps them: now they may be acknowledged.

        Args:
            payloads: `max_rows` at most.
            timeout_s: how long the caller can wait.
            tell: called with their numbers before the scoring thread can see the rows.

        Returns:
            Their numbers; None where there was no room, or the inlet is closed.
        """
        waited_s = 0.0
        while not self._closed.is_set():
            with self._producing:
                if self.n_waiting + len(payloads) <= self._max_waiting and not self._closed.is_set():
                    return self._accept(payloads, tell)
            if waited_s >= timeout_s or len(payloads) > self._max_waiting:
                break
            self._closed.wait(_LOOK_S)
            waited_s += _LOOK_S
        return None

    def turn_away(self, n_rows: int, why: str) -> None:
        """Count rows that were refused, and say so when their number has doubled."""
        with self._producing:
            before = self.turned_away
            self.turned_away += n_rows
            if self.turned_away.bit_length() > before.bit_length():
                logger.warning("%d rows were turned away so far: %s", self.turned_away, why)

    def finish(self) -> None:
        """Say that no row will come any more."""
        self._is_over = True
        self._waiting.put(None)

    def close(self) -> None:
        """Accept nothing any more, and close the journal."""
        self._closed.set()
        self._waiting.put(None)
        with self._producing:
            self._journal.close()

    def _accept(self, payloads: Sequence[bytes], tell: Callable[[range], None] | None) -> range:
        try:
            numbers = self._journal.append(payloads)
        except OSError as error:
            # Scoring does not stop for the disk.
            numbers = self._journal.pass_over(len(payloads))
            self.unkept += len(payloads)
            level = logging.DEBUG if self._is_disk_refusing else logging.ERROR
            logger.log(level, "rows cannot be kept now, a cut would lose their count: %s", error)
            self._is_disk_refusing = True
        else:
            self._is_disk_refusing = False
        if tell is not None:
            tell(numbers)
        self.taken_in += len(payloads)
        self._put += len(payloads)
        for number, payload in zip(numbers, payloads, strict=True):
            self._waiting.put((number, payload))
        return numbers

    # --- the scoring thread ------------------------------------------------------------------------------------------

    def open(self, features: Sequence[str], cursor: int) -> "InletSource":
        """Open a source of these features, from row number ``cursor`` on."""
        return InletSource(self, tuple(features), cursor)

    def take(self, features: Sequence[str], cursor: int, timeout_s: float) -> SourceRow | None:
        """Return the next row from number ``cursor`` on; None when none came in time."""
        while True:
            kept = next(self._kept, None)
            if kept is None:
                try:
                    kept = self._waiting.get(timeout=timeout_s) if timeout_s > 0 else self._waiting.get_nowait()
                except queue.Empty:
                    return None
                if kept is None:
                    return None
                self._taken += 1
            number, payload = kept
            if number >= cursor:
                return SourceRow(number, self._decode(payload, features))

    @property
    def is_over(self) -> bool:
        """Whether every row was taken and none will come."""
        return self._is_over and self.n_waiting == 0

    def wake(self) -> None:
        """End a `take` that waits; any thread."""
        self._waiting.put(None)


class InletSource:
    """What a bundle sees of an inlet; implements `edge_agent.sensing.source.Source`."""

    def __init__(self, inlet: Inlet, features: tuple[str, ...], cursor: int) -> None:
        self._inlet = inlet
        self._features = features
        self._cursor = cursor
        self._is_closed = False

    @property
    def at_end(self) -> bool:
        """Whether no row will ever come again: seldom, of a live source."""
        return self._is_closed or self._inlet.is_over

    def next_row(self, timeout_s: float) -> SourceRow | None:
        """Return the next row; see `Source.next_row`."""
        return None if self._is_closed else self._inlet.take(self._features, self._cursor, timeout_s)

    def ready_rows(self, limit: int) -> list[SourceRow]:
        """Return the rows that wait, ``limit`` at most; see `Source.ready_rows`."""
        return list(islice(iter(lambda: self.next_row(0.0), None), limit))

    def close(self) -> None:
        """End it; the rows that wait are there for the next one."""
        self._is_closed = True
        self._inlet.wake()
