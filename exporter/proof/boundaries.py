"""Searches for rows on the decision boundary: pairs of different decisions, walked towards each other to the last bit.

Each pair is an evaluation row and its nearest neighbour of another decision. The way between them is cut into sixteen,
the section where the decision changes is cut again, six times: 24 halvings, as many as float32 has bits, in six calls
of the original, which is slow at few rows.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.models.model import FittedModel, Rows
from exporter.proof.acceptance import categories_of

PAIRS: Final = 64
_SECTIONS: Final = 16
_ROUNDS: Final = 6
# Neighbours are sought among so many rows: enough to find near ones, few enough to compare with all.
_POOL: Final = 1000

Decisions = NDArray[np.int64]


def boundary_rows(
    model: FittedModel, rows: Rows, decide: Callable[[Rows], Decisions], rng: np.random.Generator
) -> Rows:
    """Return rows on both sides of the boundary, next to it and a little off; none where there is one decision only.

    Args:
        model: whose features these are.
        rows: ``(n, n_features) float32`` to start from.
        decide: the original's decisions, ``(n,)``.
        rng: chooses the rows to start from.
    """
    left, right = _pairs(rows, decide(rows), rng)
    # A category between two categories is none, and what one of them lacks nobody can walk: these stay as on one side.
    left, right = np.where(np.isnan(right), right, left), np.where(np.isnan(left), left, right)
    categories = categories_of(model.features)
    right[:, categories] = left[:, categories]
    is_apart = decide(left) != decide(right) if len(left) else np.zeros(0, dtype=bool)
    left, right = left[is_apart], right[is_apart]
    if len(left) == 0:
        return rows[:0]
    found = []
    side = decide(left)
    for _ in range(_ROUNDS):
        left, right = _narrow(left, right, side, decide)
        found += [left, right]
    # Next to the boundary, and one step off it: nearer than any row of a sensor, farther than rounding.
    distinct: Rows = np.unique(np.concatenate([*found[:2], *found[-2:]]), axis=0)
    return distinct


def _narrow(left: Rows, right: Rows, side: Decisions, decide: Callable[[Rows], Decisions]) -> tuple[Rows, Rows]:
    """Return the ends of the first section of each way in which the decision is no longer ``side``."""
    fractions = (np.arange(_SECTIONS + 1) / _SECTIONS).astype(np.float32)[np.newaxis, :, np.newaxis]
    points = left[:, np.newaxis] + (right - left)[:, np.newaxis] * fractions
    points[:, -1] = right
    inner = points[:, 1:-1].reshape(-1, left.shape[1])
    differs = np.ones((len(left), _SECTIONS), dtype=bool)
    differs[:, :-1] = decide(inner).reshape(len(left), -1) != side[:, np.newaxis]
    first = np.argmax(differs, axis=1)
    at = np.arange(len(left))
    return points[at, first], points[at, first + 1]


def _pairs(rows: Rows, decisions: Decisions, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Choose rows of every decision in turn, and for each its nearest neighbour of another one."""
    order = rng.permutation(len(rows))
    by_decision = [order[decisions[order] == decision] for decision in np.unique(decisions)]
    if len(by_decision) < 2:  # noqa: PLR2004 - a boundary has two sides
        return rows[:0], rows[:0]
    share = -(-PAIRS // len(by_decision))
    anchors = np.concatenate([own[:share] for own in by_decision])
    pool = np.concatenate([own[: -(-_POOL // len(by_decision))] for own in by_decision])
    scaled = _standardised(rows[np.concatenate([anchors, pool])])
    starts, ends = scaled[: len(anchors)], scaled[len(anchors) :]
    distance = np.square(starts).sum(axis=1)[:, np.newaxis] + np.square(ends).sum(axis=1) - 2 * starts @ ends.T
    distance[decisions[anchors][:, np.newaxis] == decisions[pool]] = np.inf
    return rows[anchors], rows[pool[np.argmin(distance, axis=1)]]


def _standardised(rows: Rows) -> NDArray[np.float64]:
    values = rows.astype(np.float64)
    missing = np.isnan(values)
    n_present = np.maximum((~missing).sum(axis=0), 1)
    centred = np.where(missing, 0.0, values - np.where(missing, 0.0, values).sum(axis=0) / n_present)
    spread = np.sqrt(np.square(centred).sum(axis=0) / n_present)
    scaled: NDArray[np.float64] = centred / np.where(spread > 0, spread, 1.0)
    return scaled
