"""Reads support vector machines of libsvm: classifiers, regressors, one class.

libsvm decides each pair of classes (i, j), i < j, by a weighted sum of kernels; a decision above 0 is a vote for i.
(Chang and Lin, LIBSVM: a library for support vector machines, ACM TIST 2:3, 2011, section 4.)
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from exporter.models.answers import LABEL_SHARE
from exporter.programs.program import Affine, Average, Bins, Coupling, Curve, Kernel, Linear, OvrOfOvo, Softmax
from exporter.reading.reading import Readers, Reading

Floats = NDArray[np.float64]

_KERNELS: Final = ("linear", "rbf", "poly", "sigmoid")
_BINARY: Final = 2


def pairs_of(n_classes: int) -> list[tuple[int, int]]:
    """Return the pairs of classes in libsvm's order: (0, 1), (0, 2), …, (1, 2), …."""
    return [(i, j) for i in range(n_classes) for j in range(i + 1, n_classes)]


def _sums(reading: Reading, machine: Any, place: int, weights: Floats, bias: Floats) -> int:
    """Add the kernels' sums by ``weights (n_vectors, n_sums)``, and the bias."""
    if machine.kernel not in _KERNELS:
        raise reading.refuse(machine, f"with the kernel {machine.kernel!r}")
    vectors = _dense(machine.support_vectors_)
    if len(vectors) == 0:
        return reading.builder.add(Linear(place, np.zeros((reading.builder.width(place), len(bias))), bias))
    if machine.kernel == "linear":
        return reading.builder.add(Linear(place, vectors.T @ weights, bias))
    kernel = Kernel(place, vectors, machine.kernel, float(machine._gamma), float(machine.coef0), int(machine.degree))
    return reading.builder.add(Linear(reading.builder.add(kernel), weights, bias))


def _dense(values: Any) -> Floats:
    """Return an array, also of what a machine keeps that was trained on sparse rows (one-hot encoded ones)."""
    dense: Floats = np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float64)
    return dense


def _pair_weights(machine: Any) -> Floats:
    """Return ``(n_vectors, n_pairs)``; the vectors stand in the order of their classes."""
    duals = _dense(machine._dual_coef_)
    n_classes = len(machine.classes_)
    class_of = np.repeat(np.arange(n_classes), machine._n_support)
    weights = np.zeros((duals.shape[1], len(pairs_of(n_classes))))
    for pair, (i, j) in enumerate(pairs_of(n_classes)):
        weights[class_of == i, pair] = duals[j - 1, class_of == i]
        weights[class_of == j, pair] = duals[i, class_of == j]
    return weights


def _pairs(reading: Reading, machine: Any, place: int, sign: float) -> int:
    """Add libsvm's decision of each pair; with a sign of -1, above 0 is a vote for the second class."""
    bias = np.asarray(machine._intercept_, dtype=np.float64)
    if len(machine._n_support) != len(machine.classes_):
        # scikit-learn's own decision_function fails on it.
        raise reading.refuse(machine, "trained where all rows of a class weighed nothing (a bag without them)")
    return _sums(reading, machine, place, sign * _pair_weights(machine), sign * bias)


def _decision(reading: Reading, machine: Any, place: int) -> int:
    n_classes = len(machine.classes_)
    if n_classes == _BINARY:
        return _pairs(reading, machine, place, -1.0)
    if machine.decision_function_shape == "ovo":
        return _pairs(reading, machine, place, 1.0)
    return reading.builder.add(OvrOfOvo(_pairs(reading, machine, place, -1.0), n_classes))


def _label(reading: Reading, machine: Any, place: int) -> int:
    """Add the label that most pairs vote for: the first of equals, unless ties are to be broken by the decisions."""
    if len(machine.classes_) == _BINARY or (machine.break_ties and machine.decision_function_shape == "ovr"):
        return reading.label_by_score(_decision(reading, machine, place))
    n_classes = len(machine.classes_)
    scores = reading.builder.add(OvrOfOvo(_pairs(reading, machine, place, -1.0), n_classes))
    return _voted(reading, scores, n_classes)


def _voted(reading: Reading, scores: int, n_classes: int) -> int:
    """Add the label of most votes; a score is the votes and less than a third, so votes are the halves it reaches."""
    halves = tuple(vote - 0.5 for vote in range(1, n_classes))
    return reading.label_by_score(reading.builder.add(Bins(scores, (halves,) * n_classes)))


def _answer(reading: Reading, machine: Any, place: int) -> int:
    """Add the label and the softmax of the decisions, in their shares: see `exporter.models.answers`."""
    n_classes = len(machine.classes_)
    scores = reading.builder.add(OvrOfOvo(_pairs(reading, machine, place, -1.0), n_classes))
    label = _voted(reading, scores, n_classes)
    shares = (LABEL_SHARE, 1.0 - LABEL_SHARE)
    return reading.builder.add(Average((label, reading.builder.add(Softmax(scores))), shares))


def _probabilities(reading: Reading, machine: Any, place: int) -> int:
    """Add Platt's probability of each pair, and their coupling."""
    slopes, offsets = (np.asarray(p, dtype=np.float64) for p in (machine._probA, machine._probB))
    if len(slopes) == 0:
        raise reading.refuse(machine, "with probabilities, which it was not trained for,")
    decisions = _pairs(reading, machine, place, 1.0)
    first = reading.builder.add(Curve(reading.builder.add(Affine(decisions, -slopes, -offsets)), "logistic"))
    return reading.builder.add(Coupling(first, len(machine.classes_)))


def _value(reading: Reading, machine: Any, place: int) -> int:
    bias = np.asarray(machine._intercept_, dtype=np.float64)
    return _sums(reading, machine, place, _dense(machine._dual_coef_).T, bias)


READERS: Final[Readers] = {
    SVC: {"decision": _decision, "probabilities": _probabilities, "label": _label, "answer": _answer},
    NuSVC: {"decision": _decision, "probabilities": _probabilities, "label": _label, "answer": _answer},
    SVR: {"value": _value},
    NuSVR: {"value": _value},
    OneClassSVM: {"decision": _value},
}
