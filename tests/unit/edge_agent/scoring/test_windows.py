"""The features of a window are what numpy and scipy say they are, and missing readings follow their rule."""

import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray

from edge_agent.raw_signal import Band, SignalChannel
from edge_agent.scoring.windows import Extractor, WindowStream, breaks_in, windows_of
from tests.unit.edge_agent.signals import EVERY, vibration

NAN = np.nan


def noise(n: int, channels: int = 2, seed: int = 1) -> NDArray[np.float64]:
    readings = np.random.default_rng(seed).normal(0.3, 1.0, (n, channels))
    return readings.astype(np.float32).astype(np.float64)


def one(readings: list[float], **changes: object) -> dict[str, float]:
    """The features of one window of one channel."""
    size = len(readings)
    values = {"channels": (SignalChannel("x", EVERY),), "bands": (Band(0.0, 50.0),), "size": size, "step": size}
    extractor = Extractor(vibration(**(values | changes)))
    return dict(zip(extractor.names, extractor.features_of(np.array(readings)[:, np.newaxis]).tolist(), strict=True))


@pytest.mark.parametrize("size", [2, 3, 16, 17, 100, 256, 1000])
def test_every_statistic_is_that_of_numpy_and_scipy(size: int):
    x = noise(size)[:, :1]
    signal = vibration(size=size, step=size, channels=(SignalChannel("x", EVERY),), bands=(Band(0.0, 50.0),))
    extractor = Extractor(signal)
    features = extractor.features_of(x)
    assert features.dtype == np.float32
    found = dict(zip(extractor.names, features, strict=True))
    x = x[:, 0]
    expected = {
        "x_mean": np.mean(x),
        "x_std": np.std(x),
        "x_rms": np.sqrt(np.mean(x**2)),
        "x_min": np.min(x),
        "x_max": np.max(x),
        "x_peak_to_peak": np.ptp(x),
        "x_zero_crossings": np.count_nonzero(np.diff(x > 0)),
        "x_mean_crossings": np.count_nonzero(np.diff(x > np.mean(x))),
        "x_energy_0_50hz": np.var(x),
    }
    assert found == {name: pytest.approx(value, rel=2e-7, abs=1e-12) for name, value in expected.items()}


@pytest.mark.parametrize("size", [16, 17, 128, 129])
def test_the_energy_of_a_band_is_that_of_the_periodogram(size: int):
    bands = (Band(0.0, 12.0), Band(12.0, 31.25), Band(31.25, 50.0))
    x = noise(size)
    channels = (SignalChannel("a", ("band_energy",)), SignalChannel("b", ("band_energy",)))
    extractor = Extractor(vibration(size=size, step=size, channels=channels, bands=bands))
    at, power = scipy.signal.periodogram(x, 100.0, "boxcar", detrend="constant", scaling="spectrum", axis=0)
    expected = [
        power[(at > 0) & (at >= low) & ((at < high) | (high == 50.0)), channel].sum()
        for channel in range(2)
        for low, high in ((0.0, 12.0), (12.0, 31.25), (31.25, 50.0))
    ]
    np.testing.assert_allclose(extractor.features_of(x), expected, rtol=1e-6)


def test_a_sine_lies_in_its_band_with_half_its_amplitude_squared():
    t = np.arange(100) / 100.0
    found = one((5.0 + 3.0 * np.sin(2 * np.pi * 10.0 * t)).tolist(), bands=(Band(9.0, 11.0), Band(11.0, 50.0)))
    assert found["x_energy_9_11hz"] == pytest.approx(4.5, rel=1e-6)
    assert found["x_energy_11_50hz"] == pytest.approx(0.0, abs=1e-9)
    assert found["x_zero_crossings"] == 0
    # 10 periods: at the first reading it is on the mean itself, and not above it.
    assert found["x_mean_crossings"] in {19, 20}


def test_crossings_are_changes_of_being_above():
    found = one([0.0, 1.0, 0.0, -1.0, 1.0, 1.0, -0.0, 2.0])
    assert found["x_zero_crossings"] == 5
    assert one([3.0, 3.0, 3.0, 3.0])["x_mean_crossings"] == 0


def test_a_missing_reading_makes_the_channel_missing_and_no_other():
    readings = noise(16)
    readings[5, 1] = NAN
    extractor = Extractor(vibration())
    features = dict(zip(extractor.names, extractor.features_of(readings), strict=True))
    assert {name for name, value in features.items() if np.isnan(value)} == {"y_max", "y_rms"}
    whole = Extractor(vibration()).features_of(noise(16))
    assert features["x_rms"] == whole[2]


@pytest.mark.parametrize("value", [NAN, np.inf, -np.inf, 3.5e38, 1e300])
def test_what_float32_cannot_hold_is_missing(value: float):
    assert np.isnan(one([1.0, value, 2.0, 3.0])["x_mean"])


@pytest.mark.parametrize(
    ("readings", "held"),
    [
        ([1.0, NAN, NAN, 4.0, 5.0], [1.0, 1.0, 1.0, 4.0, 5.0]),
        ([NAN, 2.0, 3.0, 4.0, NAN], [2.0, 2.0, 3.0, 4.0, 4.0]),
        ([NAN, NAN, 3.0, 4.0, 9.0], [3.0, 3.0, 3.0, 4.0, 9.0]),
    ],
)
def test_a_missing_reading_that_is_allowed_takes_the_value_before_it(readings: list[float], held: list[float]):
    assert one(readings, max_missing=2) == one(held)


def test_more_missing_readings_than_are_allowed_make_the_channel_missing():
    assert np.isnan(list(one([1.0, NAN, NAN, NAN, 5.0], max_missing=2).values())).all()
    assert np.isnan(list(one([NAN] * 5, max_missing=4).values())).all()


def test_a_feature_beyond_float32_is_missing():
    found = one([3e38, -3e38, 3e38, -3e38])
    assert np.isnan(found["x_peak_to_peak"])
    assert np.isnan(found["x_energy_0_50hz"])
    assert found["x_max"] == pytest.approx(3e38)


def test_readings_count_as_float32_holds_them():
    assert one([0.1, 0.7, 0.3]) == one(np.array([0.1, 0.7, 0.3], dtype=np.float32).astype(np.float64).tolist())


def test_the_readings_are_not_changed():
    readings = noise(16)
    readings[3] = NAN
    kept = readings.copy()
    Extractor(vibration(max_missing=3)).features_of(readings)
    np.testing.assert_array_equal(readings, kept)


def test_windows_begin_every_step_and_anew_after_a_break():
    readings = noise(50)
    is_break = np.zeros(50, dtype=np.bool_)
    is_break[[20, 30]] = True
    found = windows_of(Extractor(vibration()), readings, is_break)
    # 0–15 (8–23 would hold the break at 20), nothing in 20–29, then 30–45.
    assert found.first.tolist() == [0, 30]
    assert windows_of(Extractor(vibration()), readings, np.zeros(50, dtype=np.bool_)).first.tolist() == [
        0,
        8,
        16,
        24,
        32,
    ]


def test_a_recording_that_is_too_short_has_no_window():
    found = windows_of(Extractor(vibration()), noise(15), np.zeros(15, dtype=np.bool_))
    assert found.features.shape == (0, 12)
    assert windows_of(Extractor(vibration()), noise(0), np.zeros(0, dtype=np.bool_)).first.shape == (0,)


def test_a_stream_gives_a_window_with_its_last_reading():
    stream = WindowStream(Extractor(vibration()))
    ends = [n for n, reading in enumerate(noise(40)) if stream.push(reading.tolist(), is_break=False) is not None]
    assert ends == [15, 23, 31, 39]


def test_time_breaks_where_it_stands_goes_back_jumps_or_is_missing():
    times = np.array([0.0, 0.01, 0.02, 0.02, 0.03, 0.01, 0.02, 0.036, 0.04, NAN, 0.06, 0.07])
    expected = [True, False, False, True, False, True, False, True, False, True, True, False]
    assert breaks_in(times, vibration(time="t")).tolist() == expected
    assert breaks_in(times, vibration(time="t", max_gap_s=0.02)).tolist()[7] is False
