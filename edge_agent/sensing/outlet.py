"""Carries answers to where they are wanted at once: a bounded queue, and a thread that hands them over.

For sinks that are no file: standard output, a topic, the user's own code. While answers are taken, but slower than they
come, there is no room, and the source is not read. Where scoring goes on nevertheless, because nobody takes any, newer
answers push the oldest out, and these are counted.
"""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from broker.messages import BundleRef
from edge_agent.errors import RowError
from edge_agent.scoring.scorer import Prediction
from edge_agent.sensing.answers import Answer, answer_of
from edge_agent.surprises import Surprises

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 10_000
MAX_TOGETHER: Final = 256

# After a failure, so long nothing is tried.
_REST_S: Final = 0.5
_LOOK_S: Final = 0.01
# Longest wait of `flush` for what is on its way.
_FLUSH_S: Final = 1.0
_CLOSE_S: Final = 0.5


class Carrier(Protocol):
    """Hands answers to whoever wants them; belongs to the outlet's thread."""

    def send(self, answers: Sequence[Answer]) -> int:
        """Hand over the first answers, in their order, in a short time; return how many were taken.

        Raises:
            OSError: none was taken; they are offered again.
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class Outlet:
    """One carrier's queue and thread; implements `edge_agent.sensing.sink.Sink`.

    Attributes:
        lost: answers that were pushed out by newer ones, or that the carrier broke on.
    """

    def __init__(self, carrier: Carrier, name: str, max_waiting: int = MAX_WAITING) -> None:
        """Start the thread; ``name`` stands in what is logged."""
        self.lost = 0
        self._carrier = carrier
        self._name = name
        self._max_waiting = max_waiting
        # One side appends, the other takes off; the appending side may drop the oldest.
        self._waiting: deque[Answer] = deque()
        # What the thread took off and the carrier did not yet take.
        self._in_hand: list[Answer] = []
        self._there_is_more = threading.Event()
        self._closing = threading.Event()
        self._is_failing = False
        self._waited_in_vain = False
        self._surprises = Surprises(logger)
        self._thread = threading.Thread(target=self._run, name=f"outlet-{name}", daemon=True)
        self._thread.start()

    @property
    def has_room(self) -> bool:
        """Whether less than half of what may wait does; see `Sink.has_room`."""
        return len(self._waiting) < self._max_waiting // 2

    def write(self, prediction_id: str, row: int, at_utc_s: float, bundle: BundleRef, prediction: Prediction) -> None:
        """Take one answer; see `Sink.write`."""
        self._waiting.append(answer_of(prediction_id, row, at_utc_s, bundle, prediction))
        if len(self._waiting) > self._max_waiting:
            # The thread may empty it in between.
            with contextlib.suppress(IndexError):
                self._waiting.popleft()
                self.lost += 1
        if not self._there_is_more.is_set():
            self._there_is_more.set()

    def refuse(self, row: int, error: RowError) -> None:
        """Let it be: a refused row has no answer."""

    def flush(self) -> None:
        """Wait a moment until everything is handed over; see `Sink.flush`."""
        waited_s = 0.0
        while self._waiting or self._in_hand:
            # One flush waits for a carrier that fails, the next ones know better.
            if waited_s >= _FLUSH_S or (self._is_failing and self._waited_in_vain):
                self._waited_in_vain = True
                raise OSError(f"{self._name}: {len(self._waiting) + len(self._in_hand)} answers are not taken yet")
            self._closing.wait(_LOOK_S)
            waited_s += _LOOK_S
        self._waited_in_vain = False

    def close(self) -> None:
        """Hand over what is there, for a moment, and end; see `Sink.close`."""
        self._closing.set()
        self._there_is_more.set()
        self._thread.join(_CLOSE_S)
        if self._waiting or self._in_hand:
            logger.error("%s: the last answers were not taken", self._name)
        self._carrier.close()

    def _run(self) -> None:
        while True:
            self._there_is_more.wait()
            self._there_is_more.clear()
            while self._waiting or self._in_hand:
                if not self._hand_over() and self._closing.wait(_REST_S):
                    return
            if self._closing.is_set():
                return

    def _hand_over(self) -> bool:
        """Offer the oldest answers to the carrier; return whether it took any."""
        # Only `write` drops, and it may have been quicker.
        with contextlib.suppress(IndexError):
            while len(self._in_hand) < MAX_TOGETHER:
                self._in_hand.append(self._waiting.popleft())
        try:
            taken = self._carrier.send(self._in_hand)
        except OSError as error:
            level = logging.DEBUG if self._is_failing else logging.WARNING
            logger.log(level, "%s takes no answers now, they wait: %s", self._name, error)
            self._is_failing = True
            return False
        except Exception as error:  # noqa: BLE001 - code of the user: it is told, and the next answers are offered
            self._surprises.tell(f"handing answers to {self._name}", error)
            # It is the first that it broke on.
            taken = 1
            self.lost += 1
        self._is_failing = False
        del self._in_hand[:taken]
        return taken > 0
