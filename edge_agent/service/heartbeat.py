"""Decides when the service manager hears that the agent lives: only while scoring *and* housekeeping go round.

The housekeeping thread beats, which proves itself; it says so only if the scoring thread has gone round since the last
time. A thread that hangs, whichever it is, ends the beats, and the manager's watchdog ends the process.
"""

from collections.abc import Callable
from typing import Final

from edge_agent.clock import Clock
from edge_agent.service.notify import Notifier

# Of the watchdog's time, so much may pass between two beats: three may be lost.
SHARE: Final = 0.25
# Without a watchdog, how often the status is told anew.
PLAIN_S: Final = 15.0


class Heartbeat:
    """The life of one agent, as the manager hears it; used by one thread."""

    def __init__(
        self,
        notifier: Notifier,
        clock: Clock,
        watchdog_s: float | None,
        *,
        rounds: Callable[[], int],
        text: Callable[[], str],
    ) -> None:
        """Join the parts; nothing is told before the first `beat`.

        Args:
            notifier: the way to the manager.
            clock: monotonic, between beats.
            watchdog_s: silence after which the manager ends the process; None: it does not.
            rounds: tells how often the scoring thread has gone round.
            text: says in a line what the agent does.
        """
        self._notifier = notifier
        self._clock = clock
        self._every_s = PLAIN_S if watchdog_s is None else watchdog_s * SHARE
        self._rounds = rounds
        self._text = text
        self._is_ready = False
        self._seen = 0
        self._due_s = 0.0

    def beat(self) -> None:
        """Tell the manager, if it is time and scoring goes on; called in every round of housekeeping."""
        now_s = self._clock.monotonic_s()
        if self._is_ready and now_s < self._due_s:
            return
        rounds = self._rounds()
        if rounds == self._seen:
            return
        self._seen = rounds
        self._due_s = now_s + self._every_s
        if not self._is_ready:
            self._is_ready = True
            self._notifier.ready(self._text())
        self._notifier.alive(self._text())
