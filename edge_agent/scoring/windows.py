"""Makes windows and features of raw readings: the same float operations on a device and in training.

Both forms hand `Extractor.features_of` one window at a time, in the same layout, so that their numbers are equal bit
for bit: nothing is carried over from window to window, and no sum is taken in another order. Work is done in float64,
features are rounded to float32 once.

Definitions, for a window x of n readings of a channel:

- ``mean``: sum / n. ``std``: of the population (ddof 0, as ``numpy.std``). ``rms``: sqrt(sum of x² / n), the mean
  included.
- ``min``, ``max``, ``peak_to_peak``: max - min.
- ``zero_crossings``: how often "x > 0" changes from one reading to the next, as ``number_crossing_m(x, 0)`` of
  tsfresh; ``mean_crossings``: the same of "x > mean".
- ``band_energy``: the sum over the band of the one-sided power spectrum of x - mean, untapered, as
  ``scipy.signal.periodogram(x, window="boxcar", detrend="constant", scaling="spectrum")``: the part of the variance
  that lies in the band. Over all frequencies that is std².

A reading is missing where it is NaN, infinite, or beyond float32; `edge_agent.raw_signal.Signal` says what becomes of a
window with missing readings, or with gaps in time. A feature that float32 cannot hold is missing too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.raw_signal import BAND_ENERGY, Signal, bins_of, feature_names, widest_gap_s

_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


class Extractor:
    """Makes the features of one window."""

    def __init__(self, signal: Signal) -> None:
        self.names = feature_names(signal)
        self.size = signal.size
        self.step = signal.step
        self.n_channels = len(signal.channels)
        self._max_missing = signal.max_missing
        self._bands = tuple(bins_of(band, signal) for band in signal.bands)
        # Of each statistic the row in what `_statistics_of` returns; band energies stand at its end.
        rows: list[int] = []
        columns: list[int] = []
        for place, channel in enumerate(signal.channels):
            for statistic in channel.statistics:
                is_band = statistic == BAND_ENERGY
                its = range(len(_ROWS), len(_ROWS) + len(self._bands)) if is_band else [_ROWS.index(statistic)]
                rows += its
                columns += [place] * len(its)
        self._rows, self._columns = np.array(rows), np.array(columns)

    def features_of(self, window: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the features of one window.

        Args:
            window: ``(size, n_channels) float64`` readings, NaN where missing; not changed.

        Returns:
            ``(n_features,) float32``, NaN where missing, in the order of `names`.
        """
        # One layout, whatever the window is cut from: it decides in which order numpy adds.
        readings = np.array(window.T, dtype=np.float64, order="C")
        # Readings count as float32 holds them: a Parquet file of float32 and its numbers as text are one signal.
        with np.errstate(over="ignore"):
            readings = readings.astype(np.float32).astype(np.float64)
        is_missing = ~np.isfinite(readings)
        if is_missing.any():
            _hold(readings, is_missing)
        lacks = is_missing.sum(axis=1) > self._max_missing
        readings[lacks] = 0.0
        values = self._statistics_of(readings)[self._rows, self._columns]
        values[lacks[self._columns] | (np.abs(values) > _FLOAT32_MAX)] = np.nan
        features: NDArray[np.float32] = values.astype(np.float32)
        return features

    def _statistics_of(self, readings: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return every statistic of every channel, ``(len(_ROWS) + n_bands, n_channels)``."""
        n = self.size
        mean = readings.sum(axis=1) / n
        centred = readings - mean[:, np.newaxis]
        low, high = readings.min(axis=1), readings.max(axis=1)
        found = [
            mean,
            np.sqrt((centred * centred).sum(axis=1) / n),
            np.sqrt((readings * readings).sum(axis=1) / n),
            low,
            high,
            high - low,
            _changes(readings > 0),
            _changes(readings > mean[:, np.newaxis]),
        ]
        if self._bands:
            power = _power_of(centred)
            found += [power[:, bins.start : bins.stop].sum(axis=1) for bins in self._bands]
        return np.stack(found)


# The order of `Extractor._statistics_of`.
_ROWS: Final = ("mean", "std", "rms", "min", "max", "peak_to_peak", "zero_crossings", "mean_crossings")


def _hold(readings: NDArray[np.float64], is_missing: NDArray[np.bool_]) -> None:
    """Give missing readings, ``(n_channels, size)``, the value before them; those at the begin the first there is."""
    for channel, absent in zip(readings, is_missing, strict=True):
        present = np.flatnonzero(~absent)
        if present.size:
            before = np.searchsorted(present, np.arange(len(channel)), side="right") - 1
            channel[:] = channel[present[np.maximum(before, 0)]]


def _changes(is_above: NDArray[np.bool_]) -> NDArray[np.float64]:
    changes: NDArray[np.float64] = np.count_nonzero(is_above[:, 1:] != is_above[:, :-1], axis=1).astype(np.float64)
    return changes


def _power_of(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the one-sided power spectrum, ``(n_channels, size // 2 + 1)``."""
    n = centred.shape[1]
    spectrum = np.fft.rfft(centred, axis=1)
    power: NDArray[np.float64] = (spectrum.real * spectrum.real + spectrum.imag * spectrum.imag) / (float(n) * n)
    # Each frequency but 0, and but half the rate, has a twin among the negative ones.
    power[:, 1 : (n + 1) // 2] *= 2.0
    return power


class WindowStream:
    """Makes the features of a window as soon as its last reading is there."""

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self._readings = np.empty((extractor.size, extractor.n_channels))
        self._filled = 0

    def push(self, reading: Sequence[float], *, is_break: bool) -> NDArray[np.float32] | None:
        """Take the next reading.

        Args:
            reading: ``(n_channels,)``, NaN where missing.
            is_break: no window holds it together with the one before it.

        Returns:
            Features of the window that it ends, ``(n_features,) float32``; None when it ends none.
        """
        if is_break:
            self._filled = 0
        size, step = self._extractor.size, self._extractor.step
        self._readings[self._filled] = reading
        self._filled += 1
        if self._filled < size:
            return None
        features = self._extractor.features_of(self._readings)
        self._readings[: size - step] = self._readings[step:].copy()
        self._filled = size - step
        return features


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """The windows of a recording.

    Attributes:
        features: ``(n_windows, n_features) float32``, NaN where missing.
        first: ``(n_windows,) int64``: the place of each window's first reading.
    """

    features: NDArray[np.float32]
    first: NDArray[np.int64]


def windows_of(extractor: Extractor, readings: NDArray[np.float64], is_break: NDArray[np.bool_]) -> Windows:
    """Return what a stream would make of a whole recording.

    Args:
        extractor: makes the features.
        readings: ``(n_readings, n_channels) float64``, NaN where missing.
        is_break: ``(n_readings,)``: no window holds this reading together with the one before it.
    """
    begins = np.flatnonzero(is_break).tolist()
    if not begins or begins[0] != 0:
        begins.insert(0, 0)
    first: list[int] = []
    for begin, end in zip(begins, [*begins[1:], len(readings)], strict=True):
        first += range(begin, end - extractor.size + 1, extractor.step)
    features = np.empty((len(first), len(extractor.names)), dtype=np.float32)
    for place, begin in enumerate(first):
        features[place] = extractor.features_of(readings[begin : begin + extractor.size])
    return Windows(features, np.array(first, dtype=np.int64))


def follows(previous_s: float, time_s: float, gap_s: float) -> bool:
    """Tell whether a reading at ``time_s`` follows the one at ``previous_s`` without a gap; NaN is no time."""
    return 0.0 < time_s - previous_s <= gap_s


def breaks_in(times_s: NDArray[np.float64], signal: Signal) -> NDArray[np.bool_]:
    """Return which readings do not follow the one before them, ``(n_readings,)``: `follows` of a whole recording."""
    breaks = np.ones(len(times_s), dtype=np.bool_)
    with np.errstate(invalid="ignore"):
        distance = times_s[1:] - times_s[:-1]
    breaks[1:] = ~((distance > 0.0) & (distance <= widest_gap_s(signal)))
    return breaks
