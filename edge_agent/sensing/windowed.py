"""Turns a source of raw readings into a source of feature rows, one a window."""

import logging
import math
from collections import deque
from typing import Final

from edge_agent.clock import Clock
from edge_agent.raw_signal import Signal, columns_of, widest_gap_s
from edge_agent.scoring.schema import RawRow, RawValue
from edge_agent.scoring.windows import Extractor, WindowStream, follows
from edge_agent.sensing.source import Source, SourceRow, take_ready

logger = logging.getLogger(__name__)

_NAN: Final = math.nan
# Of windows' worth of readings without a window: something is wrong with their times then.
_SUSPICIOUS: Final = 10
# Of readings that are there, so many are taken at once: between two calls the agent heeds orders and a stop.
_MOST_READINGS: Final = 4096


class Windowed:
    """Windows over the readings of another source; implements `edge_agent.sensing.source.Source`.

    The number of a row is that of the last reading which no later window needs: the one before the reading at which the
    next window begins. So the number after it, the cursor, is where the next window begins, and a source that is opened
    there gives the same windows again. What a window that is not full yet has taken is read again after a restart.

    A value that is no number is a missing reading, and so is every value of a reading that the source could not take
    apart: of a signal, no single reading can be refused.
    """

    def __init__(self, readings: Source, signal: Signal, clock: Clock) -> None:
        """Take the readings of ``readings``, which gives the columns that `columns_of` names, and belongs to this now.

        Args:
            readings: opened at the cursor.
            signal: how they become windows.
            clock: bounds how long readings are taken while no window ends.
        """
        self._readings = readings
        self._clock = clock
        self._stream = WindowStream(Extractor(signal))
        self._size, self._step = signal.size, signal.step
        self._n_channels, self._n_columns = len(signal.channels), len(columns_of(signal))
        self._gap_s = widest_gap_s(signal)
        self._has_time = signal.time is not None
        self._time_s = _NAN
        self._n_without_window = 0
        # Of the readings in the window that fills; a break leaves the older ones of no use, and they fall out.
        self._numbers: deque[int] = deque(maxlen=signal.size)

    @property
    def at_end(self) -> bool:
        """Whether no window will ever end again."""
        return self._readings.at_end

    def next_row(self, timeout_s: float) -> SourceRow | None:
        """Return the features of the next window; see `Source.next_row`."""
        ends_s = self._clock.monotonic_s() + timeout_s
        left_s = timeout_s
        n_taken = 0
        # What is there is taken even when the time is over; but no more than a window of it.
        while left_s > 0 or n_taken < self._size:
            reading = self._readings.next_row(left_s)
            if reading is None:
                return None
            n_taken += 1
            if (row := self._take(reading)) is not None:
                return row
            left_s = max(0.0, ends_s - self._clock.monotonic_s())
        return None

    def ready_rows(self, limit: int) -> list[SourceRow]:
        """Return windows whose readings are there; see `Source.ready_rows`."""
        return take_ready(self, min(limit, max(1, _MOST_READINGS // self._step)))

    def close(self) -> None:
        """End it."""
        self._readings.close()

    def _take(self, reading: SourceRow) -> SourceRow | None:
        values = self._values_of(reading.values)
        is_break = self._has_time and not follows(self._time_s, values[-1], self._gap_s)
        self._time_s = values[-1]
        self._numbers.append(reading.number)
        features = self._stream.push(values[: self._n_channels], is_break=is_break)
        if features is None:
            self._n_without_window += 1
            if self._n_without_window == _SUSPICIOUS * self._size:
                self._tell_no_window(reading)
            return None
        self._n_without_window = 0
        return SourceRow(self._numbers[self._step - 1], features.tolist())

    def _tell_no_window(self, reading: SourceRow) -> None:
        logger.warning(
            "%d readings gave no window of %d: between them are gaps of more than %g s, or they have no time; "
            "the time must be a number of seconds that grows, and is %r in the last one",
            self._n_without_window,
            self._size,
            self._gap_s,
            reading.values[-1] if len(reading.values) == self._n_columns else None,
        )

    def _values_of(self, raw: RawRow) -> list[float]:
        if len(raw) != self._n_columns:
            return [_NAN] * self._n_columns
        return [value if type(value) is float else _number(value) for value in raw]


def _number(value: RawValue) -> float:
    """Return a reading as a number, NaN where it is none."""
    # As a row's features are read: Python takes 1_000 for a number, and True for 1.
    if value is None or isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return _NAN
    try:
        return float(value)
    except (ValueError, OverflowError):
        return _NAN
