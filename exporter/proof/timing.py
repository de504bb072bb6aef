"""Times a runtime, one thread, one row or one batch after the other. Needs nothing but Python: children use it too."""

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Final

from edge_agent.clock import Clock
from edge_agent.scoring.runtime import Runtime

_WARM_UP: Final = 50
_CALLS: Final = 1000
# One row again and again would flatter trees, whose nodes it keeps in the cache.
_ROTATING_ROWS: Final = 500
# A batch is scored until so many rows are, but at least this often.
_BATCHED_ROWS: Final = 3000
_BATCH_CALLS: Final = 5

PlainRows = Sequence[Sequence[float]]


def time_rows(runtime: Runtime, rows: PlainRows, clock: Clock) -> tuple[float, float]:
    """Score rotating rows one at a time; return the median and the 99th percentile, in µs.

    Args:
        runtime: loaded variant.
        rows: at least one.
        clock: its monotonic side times each call.
    """
    rotating = cycle(rows[:_ROTATING_ROWS])
    for row in islice(rotating, _WARM_UP):
        runtime.score(row)
    times_us = []
    for row in islice(rotating, _CALLS):
        started_s = clock.monotonic_s()
        runtime.score(row)
        times_us.append((clock.monotonic_s() - started_s) * 1e6)
    times_us.sort()
    return _rounded(times_us[len(times_us) // 2]), _rounded(times_us[len(times_us) * 99 // 100])


def time_batches(runtime: Runtime, rows: PlainRows, size: int, clock: Clock) -> float:
    """Score batches of ``size`` rows; return µs a row of the quickest: a median of few would be the machine's."""
    batch = list(islice(cycle(rows), size))
    runtime.score_batch(batch)
    times_us = []
    for _ in range(max(_BATCHED_ROWS // size, _BATCH_CALLS)):
        started_s = clock.monotonic_s()
        runtime.score_batch(batch)
        times_us.append((clock.monotonic_s() - started_s) * 1e6 / size)
    return _rounded(min(times_us))


def _rounded(time_us: float) -> float:
    return round(time_us, 3)
