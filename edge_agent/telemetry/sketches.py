"""Sketches: small summaries of many numbers that can be added, so that windows of many devices become one.

`LatencySketch` is DDSketch (C. Masson, J. E. Rim, H. K. Lee: DDSketch: A Fast and Fully-Mergeable Quantile Sketch with
Relative-Error Guarantees, PVLDB 12(12), 2019): bucket ``i`` counts the numbers in ``(gamma**(i-1), gamma**i]``, and
answers with the number whose relative distance to both ends is the same.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

GAMMA: Final = 1.02
# (gamma - 1) / (gamma + 1): just under one percent.
RELATIVE_ERROR: Final = (GAMMA - 1) / (GAMMA + 1)
MIN_US: Final = 1e-3
MAX_US: Final = 1e12

_LOG_GAMMA: Final = math.log(GAMMA)


class LatencySketch:
    """Durations in microseconds, each known within `RELATIVE_ERROR`.

    Numbers outside `MIN_US` … `MAX_US` (a nanosecond, eleven days) count as the nearer limit; so there are at most
    1,746 buckets, however long it counts.
    """

    __slots__ = ("_buckets",)

    def __init__(self, buckets: Iterable[tuple[int, int]] = ()) -> None:
        self._buckets: dict[int, int] = {}
        for bucket, count in buckets:
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count

    def add(self, latency_us: float) -> None:
        """Count one duration."""
        bucket = bucket_of(latency_us)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def merge(self, other: "LatencySketch") -> "LatencySketch":
        """Return the sketch of the durations of both."""
        return LatencySketch((*self.as_pairs(), *other.as_pairs()))

    @property
    def count(self) -> int:
        """Durations counted."""
        return sum(self._buckets.values())

    def quantile(self, q: float) -> float:
        """Return the duration in microseconds that a share ``q`` of the durations does not exceed; NaN when empty."""
        rank = q * (self.count - 1)
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen > rank:
                return value_of(bucket)
        return math.nan

    def as_pairs(self) -> tuple[tuple[int, int], ...]:
        """Return (bucket, count) in ascending order, as ``TelemetryWindow.latency`` carries it."""
        return tuple(sorted(self._buckets.items()))

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()


def bucket_of(latency_us: float) -> int:
    """Return the bucket of a duration in microseconds."""
    return math.ceil(math.log(min(max(latency_us, MIN_US), MAX_US)) / _LOG_GAMMA)


def value_of(bucket: int) -> float:
    """Return the duration in microseconds that stands for a bucket."""
    return float(2.0 * GAMMA**bucket / (GAMMA + 1.0))


class Histogram:
    """Counts by bin over fixed inner edges: a number x is in bin ``bisect_right(edges, x)``.

    Attributes:
        counts: ``(n_edges + 1,)``.
    """

    __slots__ = ("_edges", "counts")

    def __init__(self, edges: Sequence[float]) -> None:
        self._edges = tuple(edges)
        self.counts = [0] * (len(self._edges) + 1)

    def add(self, number: float) -> None:
        """Count one number."""
        self.counts[bisect_right(self._edges, number)] += 1

    def clear(self) -> None:
        """Forget everything."""
        self.counts = [0] * len(self.counts)


def add_counts(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """Return the sum of two histograms over the same bins.

    Raises:
        ValueError: they have another number of bins.
    """
    return tuple(a + b for a, b in zip(one, other, strict=True))


def add_named(one: Iterable[tuple[str, int]], other: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Return the sum of two lists of (name, count), in the order of names."""
    total: dict[str, int] = {}
    for name, count in (*one, *other):
        total[name] = total.get(name, 0) + count
    return as_named(total)


def as_named(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Return counts by name as the wire carries them, in the order of names."""
    return tuple(sorted(counts.items()))
