"""The quality metrics of a project: each is a number that is higher for a better model.

Defined as in scikit-learn (https://scikit-learn.org/stable/modules/model_evaluation.html); ``mae`` is negated.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.model import Outputs, Truth


def quality(metric: str, truth: Truth, outputs: Outputs) -> float:
    """Judge outputs by the truth.

    Args:
        metric: ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``r2`` or ``mae``.
        truth: ``(n,)``: index of the label, or the value.
        outputs: ``(n, n_outputs)``: probabilities by label, or one value.

    Raises:
        ValueError: an unknown metric, or no row.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
    if len(truth) == 0 or len(truth) != len(outputs):
        raise ValueError(f"{metric} of {len(truth)} truths and {len(outputs)} outputs")
    return METRICS[metric](np.asarray(truth, dtype=np.float64), np.asarray(outputs, dtype=np.float64))


def labels_of(outputs: Outputs) -> NDArray[np.int64]:
    """Return the index of the most probable label of each row; the first of equals."""
    indices: NDArray[np.int64] = np.argmax(outputs, axis=1).astype(np.int64)
    return indices


def is_classification_metric(metric: str) -> bool:
    """Tell whether a metric judges labels."""
    return metric in ("accuracy", "balanced_accuracy", "macro_f1")


def _accuracy(truth: NDArray[np.float64], outputs: Outputs) -> float:
    return float(np.mean(labels_of(outputs) == truth))


def _balanced_accuracy(truth: NDArray[np.float64], outputs: Outputs) -> float:
    predicted = labels_of(outputs)
    return float(np.mean([np.mean(predicted[truth == label] == label) for label in np.unique(truth)]))


def _macro_f1(truth: NDArray[np.float64], outputs: Outputs) -> float:
    predicted = labels_of(outputs)
    scores = []
    for label in np.union1d(truth, predicted):
        hits = np.sum((truth == label) & (predicted == label))
        scores.append(2 * hits / (np.sum(truth == label) + np.sum(predicted == label)))
    return float(np.mean(scores))


def _r2(truth: NDArray[np.float64], outputs: Outputs) -> float:
    residual = float(np.sum((truth - outputs[:, 0]) ** 2))
    total = float(np.sum((truth - np.mean(truth)) ** 2))
    # A constant truth: scikit-learn's convention.
    return 1.0 - residual / total if total > 0 else float(residual == 0)


def _negative_mae(truth: NDArray[np.float64], outputs: Outputs) -> float:
    return -float(np.mean(np.abs(truth - outputs[:, 0])))


METRICS: Final[Mapping[str, Callable[[NDArray[np.float64], Outputs], float]]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "r2": _r2,
    "mae": _negative_mae,
}
