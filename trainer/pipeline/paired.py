"""Is one model better than another on the same rows, or is that chance?

If both were equally good, it would not matter whose answers are whose. So answers are swapped, block by block of
neighbouring rows, and the difference is judged again (Fisher's randomisation test; Good, Permutation, Parametric, and
Bootstrap Tests of Hypotheses, 2005). Blocks, because neighbours in time resemble each other: swapped one by one, a
stretch of rows would count as many witnesses. For hits and misses and blocks of one row it is McNemar's exact test.
"""

from typing import Final

import numpy as np

from exporter.models.metrics import metric_of, parts_of
from exporter.models.model import Outputs, Truth

# Long enough that blocks know little of each other; and so many that chances of a few percent can be told apart.
_BLOCK_ROWS: Final = 10
_MIN_BLOCKS: Final = 12
_MAX_BLOCKS: Final = 50
_SWAPS: Final = 4000
_ROUNDING: Final = 1e-12


def chance_of_gain(metric: str, truth: Truth, candidate: Outputs, other: Outputs, rng: np.random.Generator) -> float:
    """Return how often a gain like the candidate's would come about if it were no better than the other.

    Args:
        metric: see `exporter.models.metrics`.
        truth: ``(n,)``, in the order of time, at least one row.
        candidate: its answers, ``(n, n_outputs)``.
        other: those of the other, of the same shape.
        rng: swaps.

    Returns:
        One-sided, above 0 and at most 1; 1 for models that answer alike.
    """
    n_blocks = min(len(truth), max(len(truth) // _BLOCK_ROWS, _MIN_BLOCKS), _MAX_BLOCKS)
    starts = np.arange(n_blocks) * len(truth) // n_blocks
    ours = np.add.reduceat(parts_of(metric, truth, candidate), starts, axis=0)
    theirs = np.add.reduceat(parts_of(metric, truth, other), starts, axis=0)
    value = metric_of(metric).value
    gain = float(value(ours.sum(axis=0)) - value(theirs.sum(axis=0)))
    is_kept = rng.integers(0, 2, size=(_SWAPS, n_blocks)).astype(np.float64)
    first = is_kept @ ours + (1 - is_kept) @ theirs
    second = is_kept @ theirs + (1 - is_kept) @ ours
    by_chance = value(first) - value(second)
    return float((1 + np.sum(by_chance >= gain - _ROUNDING)) / (1 + _SWAPS))
