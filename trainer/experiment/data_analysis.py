"""What is in the rows: values, gaps, correlations, doubles, the target, and how all of it moves with time."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.stats import rankdata

from edge_agent.bundle import Feature
from trainer.features.table import TrainingTable
from trainer.pipeline import skew

TIME_BLOCKS: Final = 6
_HISTOGRAM_BINS: Final = 24
# One value far away would leave all others in one bin.
_SHOWN_QUANTILES: Final = (0.005, 0.995)
# More rows than this change no correlation that anybody would act on.
_MAX_RANKED_ROWS: Final = 20_000
_SHOWN_PAIRS: Final = 10
# So many names have an order: the one is not the other.
_ORDERED: Final = 2
_NOTABLE: Final = 0.8

Floats = NDArray[np.float64]


class FeatureSummary(Struct, frozen=True):
    """How one input is distributed.

    Attributes:
        histogram: counts of equal bins over all but the outermost 1 % of the values, or of each category.
        farthest: interquartile ranges between the farthest value and the nearer quartile; 0 where there is no range.
        categories: their names; empty for numbers.
        missing_by_block: share of missing values in each block of time.
    """

    name: str
    unit: str
    rows: int
    missing: int
    distinct: int
    minimum: float
    lower_quartile: float
    median: float
    upper_quartile: float
    maximum: float
    mean: float
    deviation: float
    farthest: float
    histogram: tuple[int, ...]
    categories: tuple[str, ...]
    missing_by_block: tuple[float, ...]


class Pair(Struct, frozen=True):
    """Two columns whose ranks go together (Spearman)."""

    first: str
    second: str
    correlation: float


class FeatureDrift(Struct, frozen=True):
    """How far a column's values lie, block by block, from those of the first block.

    Attributes:
        indices: population stability index of each later block.
        limits: what each of them may reach by chance, or without being worth acting on.
    """

    name: str
    indices: tuple[float, ...]
    limits: tuple[float, ...]

    @property
    def drifts(self) -> bool:
        """Tell whether any block lies beyond its limit."""
        return any(index > limit for index, limit in zip(self.indices, self.limits, strict=True))


class TargetSummary(Struct, frozen=True):
    """How the target is distributed.

    Attributes:
        labels: empty for regression.
        counts: of each label, or of equal bins from `minimum` to `maximum`.
        by_block: share of each label in each block of time, or its quartiles (25, 50, 75 %).
    """

    labels: tuple[str, ...]
    counts: tuple[int, ...]
    minimum: float
    maximum: float
    by_block: tuple[tuple[float, ...], ...]


class DataAnalysis(Struct, frozen=True):
    """What was found in the rows.

    Attributes:
        correlations: Spearman, of all inputs and, last, the target; NaN where a column does not vary.
        doubles: rows that occur more than once, target included.
        block_rows: rows of each block of time.
    """

    rows: int
    features: tuple[FeatureSummary, ...]
    target: TargetSummary
    names: tuple[str, ...]
    correlations: tuple[tuple[float, ...], ...]
    notable_pairs: tuple[Pair, ...]
    drift: tuple[FeatureDrift, ...]
    doubles: int
    block_rows: tuple[int, ...]


def analyse_data(table: TrainingTable, features: Sequence[Feature], target: str) -> DataAnalysis:
    """Describe the rows, in the order of the table, which is that of time.

    Args:
        table: the rows.
        features: what its columns are.
        target: name of the learnt column.
    """
    blocks = np.array_split(np.arange(len(table.rows)), TIME_BLOCKS)
    columns = [table.rows[:, place].astype(np.float64) for place in range(len(features))]
    names_of = (*(feature.categories for feature in features), table.labels)
    correlations = _correlations([*columns, table.truth], [len(each) > _ORDERED for each in names_of])
    names = (*(feature.name for feature in features), target)
    n_compared = (len(names)) * (TIME_BLOCKS - 1)
    drift = tuple(
        _drift(name, values, blocks, n_compared) for name, values in zip(names, [*columns, table.truth], strict=True)
    )
    return DataAnalysis(
        rows=len(table.rows),
        features=tuple(_summary(feature, values, blocks) for feature, values in zip(features, columns, strict=True)),
        target=_target(table, blocks),
        names=names,
        correlations=tuple(tuple(float(value) for value in row) for row in correlations),
        notable_pairs=_notable(names[:-1], correlations),
        drift=drift,
        doubles=_doubles(table),
        block_rows=tuple(len(block) for block in blocks),
    )


def _summary(feature: Feature, values: Floats, blocks: Sequence[NDArray[np.int64]]) -> FeatureSummary:
    present = values[~np.isnan(values)]
    if feature.dtype == "category":
        histogram = np.bincount(present.astype(np.int64), minlength=len(feature.categories))
    else:
        histogram = _histogram(present)
    at = np.quantile(present, (0, 0.25, 0.5, 0.75, 1)) if len(present) else np.full(5, np.nan)
    spread = 0.0 if feature.dtype == "category" else at[3] - at[1]
    return FeatureSummary(
        name=feature.name,
        unit=feature.unit,
        rows=len(values),
        missing=len(values) - len(present),
        distinct=len(np.unique(present)),
        minimum=float(at[0]),
        lower_quartile=float(at[1]),
        median=float(at[2]),
        upper_quartile=float(at[3]),
        maximum=float(at[4]),
        mean=float(present.mean()) if len(present) else float("nan"),
        deviation=float(present.std()) if len(present) else float("nan"),
        farthest=float(max(at[1] - at[0], at[4] - at[3]) / spread) if spread > 0 else 0.0,
        histogram=tuple(int(count) for count in histogram),
        categories=feature.categories,
        missing_by_block=tuple(float(np.isnan(values[block]).mean()) if len(block) else 0.0 for block in blocks),
    )


def _histogram(present: Floats) -> NDArray[np.int64]:
    if not len(present):
        return np.zeros(0, dtype=np.int64)
    low, high = np.quantile(present, _SHOWN_QUANTILES)
    return np.histogram(present, bins=_HISTOGRAM_BINS, range=(low, high) if low < high else None)[0]


def _target(table: TrainingTable, blocks: Sequence[NDArray[np.int64]]) -> TargetSummary:
    truth = table.truth
    if table.labels:
        codes = truth.astype(np.int64)
        counts = np.bincount(codes, minlength=len(table.labels))
        by_block = [np.bincount(codes[block], minlength=len(table.labels)) / max(len(block), 1) for block in blocks]
    else:
        counts = np.histogram(truth, bins=_HISTOGRAM_BINS)[0]
        by_block = [np.quantile(truth[block], (0.25, 0.5, 0.75)) for block in blocks if len(block)]
    return TargetSummary(
        table.labels,
        tuple(int(count) for count in counts),
        float(truth.min()),
        float(truth.max()),
        tuple(tuple(float(value) for value in block) for block in by_block),
    )


def _correlations(columns: Sequence[Floats], are_named: Sequence[bool]) -> Floats:
    """Correlate ranks; three and more names have no order, so that their column correlates with nothing."""
    step = max(1, -(-len(columns[0]) // _MAX_RANKED_ROWS))
    ranks = []
    for values in columns:
        taken = values[::step]
        known = ~np.isnan(taken)
        ranked = np.full(len(taken), np.nan)
        ranked[known] = rankdata(taken[known])
        # A missing value says nothing of a correlation: it takes the middle.
        ranks.append(np.where(known, ranked - (np.nanmean(ranked) if known.any() else 0.0), 0.0))
    stacked = np.stack(ranks)
    norms = np.sqrt(np.square(stacked).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations: Floats = (stacked @ stacked.T) / np.outer(norms, norms)
    has_no_order = np.array(are_named)
    correlations[(has_no_order[:, np.newaxis] | has_no_order) & ~np.eye(len(columns), dtype=np.bool_)] = np.nan
    return correlations


def _notable(names: Sequence[str], correlations: Floats) -> tuple[Pair, ...]:
    pairs = [
        Pair(names[i], names[j], float(correlations[i, j]))
        for i in range(len(names))
        for j in range(i)
        if abs(correlations[i, j]) >= _NOTABLE
    ]
    return tuple(sorted(pairs, key=lambda pair: -abs(pair.correlation))[:_SHOWN_PAIRS])


def _drift(name: str, values: Floats, blocks: Sequence[NDArray[np.int64]], n_compared: int) -> FeatureDrift:
    edges = skew.edges_of(values[blocks[0]])
    first = skew.counts_of(values[blocks[0]], edges)
    indices, limits = [], []
    for block in blocks[1:]:
        counts = skew.counts_of(values[block], edges)
        indices.append(skew.stability_index(first, counts))
        limits.append(skew.limit_of(first, counts, n_compared))
    return FeatureDrift(name, tuple(indices), tuple(limits))


def _doubles(table: TrainingTable) -> int:
    rows = np.column_stack([table.rows, table.truth.astype(np.float32)])
    _, counts = np.unique(np.nan_to_num(rows, nan=np.inf), axis=0, return_counts=True)
    return int(counts[counts > 1].sum() - np.sum(counts > 1))
