"""Metrics of quality, higher is better, each from sums over rows: so that any set of rows is judged without its rows.

Sums make the intervals of `exporter.proof.intervals` cheap: a resample is a weighting of sums. Definitions are those of
[scikit-learn](https://scikit-learn.org/stable/modules/model_evaluation.html); ``mae`` is negated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import Task
from exporter.models.model import Outputs, Truth

Floats = NDArray[np.float64]

_ROUNDING: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric in two halves.

    Attributes:
        parts: truth ``(n,)`` and outputs ``(n, n_outputs)`` to what is summed, ``(n, n_parts)``.
        value: sums ``(…, n_parts)`` to values ``(…,)``.
        judges_labels: whether it judges labels, and not values.
    """

    parts: Callable[[Floats, Outputs], Floats]
    value: Callable[[Floats], Floats]
    judges_labels: bool


def quality(metric: str, truth: Truth, outputs: Outputs) -> float:
    """Judge outputs by the truth.

    Args:
        metric: ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``r2`` or ``mae``.
        truth: ``(n,)``: index of the label (1 for an anomaly), or the value.
        outputs: ``(n, n_outputs)``: probabilities by label, one decision of a detector, or one value.

    Raises:
        ValueError: an unknown metric, or no row.
    """
    return float(metric_of(metric).value(parts_of(metric, truth, outputs).sum(axis=0)))


def parts_of(metric: str, truth: Truth, outputs: Outputs) -> Floats:
    """Return what a metric sums, row by row, ``(n, n_parts)``; raise as `quality` does."""
    if len(truth) == 0 or len(truth) != len(outputs):
        raise ValueError(f"{metric} of {len(truth)} truths and {len(outputs)} outputs")
    return metric_of(metric).parts(np.asarray(truth, dtype=np.float64), np.asarray(outputs, dtype=np.float64))


def metric_of(name: str) -> Metric:
    """Return a metric by its name; raise ValueError for an unknown one."""
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
    return METRICS[name]


def labels_of(outputs: Outputs) -> NDArray[np.int64]:
    """Return the index of the most probable label of each row; the first of equals."""
    indices: NDArray[np.int64] = np.argmax(outputs, axis=1).astype(np.int64)
    return indices


def decisions_of(task: Task, outputs: Outputs) -> NDArray[np.int64]:
    """Return what a device decides by outputs ``(n, n_outputs)``: the label, or 1 for an anomaly; 0 for regression."""
    return np.zeros(len(outputs), dtype=np.int64) if task == "regression" else _decided(outputs)


def is_classification_metric(metric: str) -> bool:
    """Tell whether a metric judges labels."""
    return metric in METRICS and METRICS[metric].judges_labels


def _decided(outputs: Outputs) -> NDArray[np.int64]:
    """Return the label of each row; of one output, which is the decision of a detector, 1 for an anomaly."""
    return (outputs[:, 0] < 0).astype(np.int64) if outputs.shape[1] == 1 else labels_of(outputs)


def suits(metric: str, task: Task) -> bool:
    """Tell whether a metric judges a task.

    A detector is judged by what it calls an anomaly, or by its numbers; `agreement` judges what has a label or a side
    of 0; the others either labels or values.
    """
    if metric == "agreement":
        return task != "regression"
    if metric not in METRICS:
        return False
    return task == "anomaly" or METRICS[metric].judges_labels == (task == "classification")


def _agreement_parts(truth: Floats, outputs: Outputs) -> Floats:
    """Compare labels, or of one output the side of 0, with those of the original."""
    if outputs.shape[1] > 1:
        return _hit_parts(truth, outputs)
    return np.stack([np.ones(len(truth)), (outputs[:, 0] < 0) == (truth < 0)], axis=1)


def _hit_parts(truth: Floats, outputs: Outputs) -> Floats:
    return np.stack([np.ones(len(truth)), _decided(outputs) == truth], axis=1)


def _class_parts(truth: Floats, outputs: Outputs) -> Floats:
    """One column a class of each: rows of that truth, rows of that prediction, rows of both."""
    classes = np.arange(max(outputs.shape[1], 2, int(truth.max()) + 1))
    is_true = truth[:, np.newaxis] == classes
    is_predicted = _decided(outputs)[:, np.newaxis] == classes
    return np.concatenate([is_true, is_predicted, is_true & is_predicted], axis=1).astype(np.float64)


def _value_parts(truth: Floats, outputs: Outputs) -> Floats:
    # About the mean: the sum of the squares of values far from zero has lost what they differ by.
    centred = truth - np.mean(truth)
    return np.stack([np.ones(len(truth)), np.square(truth - outputs[:, 0]), centred, np.square(centred)], axis=1)


def _error_parts(truth: Floats, outputs: Outputs) -> Floats:
    return np.stack([np.ones(len(truth)), -np.abs(truth - outputs[:, 0])], axis=1)


def _mean(sums: Floats) -> Floats:
    mean: Floats = sums[..., 1] / sums[..., 0]
    return mean


def _balanced_accuracy(sums: Floats) -> Floats:
    true, _, hits = np.split(sums, 3, axis=-1)
    return _mean_where(hits, true)


def _macro_f1(sums: Floats) -> Floats:
    true, predicted, hits = np.split(sums, 3, axis=-1)
    return _mean_where(2 * hits, true + predicted)


def _mean_where(numerator: Floats, denominator: Floats) -> Floats:
    """Return the mean of the ratios over the classes that occur."""
    occurs = denominator > 0
    ratios = np.where(occurs, numerator / np.where(occurs, denominator, 1.0), 0.0)
    mean: Floats = ratios.sum(axis=-1) / occurs.sum(axis=-1)
    return mean


def _r2(sums: Floats) -> Floats:
    n, residual, total, squares = np.moveaxis(sums, -1, 0)
    spread = squares - np.square(total) / n
    varies = spread > _ROUNDING * squares
    # A constant truth: scikit-learn's convention.
    constant = (residual == 0).astype(np.float64)
    r2: Floats = np.where(varies, 1.0 - residual / np.where(varies, spread, 1.0), constant)
    return r2


METRICS: Final[Mapping[str, Metric]] = {
    "agreement": Metric(_agreement_parts, _mean, judges_labels=True),
    "accuracy": Metric(_hit_parts, _mean, judges_labels=True),
    "balanced_accuracy": Metric(_class_parts, _balanced_accuracy, judges_labels=True),
    "macro_f1": Metric(_class_parts, _macro_f1, judges_labels=True),
    "r2": Metric(_value_parts, _r2, judges_labels=False),
    "mae": Metric(_error_parts, _mean, judges_labels=False),
}
