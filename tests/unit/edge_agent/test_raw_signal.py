"""What a signal is made into is known by name; one that contradicts itself is refused."""

import pytest

from edge_agent.raw_signal import (
    Band,
    Signal,
    SignalChannel,
    bins_of,
    columns_of,
    feature_names,
    signal_problems,
    widest_gap_s,
    window_text,
)
from tests.unit.edge_agent.signals import vibration


def test_features_are_named_after_their_channel_and_statistic():
    assert feature_names(vibration()) == (
        "x_mean",
        "x_std",
        "x_rms",
        "x_min",
        "x_max",
        "x_peak_to_peak",
        "x_zero_crossings",
        "x_mean_crossings",
        "x_energy_0_20hz",
        "x_energy_20_50hz",
        "y_max",
        "y_rms",
    )


def test_a_reading_holds_its_channels_and_then_its_time():
    assert columns_of(vibration()) == ("x", "y")
    assert columns_of(vibration(time="t")) == ("x", "y", "t")


def test_a_gap_is_half_a_reading_more_than_the_rate_gives_unless_said():
    assert widest_gap_s(vibration()) == pytest.approx(0.015)
    assert widest_gap_s(vibration(time="t", max_gap_s=0.5)) == 0.5


@pytest.mark.parametrize(
    ("size", "bands", "expected"),
    [
        # 100 Hz: frequencies 12.5 Hz apart, the mean in none, 50 Hz in the last.
        (8, (Band(0.0, 25.0), Band(25.0, 50.0)), ([1], [2, 3, 4])),
        # An odd window has no frequency of half the rate.
        (5, (Band(0.0, 50.0),), ([1, 2],)),
        (8, (Band(12.5, 12.6),), ([1],)),
        (8, (Band(50.0, 50.0),), ([4],)),
    ],
)
def test_a_band_takes_its_lowest_frequency_and_not_its_highest_but_half_the_rate(size, bands, expected):
    signal = vibration(size=size, step=1, bands=bands)
    assert tuple(list(bins_of(band, signal)) for band in bands) == expected


def test_bands_side_by_side_share_no_frequency_and_leave_none_out():
    for size in range(2, 130):
        signal = vibration(size=size, step=1, rate_hz=44.1, bands=(Band(0.0, 7.3), Band(7.3, 14.7), Band(14.7, 22.05)))
        assert [k for band in signal.bands for k in bins_of(band, signal)] == list(range(1, size // 2 + 1))


X = SignalChannel("x", ("mean",))


@pytest.mark.parametrize(
    ("signal", "problem"),
    [
        (vibration(rate_hz=0.0), "rate_hz is 0"),
        (vibration(step=17), "step of 17"),
        (
            vibration(size=65536, channels=tuple(SignalChannel(f"c{n}", ("mean",)) for n in range(9)), bands=()),
            "524288",
        ),
        (vibration(channels=(X, X), bands=()), "column is named twice"),
        (vibration(time="x"), "column is named twice"),
        (vibration(channels=(SignalChannel("x", ("mean", "mean")),), bands=()), "names a statistic twice"),
        (vibration(max_missing=16), "without a reading"),
        (vibration(max_gap_s=1.0), "max_gap_s without"),
        (vibration(bands=()), "go together"),
        (vibration(channels=(X,)), "go together"),
        (vibration(bands=(Band(10.0, 10.0),)), "does not ascend"),
        (vibration(bands=(Band(10.0, 50.1),)), "above half the rate"),
        (vibration(bands=(Band(1.0, 2.0),)), "none of the frequencies"),
        (vibration(bands=(Band(0.0, 20.0), Band(0.0, 20.0))), "two features are named 'x_energy_0_20hz'"),
    ],
)
def test_what_contradicts_itself_is_named(signal: Signal, problem: str):
    assert any(problem in found for found in signal_problems(signal)), signal_problems(signal)


@pytest.mark.parametrize("signal", [vibration(), vibration(step=16), vibration(step=1, max_missing=15, time="t")])
def test_what_makes_sense_has_no_problem(signal: Signal):
    assert signal_problems(signal) == []


def test_what_a_feature_was_made_of_is_said_in_words():
    assert window_text(vibration(rate_hz=12.5)) == "16 readings at 12.5 Hz"
    assert window_text(None) == ""
