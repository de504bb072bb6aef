"""Do values leave what was usual? Usual is what the champion learnt from; without one, the project's own rows.

A distribution is skewed when its stability index is large and no chance; gaps, when there are clearly more of them than
before; a category, when it was never seen. The rows that show it are told with each.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from edge_agent.bundle import Feature
from trainer.features.table import TrainingTable
from trainer.pipeline import skew
from trainer.pipeline.anomalies import FeatureStatistics, Found, Rows, found_in

# The fleet's rows are skewed when so many of them lie outside of all that was seen before.
_MAX_UNSEEN: Final = 0.2
# More gaps than before by this share of the rows, and no chance, are worth telling.
_MORE_MISSING: Final = 0.05


def skew_anomalies(
    features: Sequence[Feature],
    table: TrainingTable,
    own: Sequence[FeatureStatistics],
    learnt: Sequence[FeatureStatistics],
) -> list[Found]:
    """Compare the project's rows with what the champion learnt from, and the fleet's rows with the better known.

    Args:
        features: of the table.
        table: all rows.
        own: statistics of the project's own rows.
        learnt: those of the rows that the champion learnt from; empty without one.
    """
    by_name = {known.name: known for known in learnt if known.counts}
    groups = ((np.flatnonzero(~table.is_fleet), "rows"), (np.flatnonzero(table.is_fleet), "rows of the fleet"))
    n_compared = 2 * len(features)
    found: list[Found] = []
    for place, (feature, statistics) in enumerate(zip(features, own, strict=True)):
        for rows, whose in groups:
            is_own = whose == "rows"
            usual = by_name.get(feature.name, None if is_own else statistics)
            if usual is None or not len(rows):
                continue
            values = table.rows[rows, place].astype(np.float64)
            found += _gaps(feature, values, rows, usual, whose)
            if feature.dtype == "category":
                found += _new_categories(feature, values, rows, usual, whose)
            elif not is_own:
                found += _unseen(feature, values, rows, usual)
            found += _shift(feature, values, rows, usual, whose, n_compared)
    return found


def _unseen(feature: Feature, values: NDArray[np.float64], rows: Rows, usual: FeatureStatistics) -> list[Found]:
    if not usual.quantiles:
        return []
    is_unseen = (values < usual.quantiles[0]) | (values > usual.quantiles[-1])
    if is_unseen.mean() <= _MAX_UNSEEN:
        return []
    text = (
        f"{is_unseen.mean():.0%} of the fleet's rows lie outside of [{usual.quantiles[0]:g}, {usual.quantiles[-1]:g}]"
    )
    return [found_in("value", feature.name, "unseen", rows[is_unseen], text)]


def _gaps(
    feature: Feature, values: NDArray[np.float64], rows: Rows, usual: FeatureStatistics, whose: str
) -> list[Found]:
    missing = np.isnan(values)
    before, now = usual.missing / usual.rows if usual.rows else 0.0, float(missing.mean())
    pooled = (usual.missing + int(missing.sum())) / (usual.rows + len(values))
    error = math.sqrt(pooled * (1 - pooled) * (1 / max(usual.rows, 1) + 1 / len(values)))
    if now - before <= max(_MORE_MISSING, float(norm.isf(skew.CHANCE)) * error):
        return []
    text = f"{now:.1%} of the {whose} lack a value, {before:.1%} did before"
    return [found_in("value", feature.name, "missing", rows[missing], text)]


def _new_categories(
    feature: Feature, values: NDArray[np.float64], rows: Rows, usual: FeatureStatistics, whose: str
) -> list[Found]:
    seen = {name for name, count in zip(usual.categories, usual.counts, strict=False) if count}
    found = []
    for code, name in enumerate(feature.categories):
        of_it = values == code
        if name not in seen and of_it.any():
            text = f"{int(of_it.sum())} {whose} are of the category {name!r}, which was never seen before"
            found.append(found_in("value", feature.name, "new category", rows[of_it], text))
    return found


def _shift(
    feature: Feature, values: NDArray[np.float64], rows: Rows, usual: FeatureStatistics, whose: str, n_compared: int
) -> list[Found]:
    if not usual.counts:
        return []
    if feature.dtype == "category":
        # Codes of another time may stand for other names.
        before = dict(zip(usual.categories, usual.counts, strict=False))
        edges: tuple[float, ...] = tuple(float(code) for code in range(len(feature.categories) - 1))
        known = (*(before.get(name, 0) for name in feature.categories), usual.counts[-1])
    else:
        edges, known = usual.edges, usual.counts
    counts = skew.counts_of(values, edges)
    index, limit = skew.stability_index(known, counts), skew.limit_of(known, counts, n_compared)
    if index <= limit:
        return []
    grown = np.asarray(counts) / sum(counts) - np.asarray(known) / max(sum(known), 1)
    most = int(grown.argmax())
    missing = np.isnan(values)
    bins = np.searchsorted(np.asarray(edges), np.where(missing, 0.0, values), side="left")
    inside = missing if most == len(counts) - 1 else (bins == most) & ~missing
    text = (
        f"the values of the {whose} are distributed otherwise: stability index {index:.2f}, at most {limit:.2f}; "
        f"most grew {_bin_name(feature, edges, most)}, to {inside.mean():.0%}"
    )
    return [found_in("value", feature.name, "distribution", rows[inside], text)]


def _bin_name(feature: Feature, edges: Sequence[float], place: int) -> str:
    if place > len(edges):
        return "the missing"
    if feature.dtype == "category":
        return f"the category {feature.categories[place]!r}"
    if place == 0:
        return f"those up to {edges[0]:g}"
    return f"those above {edges[-1]:g}" if place == len(edges) else f"those of {edges[place - 1]:g} to {edges[place]:g}"
