"""Declarations of raw signals for tests."""

from edge_agent.raw_signal import Band, Signal, SignalChannel, Statistic

EVERY: tuple[Statistic, ...] = (
    "mean",
    "std",
    "rms",
    "min",
    "max",
    "peak_to_peak",
    "zero_crossings",
    "mean_crossings",
    "band_energy",
)


def vibration(**changes: object) -> Signal:
    """Two channels at 100 Hz: every statistic of the one, two of the other."""
    values: dict[str, object] = {
        "rate_hz": 100.0,
        "size": 16,
        "step": 8,
        "channels": (SignalChannel("x", EVERY, "m/s^2"), SignalChannel("y", ("max", "rms"))),
        "bands": (Band(0.0, 20.0), Band(20.0, 50.0)),
    }
    return Signal(**(values | changes))  # type: ignore[arg-type]  # the tests that break a type mean to
