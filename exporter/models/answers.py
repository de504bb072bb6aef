"""What a model answers for a row: which of an estimator's answers it is, so that its greatest number is its label.

- Regression: ``predict``. Anomaly detection: ``decision_function``; below 0 is an anomaly.
- Classification: ``predict_proba``. It is what the estimator's author asked for, so it stays the answer of an
  ``SVC(probability=True)`` too, whose ``predict`` may name another label on rows near a boundary.
- Classification without probabilities: the softmax of ``decision_function``; of two classes, the logistic function of
  one decision. Its greatest number is what ``predict`` names.
- ``SVC`` and ``NuSVC`` of more than two classes let pairs vote, and the first of equals wins, while their
  ``decision_function`` breaks ties by confidence: five eighths of the answer are the label that ``predict`` names, the
  rest is the softmax of the decisions, so that the label is right and the confidence still tells near rows from clear
  ones. So with ``NearestCentroid``, whose ``predict`` and ``predict_proba`` measure distances differently.
- A hard vote answers the voters' shares. A classifier with a threshold answers its estimator's probabilities, stretched
  on both sides of the threshold so that the label changes there.
- Clustering: 1 for the cluster, else 0. So with classifiers that have nothing but ``predict``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.base import is_clusterer, is_outlier_detector, is_regressor
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC, NuSVC
from sklearn.utils.multiclass import _ovr_decision_function

from edge_agent.bundle import Task

Outputs: TypeAlias = NDArray[np.float64]
# "answer" is a rule of the family's own, see above.
Answer: TypeAlias = Literal["value", "score", "probabilities", "decision", "answer", "label", "cluster"]

# The share of the label in an answer of label and scores: more than half, so that no score outweighs it.
LABEL_SHARE: Final = 0.625

# By how much the label of a threshold leads on it: beyond what float32 rounds at one half.
MARGIN: Final = 2.0**-20
_BINARY: Final = 2


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a classifier of two classes changes its label.

    Attributes:
        positive: index of the class whose score is judged.
        threshold: the class is named from here on.
        response: whether the score is its probability, or the decision for it.
    """

    positive: int
    threshold: float
    response: Literal["probabilities", "decision"]


def task_of(estimator: Any) -> Task:
    """Return what an estimator does; one from elsewhere classifies if it has `classes_`."""
    if not hasattr(estimator, "__sklearn_tags__"):
        return "regression" if getattr(estimator, "classes_", None) is None else "classification"
    if is_outlier_detector(estimator):
        return "anomaly"
    return "regression" if is_regressor(estimator) else "classification"


def labels_of_estimator(estimator: Any) -> tuple[str, ...]:
    """Return the names of an estimator's classes or clusters, in the order of its answers; empty if it has none."""
    if hasattr(estimator, "__sklearn_tags__") and is_clusterer(estimator):
        return tuple(f"cluster_{i}" for i in range(_n_clusters(final_of(estimator))))
    classes = getattr(estimator, "classes_", None)
    return () if classes is None else tuple(str(label) for label in np.asarray(classes).tolist())


def final_of(estimator: Any) -> Any:
    """Return the estimator that answers, out of pipelines, searches and wrappers that only pass rows on."""
    while True:
        if isinstance(estimator, Pipeline):
            estimator = next(s for _, s in reversed(estimator.steps) if s is not None and s != "passthrough")
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator


def answer_of(estimator: Any, task: Task) -> Answer:
    """Return which answer of an estimator is the model's."""
    if task != "classification":
        return "value" if task == "regression" else "score"
    last = final_of(estimator)
    if hasattr(last, "__sklearn_tags__") and is_clusterer(last):
        return "cluster"
    if _has_own_answer(estimator, last):
        return "answer"
    if hasattr(estimator, "predict_proba") and not _predicts_by_decision_alone(last):
        return "probabilities"
    return "decision" if hasattr(estimator, "decision_function") else "label"


def answers(estimator: Any, task: Task, rows: Any) -> Outputs:
    """Return the model's answers to rows as it was trained on: ``(n, n_outputs)``, or ``(n,)`` for one number."""
    return np.asarray(_ANSWERS[answer_of(estimator, task)](estimator, rows), dtype=np.float64)


def cut_of(model: Any) -> Cut:
    """Return where a classifier with a threshold changes its label."""
    if isinstance(model, TunedThresholdClassifierCV):
        positive_label, threshold = model._curve_scorer._get_pos_label(), model.best_threshold_
    else:
        positive_label, threshold = model.pos_label, model.threshold
    asked = ["predict_proba", "decision_function"] if model.response_method == "auto" else [model.response_method]
    method = next(name for name in asked if hasattr(model.estimator_, name))
    if threshold == "auto":
        threshold = 0.5 if method == "predict_proba" else 0.0
    classes = np.asarray(model.classes_).tolist()
    positive = 1 if positive_label is None else classes.index(positive_label)
    return Cut(positive, float(threshold), "probabilities" if method == "predict_proba" else "decision")


def moved(scores: Outputs, cut: Cut) -> Outputs:
    """Stretch probabilities so that one half lies at the threshold, with a step of twice `MARGIN`."""
    low, high, at = 0.5 - MARGIN, 0.5 + MARGIN, cut.threshold
    above = high + (scores - at) / max(1.0 - at, MARGIN) * low if at > 0 else high + scores * low
    below = scores / max(at, MARGIN) * low if at <= 1 else scores * low
    return np.clip(np.where(scores >= at, above, below), 0.0, 1.0)


def _shares(decisions: Outputs) -> Outputs:
    if decisions.ndim == 1 or decisions.shape[1] == 1:
        positive = expit(decisions.reshape(-1))
        return np.stack([1.0 - positive, positive], axis=1)
    return np.asarray(softmax(decisions, axis=1))


def _one_hot(estimator: Any, rows: Any) -> Outputs:
    predicted = np.asarray(estimator.predict(rows))[:, np.newaxis]
    return np.asarray(predicted == np.asarray(estimator.classes_), dtype=np.float64)


def _own_answer(estimator: Any, rows: Any) -> Outputs:
    last = final_of(estimator)
    if isinstance(last, SVC | NuSVC):
        decisions = np.asarray(estimator.decision_function(rows), dtype=np.float64)
        if last.decision_function_shape == "ovo":
            decisions = _ovr_decision_function(decisions < 0, -decisions, len(last.classes_))
        return _with_label(_one_hot(estimator, rows), _shares(decisions))
    if isinstance(last, NearestCentroid):
        return _with_label(_one_hot(estimator, rows), np.asarray(estimator.predict_proba(rows)))
    if _is_hard_vote(last):
        votes = np.asarray(estimator.transform(rows))
        weights = np.ones(votes.shape[1]) if last.weights is None else np.asarray(last._weights_not_none)
        shares = (votes[:, :, np.newaxis] == np.arange(len(last.classes_))) * weights[:, np.newaxis]
        return np.asarray(shares.sum(axis=1) / weights.sum(), dtype=np.float64)
    cut = cut_of(last)
    if cut.response == "probabilities":
        positive = moved(np.asarray(estimator.predict_proba(rows), dtype=np.float64)[:, cut.positive], cut)
    else:
        decisions = np.asarray(estimator.decision_function(rows), dtype=np.float64).reshape(-1)
        above = (decisions if cut.positive else -decisions) - cut.threshold
        positive = moved(expit(above), Cut(cut.positive, 0.5, "probabilities"))
    pair = [1.0 - positive, positive] if cut.positive else [positive, 1.0 - positive]
    return np.stack(pair, axis=1)


def _has_own_answer(estimator: Any, last: Any) -> bool:
    if isinstance(last, FixedThresholdClassifier | TunedThresholdClassifierCV) or _is_hard_vote(last):
        return True
    if isinstance(last, NearestCentroid):
        return hasattr(estimator, "predict_proba")
    if not isinstance(last, SVC | NuSVC) or len(last.classes_) == _BINARY or hasattr(estimator, "predict_proba"):
        return False
    return not (last.break_ties and last.decision_function_shape == "ovr")


def _predicts_by_decision_alone(last: Any) -> bool:
    """Tell whether the greatest probability may not be what it predicts: many rows have several of 1, or all of 0."""
    return isinstance(last, SGDClassifier) and last.loss == "modified_huber" and len(last.classes_) > _BINARY


def _with_label(label: Outputs, shares: Outputs) -> Outputs:
    return LABEL_SHARE * label + (1.0 - LABEL_SHARE) * shares


def _is_hard_vote(estimator: Any) -> bool:
    return isinstance(estimator, VotingClassifier) and estimator.voting == "hard"


def _n_clusters(clustering: Any) -> int:
    if hasattr(clustering, "subcluster_labels_"):
        return int(clustering.subcluster_labels_.max()) + 1
    return len(clustering.cluster_centers_)


_ANSWERS: Final[Mapping[Answer, Callable[[Any, Any], Any]]] = {
    "value": lambda estimator, rows: estimator.predict(rows),
    "score": lambda estimator, rows: estimator.decision_function(rows),
    "probabilities": lambda estimator, rows: estimator.predict_proba(rows),
    "decision": lambda estimator, rows: _shares(np.asarray(estimator.decision_function(rows), dtype=np.float64)),
    "cluster": lambda estimator, rows: np.eye(_n_clusters(final_of(estimator)))[np.asarray(estimator.predict(rows))],
    "label": _one_hot,
    "answer": _own_answer,
}
