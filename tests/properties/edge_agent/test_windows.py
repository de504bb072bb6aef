"""A device and the trainer give the same numbers: bit for bit, however the readings arrive, and after every restart."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from edge_agent.raw_signal import Band, Signal, SignalChannel, Statistic, columns_of, signal_problems
from edge_agent.scoring.windows import Extractor, breaks_in, windows_of
from edge_agent.sensing.source import SourceRow
from edge_agent.sensing.windowed import Windowed
from tests.unit.edge_agent.examples import ManualClock
from tests.unit.edge_agent.sensing.test_windowed import Readings
from tests.unit.edge_agent.signals import EVERY

STATISTICS = st.lists(st.sampled_from(EVERY), min_size=1, unique=True)
VALUES = st.floats(width=32) | st.floats(-100, 100) | st.just(np.nan)


@st.composite
def signals(draw: st.DrawFn) -> Signal:
    size = draw(st.integers(2, 40))
    own: list[tuple[Statistic, ...]] = [tuple(draw(STATISTICS)) for _ in range(draw(st.integers(1, 3)))]
    wants_bands = any("band_energy" in statistics for statistics in own)
    has_time = draw(st.booleans())
    signal = Signal(
        rate_hz=100.0,
        size=size,
        step=draw(st.integers(1, size)),
        channels=tuple(SignalChannel(f"c{place}", statistics) for place, statistics in enumerate(own)),
        bands=(Band(0.0, 50.0),) if wants_bands else (),
        time="t" if has_time else None,
        # Two distances, so that a reading without a time lies within it.
        max_gap_s=draw(st.sampled_from([None, 0.025])) if has_time else None,
        max_missing=draw(st.integers(0, size - 1)),
    )
    assert signal_problems(signal) == []
    return signal


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Signal, NDArray[np.float64]]:
    """A signal and its readings, their time last where it has one."""
    signal = draw(signals())
    n = draw(st.integers(0, 150))
    readings = draw(arrays.arrays(np.float64, (n, len(signal.channels)), elements=VALUES, fill=st.just(0.5)))
    if signal.time is not None:
        times = np.cumsum([0.0, *(0.01,) * n])[:n]
        for place in draw(st.lists(st.integers(0, max(n - 1, 0)), max_size=4)) if n else []:
            times[place:] += draw(st.sampled_from([0.004, 0.02, -0.5]))
            times[place] = draw(st.sampled_from([times[place], np.nan]))
        readings = np.column_stack([readings, times])
    return signal, readings


def trained_on(signal: Signal, readings: NDArray[np.float64]) -> NDArray[np.float32]:
    """Windows as training takes them out of a whole recording."""
    is_break = np.zeros(len(readings), dtype=np.bool_) if signal.time is None else breaks_in(readings[:, -1], signal)
    return windows_of(Extractor(signal), readings[:, : len(signal.channels)], is_break).features


def delivered(signal: Signal, arriving: list[SourceRow | None]) -> list[SourceRow]:
    """Windows as a device makes them of what arrives."""
    clock = ManualClock()
    source = Windowed(Readings(arriving, clock), signal, clock)
    rows = []
    while not source.at_end:
        row = source.next_row(0.0)
        rows += [row] if row is not None else source.ready_rows(3)
    return rows


def bits(rows: list[SourceRow] | NDArray[np.float32], width: int) -> NDArray[np.uint32]:
    """The very bits of what a model gets; a NaN is a NaN."""
    values = rows if isinstance(rows, np.ndarray) else [row.values for row in rows]
    given_rows = np.array(values, dtype=np.float32).reshape(-1, width)
    return np.where(np.isnan(given_rows), np.float32(np.nan), given_rows).view(np.uint32)


@settings(deadline=None)
@given(recordings(), st.data())
def test_a_device_gives_the_numbers_that_training_had(
    recording: tuple[Signal, NDArray[np.float64]], data: st.DataObject
):
    signal, readings = recording
    assert readings.shape[1] == len(columns_of(signal))
    numbers = list(itertools.accumulate(data.draw(st.lists(st.integers(1, 3), min_size=8, max_size=8)) * 20))
    arriving: list[SourceRow | None] = []
    for number, reading in zip(numbers, readings.tolist(), strict=False):
        arriving.append(SourceRow(number, reading))
        if number % 5 == 0:
            arriving.append(None)
    expected = trained_on(signal, readings)
    rows = delivered(signal, list(arriving))
    width = expected.shape[1]
    np.testing.assert_array_equal(bits(rows, width), bits(expected, width))
    assert all(type(value) is float for row in rows for value in row.values)
    assert sorted({row.number for row in rows}) == [row.number for row in rows]
    if rows:
        place = data.draw(st.integers(0, len(rows) - 1))
        rest = [reading for reading in arriving if reading is None or reading.number >= rows[place].number + 1]
        again = delivered(signal, rest)
        assert [row.number for row in again] == [row.number for row in rows[place + 1 :]]
        np.testing.assert_array_equal(bits(again, width), bits(expected[place + 1 :], width))
