"""Declares how raw readings at a rate become windows and features: a manifest's section ``signal``.

This module says which features there are, what they are called, and what contradicts itself; the numbers are made by
`edge_agent.scoring.windows`, on devices and in training alike. It needs no numpy: every device reads manifests.
"""

from bisect import bisect_left
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

MAX_CHANNELS: Final = 64
# Of all channels together in one window: 4 MiB as it is kept, and as much again while features are made.
MAX_WINDOW_READINGS: Final = 1 << 19
MAX_RATE_HZ: Final = 1e6
MAX_GAP_S: Final = 1e6

ChannelName = Annotated[str, Meta(min_length=1, max_length=64)]
Hertz = Annotated[float, Meta(ge=0, le=MAX_RATE_HZ)]
Statistic = Literal[
    "mean", "std", "rms", "min", "max", "peak_to_peak", "zero_crossings", "mean_crossings", "band_energy"
]
# They count; the others have the unit of the channel, or its square.
UNITLESS: Final = frozenset({"zero_crossings", "mean_crossings"})
BAND_ENERGY: Final = "band_energy"


class Band(Struct, frozen=True):
    """A band of frequencies.

    Attributes:
        low_hz: the lowest frequency that belongs to it; the mean (0 Hz) never does.
        high_hz: the lowest frequency above it; half the rate, when it ends there, belongs to it.
    """

    low_hz: Hertz
    high_hz: Hertz


class SignalChannel(Struct, frozen=True):
    """One quantity that is read at the rate.

    Attributes:
        name: of the column, or key, of a reading.
        statistics: features of each window, in this order; ``band_energy`` is one for each band.
        unit: SI symbol or the source's own word; empty when there is none.
    """

    name: ChannelName
    statistics: Annotated[tuple[Statistic, ...], Meta(min_length=1, max_length=9)]
    unit: Annotated[str, Meta(max_length=256)] = ""


class Signal(Struct, frozen=True):
    """How raw readings become the rows that the model takes.

    A window is made of readings that follow each other without a gap. A window's features are named
    ``<channel>_<statistic>``, ``<channel>_energy_<low>_<high>hz`` for a band.

    Attributes:
        rate_hz: readings in a second.
        size: readings in a window.
        step: readings from the begin of a window to the begin of the next; at most `size`.
        channels: what a reading holds, in the order of the features.
        bands: of the spectral energy.
        time: the column, or key, of a reading's time in seconds; None: readings come evenly, and have no gaps.
        max_gap_s: two readings that are further apart are not of one window; None: one and a half times the distance
            that the rate gives. A time that does not grow is a gap as well, and so is a reading without a time.
        max_missing: readings of a channel that a window may lack; each takes the value of the one before it (at the
            begin of a window: of the first there is). Beyond that the channel's features are missing.
    """

    rate_hz: Annotated[float, Meta(gt=0, le=MAX_RATE_HZ)]
    size: Annotated[int, Meta(ge=2, le=65536)]
    step: Annotated[int, Meta(ge=1, le=65536)]
    channels: Annotated[tuple[SignalChannel, ...], Meta(min_length=1, max_length=MAX_CHANNELS)]
    bands: Annotated[tuple[Band, ...], Meta(max_length=32)] = ()
    time: ChannelName | None = None
    max_gap_s: Annotated[float, Meta(gt=0, le=MAX_GAP_S)] | None = None
    max_missing: Annotated[int, Meta(ge=0, le=65535)] = 0


def columns_of(signal: Signal) -> tuple[str, ...]:
    """Return what a reading holds: the names of the channels, and last that of the time, where there is one."""
    return (*(channel.name for channel in signal.channels), *(() if signal.time is None else (signal.time,)))


def widest_gap_s(signal: Signal) -> float:
    """Return the greatest time between two readings of one window."""
    return 1.5 / signal.rate_hz if signal.max_gap_s is None else signal.max_gap_s


def window_text(signal: Signal | None) -> str:
    """Return what a feature of a given name was made of; empty where a source gave it."""
    return "" if signal is None else f"{signal.size} readings at {signal.rate_hz:g} Hz"


def bins_of(band: Band, signal: Signal) -> range:
    """Return the places of a band's frequencies in the spectrum of a window: k stands for ``k * rate_hz / size``."""
    size, rate_hz = signal.size, signal.rate_hz
    places = range(1, size // 2 + 1)

    def frequency_of(place: int) -> float:
        return place * rate_hz / size

    start = 1 + bisect_left(places, band.low_hz, key=frequency_of)
    stop = 1 + bisect_left(places, band.high_hz, key=frequency_of)
    if size % 2 == 0 and band.low_hz <= rate_hz / 2 <= band.high_hz:
        # Compared with half the rate itself, which its frequency may miss by a rounding.
        start, stop = min(start, size // 2), size // 2 + 1
    return range(start, stop)


def names_of(channel: SignalChannel, bands: tuple[Band, ...]) -> tuple[tuple[str, Statistic], ...]:
    """Return the names of a channel's features, each with its statistic."""
    named: list[tuple[str, Statistic]] = []
    for statistic in channel.statistics:
        if statistic == BAND_ENERGY:
            named += [(f"{channel.name}_energy_{band.low_hz:g}_{band.high_hz:g}hz", statistic) for band in bands]
        else:
            named.append((f"{channel.name}_{statistic}", statistic))
    return tuple(named)


def feature_names(signal: Signal) -> tuple[str, ...]:
    """Return the names of the features of a window, in their order."""
    return tuple(name for channel in signal.channels for name, _ in names_of(channel, signal.bands))


def signal_problems(signal: Signal) -> list[str]:
    """List what contradicts itself in a signal whose types are right."""
    # A library may have the process take numbers next to 0 for 0 (tflite-runtime on armhf does), and the bound of the
    # type, which is the least number above 0, then lets 0 through.
    if not signal.rate_hz > 0:
        return [f"rate_hz is {signal.rate_hz:g}; it is above 0"]
    problems = []
    if signal.step > signal.size:
        problems.append(f"a step of {signal.step} leaves out readings between windows of {signal.size}")
    if signal.size * len(signal.channels) > MAX_WINDOW_READINGS:
        problems.append(f"windows of more than {MAX_WINDOW_READINGS} readings over all channels")
    columns = columns_of(signal)
    if len(set(columns)) != len(columns):
        problems.append("a column is named twice")
    problems += [
        f"channel {channel.name!r} names a statistic twice"
        for channel in signal.channels
        if len(set(channel.statistics)) != len(channel.statistics)
    ]
    if signal.max_missing >= signal.size:
        problems.append(
            f"max_missing is {signal.max_missing}, which allows a window of {signal.size} without a reading"
        )
    if signal.max_gap_s is not None and signal.time is None:
        problems.append("max_gap_s without the time of the readings")
    wants_bands = any(BAND_ENERGY in channel.statistics for channel in signal.channels)
    if wants_bands != bool(signal.bands):
        problems.append(f"bands and the statistic {BAND_ENERGY!r} go together, one of them is missing")
    problems += [problem for band in signal.bands for problem in _band_problems(band, signal)]
    names = feature_names(signal)
    if len(set(names)) != len(names):
        problems.append(f"two features are named {next(name for name in names if names.count(name) > 1)!r}")
    return problems


def _band_problems(band: Band, signal: Signal) -> list[str]:
    name = f"band {band.low_hz:g} to {band.high_hz:g} Hz"
    if band.low_hz >= band.high_hz:
        return [f"{name} does not ascend"]
    if band.high_hz > signal.rate_hz / 2:
        return [f"{name} ends above half the rate, {signal.rate_hz / 2:g} Hz"]
    if not bins_of(band, signal):
        return [
            f"{name} holds none of the frequencies of a window, which are {signal.rate_hz / signal.size:g} Hz apart"
        ]
    return []
