"""What the scoring thread hands to housekeeping: windows to make durable, answers to send. Bounded, and never waits."""

import queue
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

from broker.messages import Samples, TelemetryWindow

MAX_WINDOWS: Final = 64


class Chosen(Protocol):
    """What a sampler chose of a window, as `edge_agent.telemetry.sampler.Chosen`."""

    def samples(self) -> tuple[Samples, ...]:
        """Write down the rows that were chosen."""
        ...

    def state(self) -> bytes:
        """Write down what the sampler must not forget."""
        ...


class ClosedWindow:
    """A window that ended, and what becomes durable with it.

    What takes long to write down is written down by whoever asks for it first: the thread that takes the window.

    Attributes:
        cursor: number of the first source row after it.
    """

    __slots__ = ("_chosen", "_kept", "_samples", "_window", "cursor")

    def __init__(
        self, window: TelemetryWindow | Callable[[], TelemetryWindow], chosen: Chosen, cursor: int, kept: object = None
    ) -> None:
        """Take a window or what builds it, and what was chosen of it; ``kept`` is let go of by whoever takes this."""
        self._window = window
        self._chosen = chosen
        self._samples: tuple[Samples, ...] | None = None
        self.cursor = cursor
        self._kept = kept

    @property
    def window(self) -> TelemetryWindow:
        """The window."""
        if not isinstance(self._window, TelemetryWindow):
            self._window = self._window()
        return self._window

    @property
    def samples(self) -> tuple[Samples, ...]:
        """The rows of it that were chosen."""
        if self._samples is None:
            self._samples = self._chosen.samples()
        return self._samples

    @property
    def sampler_state(self) -> bytes:
        """What the sampler must not forget."""
        return self._chosen.state()


class Answer(Struct, frozen=True):
    """What came of an order that the scoring thread carried out; durable first, if it changed the sampler."""

    command_id: str
    accepted: bool
    reason: str = ""
    scores: tuple[float, ...] = ()
    sampler_state: bytes | None = None


Item = ClosedWindow | Answer


class Handover:
    """A queue from one thread to one other."""

    def __init__(self, max_windows: int = MAX_WINDOWS) -> None:
        """Take at most ``max_windows`` before `has_room` says no."""
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._max_windows = max_windows
        # Each is written by one thread alone.
        self._put = 0
        self._done = 0

    @property
    def has_room(self) -> bool:
        """Whether another window should be closed now, or had better go on growing."""
        return self._put - self._done < self._max_windows

    @property
    def is_durable(self) -> bool:
        """Whether every window that was ever handed over is durable; a wake-up that waits is none."""
        return self._put == self._done

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be taken."""
        return self._queue.empty()

    def put(self, item: Item) -> None:
        """Hand an item over; what must not wait (a switch, the end) may do so over the bound."""
        if isinstance(item, ClosedWindow):
            self._put += 1
        self._queue.put(item)

    def wake(self) -> None:
        """End a `take` that waits; any thread."""
        self._queue.put(None)

    def take(self, timeout_s: float) -> list[Item]:
        """Return what is there, in order; wait for the first item at most ``timeout_s``."""
        items: list[Item] = []
        try:
            first = self._queue.get(timeout=timeout_s) if timeout_s > 0 else self._queue.get_nowait()
            items += [first] if first is not None else []
            while True:
                item = self._queue.get_nowait()
                items += [item] if item is not None else []
        except queue.Empty:
            return items

    def done(self, windows: int) -> None:
        """Say that so many windows are durable: there is room for as many again."""
        self._done += windows
