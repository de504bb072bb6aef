"""How far values lie from those that were usual: the population stability index, and when it is more than chance.

The index compares the shares of bins (Siddiqi, Credit Risk Scorecards, 2006: 0.2 is a shift worth acting on). Of small
samples it is large by chance alone: under no shift it is about ``(1/n + 1/m) χ²`` with one degree of freedom less than
there are bins (Yurdakul, Statistical Properties of Population Stability Index, 2018). Skew is what exceeds both.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

BINS: Final = 10
WORTH_ACTING: Final = 0.2
# How often anything at all may be called skewed when nothing is; shared out among everything that is compared at once.
CHANCE: Final = 0.01
_SMOOTHING: Final = 0.5

Counts = NDArray[np.float64]


def edges_of(values: NDArray[np.floating]) -> tuple[float, ...]:
    """Return the inner edges of bins with about as many values each; fewer where values repeat."""
    present = np.asarray(values, dtype=np.float64)
    present = present[~np.isnan(present)]
    if not len(present):
        return ()
    inner = np.quantile(present, np.arange(1, BINS) / BINS, method="inverted_cdf")
    # An edge at the smallest value would leave nothing below it.
    return tuple(float(edge) for edge in np.unique(inner))


def counts_of(values: NDArray[np.floating], edges: Sequence[float]) -> tuple[int, ...]:
    """Count values by bins ``(-inf, e0], (e0, e1], …, (eN, inf)``, and at last the missing ones."""
    present = np.asarray(values, dtype=np.float64)
    missing = np.isnan(present)
    bins = np.searchsorted(np.asarray(edges, dtype=np.float64), present[~missing], side="left")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    return (*(int(count) for count in counts), int(missing.sum()))


def stability_index(usual: Sequence[int], found: Sequence[int]) -> float:
    """Return the population stability index of two counts over the same bins; 0: the same shares."""
    first, second = _shares(usual), _shares(found)
    return float(np.sum((second - first) * np.log(second / first)))


def limit_of(usual: Sequence[int], found: Sequence[int], n_compared: int) -> float:
    """Return the index above which a shift is large, and no chance, when so many things are compared at once."""
    first, second = np.asarray(usual), np.asarray(found)
    occupied = int(np.sum((first + second) > 0))
    if not first.sum() or not second.sum() or occupied < 2:  # noqa: PLR2004 - one bin cannot shift
        return float("inf")
    by_chance = (1 / first.sum() + 1 / second.sum()) * float(chi2.isf(CHANCE / max(n_compared, 1), occupied - 1))
    return max(WORTH_ACTING, float(by_chance))


def _shares(counts: Sequence[int]) -> Counts:
    smoothed = np.asarray(counts, dtype=np.float64) + _SMOOTHING
    return np.asarray(smoothed / smoothed.sum(), dtype=np.float64)
