"""Turns a source of whole windows of raw readings into a source of feature rows, one a window.

Where readings come one by one, `edge_agent.sensing.windowed` cuts the windows. Here somebody else has cut them: a
client that asks about a window and waits for its answer. So there are no gaps to find, and no readings to keep.
"""

import numpy as np

from edge_agent.raw_signal import Signal
from edge_agent.scoring.schema import Unreadable
from edge_agent.scoring.windows import Extractor
from edge_agent.sensing.source import Source, SourceRow


class GivenWindows:
    """Features of windows that another source gives whole; implements `edge_agent.sensing.source.Source`."""

    def __init__(self, windows: Source, signal: Signal) -> None:
        """Take the rows of ``windows``, which belongs to this now.

        Args:
            windows: its rows are ``(size * n_channels,)`` readings, all channels of one time side by side.
            signal: how they become features.
        """
        self._windows = windows
        self._extractor = Extractor(signal)
        self._shape = (signal.size, len(signal.channels))

    @property
    def at_end(self) -> bool:
        """Whether no window will ever come again."""
        return self._windows.at_end

    def next_row(self, timeout_s: float) -> SourceRow | None:
        """Return the features of the next window; see `Source.next_row`."""
        row = self._windows.next_row(timeout_s)
        return None if row is None else self._features_of(row)

    def ready_rows(self, limit: int) -> list[SourceRow]:
        """Return the features of the windows that wait; see `Source.ready_rows`."""
        return [self._features_of(row) for row in self._windows.ready_rows(limit)]

    def close(self) -> None:
        """End it."""
        self._windows.close()

    def _features_of(self, row: SourceRow) -> SourceRow:
        # One that was accepted for a bundle of another window, or of plain rows, is no window of this one.
        if len(row.values) != self._shape[0] * self._shape[1]:
            return SourceRow(row.number, Unreadable())
        # None becomes NaN: a missing reading.
        window = np.array(row.values, dtype=np.float64).reshape(self._shape)
        return SourceRow(row.number, self._extractor.features_of(window).tolist())
