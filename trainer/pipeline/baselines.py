"""What a model must beat: a constant answer, and the last label that was known. Both know the truth, none a feature."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.models.metrics import is_classification_metric, quality
from trainer.features.table import RowTimes
from trainer.pipeline.paired import chance_of_gain

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Persistence:
    """Before how many judged rows a label was known, how good it is as the answer, and whether a gain is chance."""

    rows: int
    quality: float
    chance: float


NO_PERSISTENCE: Final = Persistence(0, 0.0, 1.0)


def constant_answers(metric: str, truth: Floats, n_labels: int) -> Floats:
    """Return the best constant answer, ``(n, n_outputs)``.

    It is the most frequent label, or the mean (the median for the absolute error); of a detector, that all is as usual
    or that nothing is.
    """
    if is_classification_metric(metric) and not n_labels:
        sides = (np.full((len(truth), 1), decision) for decision in (1.0, -1.0))
        return max(sides, key=lambda side: quality(metric, truth, side))
    if not n_labels:
        return np.full((len(truth), 1), np.median(truth) if metric == "mae" else truth.mean())
    outputs = np.zeros((len(truth), n_labels))
    outputs[:, np.bincount(truth.astype(np.int64), minlength=n_labels).argmax()] = 1.0
    return outputs


def constant_quality(metric: str, truth: Floats, n_labels: int) -> float:
    """Return the quality of the best constant answer."""
    return quality(metric, truth, constant_answers(metric, truth, n_labels))


def majority_share(truth: Floats, n_labels: int) -> float:
    """Return the share of the most frequent label; 0 where there are none."""
    return float(np.bincount(truth.astype(np.int64)).max() / len(truth)) if n_labels else 0.0


def last_known(truth: Floats, times: RowTimes, asked: NDArray[np.bool_]) -> Floats:
    """Return for each asked row the label of the latest row of its series whose label was known before it.

    Args:
        truth: ``(n,)``, of all rows.
        times: of all rows.
        asked: ``(n,) bool``.

    Returns:
        ``(n_asked,)``; NaN where no label was known.
    """
    answers = np.full(len(truth), np.nan)
    for series in np.unique(times.series[asked]):
        rows = np.flatnonzero(times.series == series)
        rows = rows[np.argsort(times.known[rows], kind="stable")]
        at, known = times.at[rows], times.known[rows]
        usable = int(np.isfinite(known).sum())
        if not usable:
            continue
        # The latest row among the first k that are known: a late label of an old row never hides a newer one.
        places = np.arange(usable)
        newest = np.maximum.accumulate(at[:usable])
        latest = np.maximum.accumulate(np.where(at[:usable] == newest, places, 0))
        # Strictly before: a label that is known at once is not known to its own row.
        count = np.searchsorted(known[:usable], at, side="left")
        has_one = (count > 0) & np.isfinite(at)
        answers[rows[has_one]] = truth[rows[latest[count[has_one] - 1]]]
    return answers[asked]


def persistent_answers(values: Floats, constant: Floats, *, is_detector: bool) -> Floats:
    """Return labels or values as answers of a model, ``(n, n_outputs)``; those of `constant` where there is none.

    Args:
        values: ``(n,)``, as `last_known` returns them.
        constant: answers ``(n, n_outputs)`` of the same rows.
        is_detector: whether an answer is a decision, below 0 for an anomaly.
    """
    answers, has_value = constant.copy(), ~np.isnan(values)
    if constant.shape[1] > 1:
        answers[has_value] = np.eye(constant.shape[1])[values[has_value].astype(np.int64)]
    elif is_detector:
        answers[has_value, 0] = np.where(values[has_value] > 0, -1.0, 1.0)
    else:
        answers[has_value, 0] = values[has_value]
    return answers


def judge_persistence(
    metric: str, truth: Floats, values: Floats, answers: Floats, others: Floats, rng: np.random.Generator
) -> Persistence:
    """Judge who answers by the last label that was known, and a model's gain over that.

    Args:
        metric: see `exporter.models.metrics`.
        truth: ``(n,)``, of the judged rows, in the order of time.
        values: ``(n,)``, as `last_known` returns them.
        answers: of the model, ``(n, n_outputs)``.
        others: what `persistent_answers` makes of `values`.
        rng: swaps (`chance_of_gain`).
    """
    count = int((~np.isnan(values)).sum())
    if not count:
        return NO_PERSISTENCE
    return Persistence(count, quality(metric, truth, others), chance_of_gain(metric, truth, answers, others, rng))
