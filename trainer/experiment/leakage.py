"""Which columns tell the target by themselves? Such a column is a gift, or was not known when a device must answer.

A small tree of that one column is judged on stretches of rows that it did not see. What is told is a hint: only people
know when a value comes into being.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from trainer.features.table import TrainingTable

# Share of what a constant answer gets wrong that one column gets right: beyond this it is nearly the target itself.
_NEARLY_TARGET: Final = 0.9
# Or it is far ahead of every other column.
_FAR_AHEAD: Final = (0.5, 2.0)
_STRETCHES: Final = 21
_FOLDS: Final = 3
_MAX_ROWS: Final = 12_000
_LEAVES: Final = 64


class ColumnAlone(Struct, frozen=True):
    """What one column says of the target.

    Attributes:
        gain: share of what a constant answer gets wrong that this column alone gets right; 1: it tells the target.
        hint: why it may leak the target; empty when nothing points at that.
    """

    name: str
    gain: float
    hint: str


def judge_columns(table: TrainingTable, seed: int) -> tuple[ColumnAlone, ...]:
    """Judge each column by itself, the most telling first."""
    step = max(1, -(-len(table.truth) // _MAX_ROWS))
    rows, truth = table.rows[::step], table.truth[::step]
    folds = (np.arange(len(truth)) * _STRETCHES // len(truth)) % _FOLDS
    gains = [
        (name, _gain(rows[:, [place]], truth, folds, seed, is_classification=bool(table.labels)))
        for place, name in enumerate(table.names)
    ]
    gains.sort(key=lambda item: -item[1])
    return hints_of(gains)


def hints_of(gains: Sequence[tuple[str, float]]) -> tuple[ColumnAlone, ...]:
    """Decide from the gains, the greatest first, which columns to point at."""
    judged = []
    for place, (name, gain) in enumerate(gains):
        rest = gains[place + 1][1] if place + 1 < len(gains) else 0.0
        hint = ""
        if gain >= _NEARLY_TARGET:
            hint = f"by itself it gets {gain:.0%} of that right which a constant answer gets wrong"
        elif place == 0 and len(gains) > 1 and gain >= _FAR_AHEAD[0] and gain >= _FAR_AHEAD[1] * max(rest, 0.0):
            hint = f"by itself it gets {gain:.0%} of that right which a constant answer gets wrong, the next {rest:.0%}"
        judged.append(ColumnAlone(name, gain, hint))
    return tuple(judged)


def _gain(
    column: NDArray[np.float32],
    truth: NDArray[np.float64],
    folds: NDArray[np.int64],
    seed: int,
    *,
    is_classification: bool,
) -> float:
    wrong, wrong_of_constant = 0.0, 0.0
    for fold in range(_FOLDS):
        inside = folds == fold
        known, asked = truth[~inside], truth[inside]
        if not len(known) or not len(asked):
            continue
        smallest = max(5, len(known) // 200)
        kind: Any = DecisionTreeClassifier if is_classification else DecisionTreeRegressor
        tree = kind(max_leaf_nodes=_LEAVES, min_samples_leaf=smallest, random_state=seed)
        answers = tree.fit(column[~inside], known).predict(column[inside])
        if is_classification:
            values, counts = np.unique(known, return_counts=True)
            wrong += float(np.sum(answers != asked))
            wrong_of_constant += float(np.sum(asked != values[counts.argmax()]))
        else:
            wrong += float(np.sum(np.square(answers - asked)))
            wrong_of_constant += float(np.sum(np.square(known.mean() - asked)))
    return 1 - wrong / wrong_of_constant if wrong_of_constant else 0.0
