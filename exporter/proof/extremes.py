"""Makes rows that sensors seldom send and devices must take: ends of ranges, tiny and huge numbers, gaps, categories.

Infinity is not among them: no device hands it to a model, it refuses the row.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import Feature
from exporter.models.model import Rows
from exporter.proof.acceptance import categories_of, flagged_of

_EXTREME_ROWS: Final = 400
_HUGE_FEATURES: Final = 20
_MISSING_ROWS: Final = 200
_SEVERAL_MISSING: Final = 30
_CATEGORY_ROWS: Final = 200
_SHARE_MISSING: Final = 0.3
HUGE: Final = (1e10, 1e20, float(np.finfo(np.float32).max))
# Subnormal, which some processors take for zero, and the smallest that is normal.
_TINY: Final = (0.0, -0.0, 1e-45, -1e-45, float(np.finfo(np.float32).tiny))


def extreme_rows(features: tuple[Feature, ...], rows: Rows, known: Rows, rng: np.random.Generator) -> Rows:
    """Return rows with one number at an end of its range, beyond it, or tiny; and rows with all of them there.

    Args:
        features: of the model.
        rows: ``(n, n_features) float32`` in which the numbers are set.
        known: rows whose smallest and greatest values are the ends.
        rng: chooses among the rows.
    """
    numeric = _numeric_of(features)
    low, high = _ends(known)
    width = np.minimum(high - low, np.float32(HUGE[0]))
    values = [(i, v) for i in numeric for v in _values_of(features[i], *(float(end[i]) for end in (low, high, width)))]
    chosen = sorted(rng.choice(len(values), size=min(len(values), _EXTREME_ROWS), replace=False).tolist())
    single = _bases(rows, len(chosen), rng)
    for row, place in zip(single, chosen, strict=True):
        row[values[place][0]] = values[place][1]
    whole = _bases(rows, 4 + len(_TINY), rng)
    ends = np.where(np.arange(len(features)) % 2 == 0, low, high)
    tiny = [np.full_like(low, value) for value in _TINY]
    for row, all_values in zip(whole, (low, high, ends, low + high - ends, *tiny), strict=True):
        row[numeric] = all_values[numeric]
    return np.concatenate([single, whole])


def huge_rows(features: tuple[Feature, ...], rows: Rows, size: float, rng: np.random.Generator) -> Rows:
    """Return rows with one number, or all, as far from zero as ``size``."""
    numeric = _numeric_of(features)
    chosen = sorted(rng.permutation(numeric)[:_HUGE_FEATURES].tolist())
    made = _bases(rows, 2 * len(chosen) + 2, rng)
    for place, column in enumerate(chosen):
        made[2 * place, column], made[2 * place + 1, column] = size, -size
    made[-2, numeric], made[-1, numeric] = size, -size
    return made


def missing_rows(features: tuple[Feature, ...], rows: Rows, rng: np.random.Generator) -> Rows:
    """Return rows without one number each, feature by feature in turn, without several, and without all that may."""
    flagged = [i for i in flagged_of(features) if features[i].dtype != "category"]
    if not flagged:
        return rows[:0]
    n_single = min(max(len(flagged), 20), _MISSING_ROWS)
    made = _bases(rows, n_single + _SEVERAL_MISSING + 1, rng)
    made[np.arange(n_single), np.resize(flagged, n_single)] = np.nan
    lacks = np.zeros((_SEVERAL_MISSING, len(features)), dtype=bool)
    lacks[:, flagged] = rng.random((_SEVERAL_MISSING, len(flagged))) < _SHARE_MISSING
    made[n_single:-1][lacks] = np.nan
    made[-1, flagged] = np.nan
    return made


def category_rows(features: tuple[Feature, ...], rows: Rows, rng: np.random.Generator) -> Rows:
    """Return rows with each category of each feature, and with one that training never saw where a device takes that.

    A device turns such a category into a missing value (`edge_agent.scoring.schema`), so that is what a model gets.
    """
    values = [(i, float(v)) for i in categories_of(features) for v in range(len(features[i].categories))]
    chosen = sorted(rng.permutation(len(values))[:_CATEGORY_ROWS].tolist())
    taken = [values[place] for place in chosen]
    taken += [(i, np.nan) for i in categories_of(features) if features[i].on_missing == "flag"]
    made = _bases(rows, len(taken), rng)
    for row, (column, value) in zip(made, taken, strict=True):
        row[column] = value
    return made


def _values_of(feature: Feature, low: float, high: float, width: float) -> list[float]:
    limits = [limit for limit in (feature.valid_min, feature.valid_max) if limit is not None]
    return [low, high, low - width, high + width, *limits, *_TINY]


def _ends(known: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the smallest and greatest value of each column; 0 where all are missing."""
    missing = np.isnan(known)
    low = np.where(missing, np.inf, known).min(axis=0)
    high = np.where(missing, -np.inf, known).max(axis=0)
    return tuple(np.where(missing.all(axis=0), 0.0, end).astype(np.float32) for end in (low, high))  # type: ignore[return-value] # two


def _numeric_of(features: tuple[Feature, ...]) -> list[int]:
    categories = set(categories_of(features))
    return [i for i in range(len(features)) if i not in categories]


def _bases(rows: Rows, n: int, rng: np.random.Generator) -> Rows:
    chosen: Rows = rows[rng.integers(len(rows), size=n)].copy()
    return chosen
