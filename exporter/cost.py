"""Measures what one row costs in a runtime, on the machine that exports: to compare variants, not boards."""

from itertools import cycle, islice
from typing import Final

import msgspec
import numpy as np

from edge_agent.clock import Clock
from edge_agent.scoring.runtime import Runtime
from exporter.model import Rows

_WARM_UP: Final = 50
_CALLS: Final = 1000
# One row again and again would flatter trees, whose nodes it keeps in the cache.
_ROTATING_ROWS: Final = 500


class Latency(msgspec.Struct, frozen=True):
    """Microseconds of one row through the runtime protocol, one thread."""

    median_us: float
    p99_us: float


def measure_latency(runtime: Runtime, rows: Rows, clock: Clock) -> Latency:
    """Score rotating rows one at a time.

    Args:
        runtime: loaded variant.
        rows: ``(n, n_features) float32``, at least one.
        clock: its monotonic side times each call.
    """
    rotating = cycle(rows[:_ROTATING_ROWS].tolist())
    for row in islice(rotating, _WARM_UP):
        runtime.score(row)
    times_us = []
    for row in islice(rotating, _CALLS):
        started_s = clock.monotonic_s()
        runtime.score(row)
        times_us.append((clock.monotonic_s() - started_s) * 1e6)
    median, p99 = np.percentile(times_us, (50, 99))
    return Latency(round(float(median), 3), round(float(p99), 3))
