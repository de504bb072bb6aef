"""Estimates the quality of windows without labels, from confidence and agreement with the second model.

Each agreement bin of a window gets the quality that this bin had on blocks that were not trained on; the mixture of
bins then tells the expected quality of the window. It foresees a loss only in part (it cannot see that the meaning of a
confidence has changed): it may ask for labels, it may not call a loss.
"""

import math
from collections.abc import Iterable, Sequence

from msgspec import Struct

from broker.messages import TelemetryWindow
from edge_agent.bundle import Estimation, Manifest, Task

# A bin counts as if this many rows of average quality stood in it beside its own: bins of few rows say little.
_PRIOR_ROWS = 5.0


class Expectation(Struct, frozen=True):
    """What is usual for a bundle, as an error: share of wrong rows, or mean absolute error."""

    task: Task
    error: float

    def tolerated(self, margin: float) -> float:
        """Return the error that is not yet called a loss: ``margin`` in points, or relative for regression."""
        return self.error + margin if self.task == "classification" else self.error * (1 + margin)

    def loss_of(self, error: float) -> float:
        """Return how much worse ``error`` is: points of accuracy, or relative rise of the absolute error."""
        if self.task == "classification":
            return error - self.error
        return (error - self.error) / self.error if self.error > 0 else (math.inf if error > 0 else 0.0)


class QualityEstimate(Struct, frozen=True):
    """Estimated against usual quality; accuracy, or mean absolute error.

    Attributes:
        rows: scored rows behind it.
        loss: how much worse than usual: points of accuracy, or relative rise of the error; negative when better.
        standard_error: of `loss`: chance of the rows, of the bins' calibration, and the spread between blocks.
        z: loss in standard errors.
    """

    rows: int
    estimated: float
    expected: float
    loss: float
    standard_error: float
    z: float


def expectation_of(manifest: Manifest) -> Expectation:
    """Return what is usual for a bundle."""
    quality = manifest.estimation.expected_quality
    return Expectation(manifest.task, 1 - quality if manifest.task == "classification" else quality)


def suits(window: TelemetryWindow, manifest: Manifest) -> bool:
    """Tell whether a window is of this bundle and has its shapes; others must not be added up."""
    return (
        window.bundle == manifest.ref
        and len(window.features) == len(manifest.features)
        and all(len(f.counts) == len(r.edges) + 1 for f, r in zip(window.features, manifest.references, strict=True))
        and len(window.predictions) == len(manifest.output_blocks[0])
        and len(window.agreement) == len(manifest.estimation.rows)
        and sum(window.agreement) <= window.rows_scored
    )


def add_counts(histograms: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Add histograms bin by bin; no histogram gives an empty one."""
    return tuple(sum(column) for column in zip(*histograms, strict=True))


def estimate_quality(windows: Sequence[TelemetryWindow], manifest: Manifest) -> QualityEstimate | None:
    """Estimate the quality of a bundle's windows; None when they hold no scored row or the reference is empty.

    Windows that do not suit the manifest are left out.
    """
    counts = add_counts(window.agreement for window in windows if suits(window, manifest))
    return estimate_from_counts(counts, manifest.estimation, manifest.task)


def estimate_from_counts(counts: Sequence[int], estimation: Estimation, task: Task) -> QualityEstimate | None:
    """Estimate the quality of a histogram over agreement bins.

    Args:
        counts: ``(n_bins,)`` rows.
        estimation: of the bundle that scored them.
        task: of the bundle.
    """
    n, n_reference = sum(counts), sum(estimation.rows)
    if n == 0 or n_reference == 0:
        return None
    average = math.fsum(q * r for q, r in zip(estimation.quality, estimation.rows, strict=True)) / n_reference
    quality = [
        (q * r + average * _PRIOR_ROWS) / (r + _PRIOR_ROWS)
        for q, r in zip(estimation.quality, estimation.rows, strict=True)
    ]
    usual = [rows / n_reference for rows in estimation.rows]
    now = [count / n for count in counts]
    expected = _dot(usual, quality)
    estimated = _dot(now, quality)
    variance = _dot(usual, [(q - expected) ** 2 for q in quality]) / n
    variance += math.fsum(
        (a - b) ** 2 * _row_variance(q, task) / (r + _PRIOR_ROWS)
        for a, b, q, r in zip(now, usual, quality, estimation.rows, strict=True)
    )
    variance += _between_blocks(estimation, expected, task)
    worse = expected - estimated if task == "classification" else estimated - expected
    scale = 1.0 if task == "classification" else max(expected, 1e-12)
    error = math.sqrt(variance)
    return QualityEstimate(
        rows=n,
        estimated=estimated,
        expected=expected,
        loss=worse / scale,
        standard_error=error / scale,
        z=worse / error if error > 0 else (math.inf if worse > 0 else 0.0),
    )


def _dot(shares: Sequence[float], values: Sequence[float]) -> float:
    return math.fsum(share * value for share, value in zip(shares, values, strict=True))


def _row_variance(quality: float, task: Task) -> float:
    """Variance of one row's quality in a bin; absolute errors are taken to be about as wide as they are large."""
    return max(quality * (1 - quality), 1e-6) if task == "classification" else quality**2


def _between_blocks(estimation: Estimation, expected: float, task: Task) -> float:
    """Return the variance of quality between blocks beyond what chance alone makes of their size."""
    blocks = estimation.block_quality
    if len(blocks) < 2:  # noqa: PLR2004 - one block has no spread
        return 0.0
    mean = math.fsum(blocks) / len(blocks)
    variance = math.fsum((quality - mean) ** 2 for quality in blocks) / (len(blocks) - 1)
    by_chance = _row_variance(expected, task) / (sum(estimation.rows) / len(blocks))
    return max(0.0, variance - by_chance)
