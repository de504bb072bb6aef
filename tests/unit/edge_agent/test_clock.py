"""The system's clocks tell the time of this machine."""

from datetime import UTC, datetime

from edge_agent.clock import SystemClock


def test_the_monotonic_clock_never_goes_back():
    clock = SystemClock()
    times = [clock.monotonic_s() for _ in range(1000)]
    assert times == sorted(times)


def test_utc_counts_seconds_since_1970():
    told = datetime.fromtimestamp(SystemClock().utc_s(), UTC)
    assert told.year >= 2024
