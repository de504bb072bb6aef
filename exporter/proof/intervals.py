"""Confidence intervals of a quality and of a loss of quality: how much the number would move with other rows.

Rows of sensors resemble their neighbours, so that resampling them one by one would promise too much. What is resampled
are contiguous blocks, 50 of them where there are enough rows (Künsch, The Jackknife and the Bootstrap for General
Stationary Observations, Annals of Statistics 17, 1989; here without overlap, percentiles). Original and variant are
judged on the same resamples: their difference is known far better than either quality.
"""

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from exporter.models.metrics import metric_of, parts_of
from exporter.models.model import Outputs, Truth

BLOCKS: Final = 50
RESAMPLES: Final = 1000
_PERCENTILES: Final = (2.5, 97.5)

Floats = NDArray[np.float64]


class Estimate(msgspec.Struct, frozen=True):
    """A number with its 95 % confidence interval."""

    value: float
    low: float
    high: float


class Judge:
    """Judges outputs by one truth, always on the same resamples."""

    def __init__(self, metric: str, truth: Truth, rng: np.random.Generator) -> None:
        """Draw the resamples.

        Args:
            metric: see `exporter.models.metrics`.
            truth: ``(n,)``, in the order of time.
            rng: draws them.
        """
        self._metric = metric
        self._truth = truth
        n_blocks = min(len(truth), BLOCKS)
        self._starts = np.arange(n_blocks) * len(truth) // n_blocks
        # How often each block is drawn, (RESAMPLES, n_blocks).
        self._weights = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=RESAMPLES).astype(np.float64)

    def quality(self, outputs: Outputs) -> Estimate:
        """Judge outputs ``(n, n_outputs)``."""
        point, resampled = self._values(outputs)
        return _estimate(point, resampled)

    def loss(self, original: Outputs, variant: Outputs) -> Estimate:
        """Judge by how much the quality of ``variant`` falls below that of ``original``, both ``(n, n_outputs)``."""
        before, resampled_before = self._values(original)
        after, resampled_after = self._values(variant)
        return _estimate(before - after, resampled_before - resampled_after)

    def _values(self, outputs: Outputs) -> tuple[float, Floats]:
        parts = parts_of(self._metric, self._truth, outputs)
        sums = np.add.reduceat(parts, self._starts, axis=0)
        value = metric_of(self._metric).value
        return float(value(parts.sum(axis=0))), value(self._weights @ sums)


def _estimate(point: float, resampled: Floats) -> Estimate:
    low, high = np.percentile(resampled, _PERCENTILES)
    return Estimate(point, float(low), float(high))
