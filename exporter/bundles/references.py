"""How features and predictions were distributed in training, as histograms by contiguous block.

The spread between blocks says what is usual; a random hold-out would flatter. Edges lie midway between values that
occur, so that a device that holds a value in another precision counts it in the same bin.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import Feature, FeatureReference
from exporter.models.metrics import labels_of
from exporter.models.model import Evidence

BINS: Final = 10
# Around the only value of a constant feature: wider than float32's rounding, narrower than any change that matters.
_CONSTANT_HALF_WIDTH: Final = 1e-6

Floats = NDArray[np.float64]
Edges = tuple[float, ...]
Blocks = tuple[tuple[int, ...], ...]


def references_of(evidence: Evidence, features: tuple[Feature, ...]) -> tuple[FeatureReference, ...]:
    """Return the reference of each feature, in order."""
    columns = evidence.rows.astype(np.float64).T
    return tuple(_reference_of(c, f, evidence) for c, f in zip(columns, features, strict=True))


def output_reference(evidence: Evidence, n_labels: int) -> tuple[Edges, Blocks]:
    """Return (edges, counts by block) of the predictions.

    Args:
        evidence: rows that the model was not trained on.
        n_labels: classification: the counts are by predicted label and there are no edges; 0 for regression.
    """
    if n_labels:
        labels = labels_of(evidence.predictions)
        return (), _by_block(labels, evidence, n_labels)
    values = evidence.predictions[:, 0]
    edges = edges_of(values)
    return edges, _by_block(bins_of(values, edges), evidence, len(edges) + 1)


def edges_of(values: Floats, n_bins: int = BINS) -> Edges:
    """Return inner edges at the quantiles of values without NaN, ascending.

    A value that fills a bin by itself (a sensor's zero, an integer) gets a bin to itself. A constant gets three bins:
    below, the value, above.
    """
    if len(values) == 0:
        return ()
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) == 1:
        half = max(abs(float(distinct[0])), 1.0) * _CONSTANT_HALF_WIDTH
        return float(distinct[0]) - half, float(distinct[0]) + half
    between = (distinct[1:] + distinct[:-1]) / 2
    quantiles = np.quantile(values, np.arange(1, n_bins) / n_bins, method="higher")
    places = np.searchsorted(distinct, quantiles)
    full = np.flatnonzero(counts >= len(values) / n_bins)
    # Edge i lies above distinct value i: below a value is edge place - 1, above it is edge place.
    wanted = np.concatenate([places - 1, full - 1, full])
    wanted = np.unique(wanted[(wanted >= 0) & (wanted < len(between))])
    return tuple(np.unique(between[wanted]).tolist())


def bins_of(values: Floats, edges: Edges) -> NDArray[np.int64]:
    """Return the bin of each value: ``bisect_right(edges, value)``."""
    return np.searchsorted(np.asarray(edges, dtype=np.float64), values, side="right").astype(np.int64)


def _reference_of(column: Floats, feature: Feature, evidence: Evidence) -> FeatureReference:
    present = ~np.isnan(column)
    if feature.dtype == "category":
        edges: Edges = tuple(index + 0.5 for index in range(len(feature.categories) - 1))
    else:
        edges = edges_of(column[present])
    counts = _by_block(bins_of(column, edges), evidence, len(edges) + 1, present)
    return FeatureReference(edges, counts, int(np.sum(~present)))


def _by_block(
    bins: NDArray[np.int64], evidence: Evidence, n_bins: int, counted: NDArray[np.bool_] | None = None
) -> Blocks:
    blocks = []
    for block in evidence.blocks:
        chosen = evidence.block_of == block
        if counted is not None:
            chosen &= counted
        blocks.append(tuple(np.bincount(bins[chosen], minlength=n_bins).tolist()))
    return tuple(blocks)
