"""Reads models of how each class, or what is usual, is distributed: naive Bayes, quadratic discriminants, ellipses."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import EllipticEnvelope
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.linear_model import SGDOneClassSVM
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import NearestCentroid

from exporter.models.answers import LABEL_SHARE
from exporter.programs.program import Average, Bins, Curve, Linear, OneHot, Scale, Softmax
from exporter.reading.constant import add_constant
from exporter.reading.linear import add_linear, add_sigmoid_pair
from exporter.reading.projecting import add_distances
from exporter.reading.reading import Reader, Readers, Reading

Floats = NDArray[np.float64]
_BINARY: Final = 2


def _normal(reading: Reading, model: Any, place: int) -> int:
    # A column that no class tells from another one (a constant in training) says nothing, and where it is another
    # number after all, its share of each score is so large that the others' digits are lost.
    differs = ((model.theta_ != model.theta_[0]) | (model.var_ != model.var_[0])).any(axis=0)
    if not differs.any():
        return add_constant(reading, place, np.log(model.class_prior_))
    means, variances = model.theta_[:, differs], model.var_[:, differs]
    squares = add_distances(
        reading, reading.columns(place, np.flatnonzero(differs).tolist()), means, np.sqrt(variances)
    )
    offsets = np.log(model.class_prior_) - 0.5 * np.log(2 * np.pi * variances).sum(axis=1)
    return reading.builder.add(Linear(squares, -0.5 * np.eye(len(offsets)), offsets))


def _counts(reading: Reading, model: Any, place: int) -> int:
    return add_linear(reading, place, model.feature_log_prob_, model.class_log_prior_)


def _complement(reading: Reading, model: Any, place: int) -> int:
    return add_linear(reading, place, model.feature_log_prob_, 0.0)


def _bits(reading: Reading, model: Any, place: int) -> int:
    if model.binarize is not None:
        edge = float(np.nextafter(np.float32(model.binarize), np.float32(np.inf)))
        place = reading.builder.add(Bins(place, ((edge,),) * reading.builder.width(place)))
    without = np.log1p(-np.exp(model.feature_log_prob_))
    weights = model.feature_log_prob_ - without
    return add_linear(reading, place, weights, model.class_log_prior_ + without.sum(axis=1))


def _categories(reading: Reading, model: Any, place: int) -> int:
    parts, weights = [], []
    for column, probabilities in enumerate(model.feature_log_prob_):
        groups = tuple((float(category),) for category in range(probabilities.shape[1]))
        parts.append(reading.builder.add(OneHot(reading.columns(place, [column]), groups)))
        weights.append(probabilities)
    return add_linear(reading, reading.join(parts), np.hstack(weights), model.class_log_prior_)


def _quadratic(reading: Reading, model: Any, place: int) -> int:
    """Add the discriminant of each class.

    Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, formula (4.12).
    """
    parts = []
    for mean, rotation, scaling in zip(model.means_, model.rotations_, model.scalings_, strict=True):
        centred = reading.builder.add(Scale(place, np.asarray(mean, dtype=np.float64), np.ones(len(mean))))
        rotated = add_linear(reading, centred, (rotation * scaling**-0.5).T, 0.0)
        squares = reading.builder.add(Curve(rotated, "square"))
        offset = -0.5 * np.log(scaling).sum()
        parts.append(add_linear(reading, squares, np.full((1, len(scaling)), -0.5), offset))
    joined = reading.join(parts)
    return add_linear(reading, joined, np.eye(len(parts)), np.log(model.priors_))


def _centroids(reading: Reading, model: Any, place: int) -> int:
    if model.metric != "euclidean":
        raise reading.refuse(model, f"by the metric {model.metric!r}")
    deviations = np.where(model.within_class_std_dev_ == 0, 1.0, model.within_class_std_dev_)
    scales = np.broadcast_to(deviations, model.centroids_.shape)
    squares = add_distances(reading, place, np.asarray(model.centroids_), scales)
    return add_linear(reading, squares, -np.eye(len(model.centroids_)), 2.0 * np.log(model.class_prior_))


def _nearest(reading: Reading, model: Any, place: int) -> int:
    """Read the label: with equal priors scikit-learn leaves the deviations out."""
    if not np.isclose(model.class_prior_, 1 / len(model.classes_)).all():
        return reading.label_by_score(_centroids(reading, model, place))
    if model.metric != "euclidean":
        raise reading.refuse(model, f"by the metric {model.metric!r}")
    squares = add_distances(reading, place, np.asarray(model.centroids_))
    return reading.label_by_score(add_linear(reading, squares, -np.eye(len(model.centroids_)), 0.0))


def _nearest_and_scores(reading: Reading, model: Any, place: int) -> int:
    """Add the label and the probabilities, in their shares: see `exporter.models.answers`."""
    probabilities = _discriminant(_centroids)(reading, model, place)
    label = _nearest(reading, model, place)
    return reading.builder.add(Average((label, probabilities), (LABEL_SHARE, 1.0 - LABEL_SHARE)))


def _probabilities(joint: Reader) -> Reader:
    def read(reading: Reading, model: Any, place: int) -> int:
        return reading.builder.add(Softmax(joint(reading, model, place)))

    return read


def _decision(joint: Reader) -> Reader:
    """Read one score a class; of two classes, by how much the second leads."""

    def read(reading: Reading, model: Any, place: int) -> int:
        scores = joint(reading, model, place)
        if len(model.classes_) > _BINARY:
            return scores
        return reading.builder.add(Linear(scores, np.array([[-1.0], [1.0]]), np.zeros(1)))

    return read


def _discriminant(joint: Reader) -> Reader:
    def read(reading: Reading, model: Any, place: int) -> int:
        decision = _decision(joint)(reading, model, place)
        if len(model.classes_) > _BINARY:
            return reading.builder.add(Softmax(decision))
        return add_sigmoid_pair(reading, decision)

    return read


def _ellipse(reading: Reading, model: Any, place: int) -> int:
    """Add the negative squared Mahalanobis distance, less its limit."""
    centred = reading.builder.add(
        Scale(place, np.asarray(model.location_, dtype=np.float64), np.ones(len(model.location_)))
    )
    values, vectors = np.linalg.eigh(model.get_precision())
    squares = reading.builder.add(Curve(add_linear(reading, centred, vectors.T, 0.0), "square"))
    return add_linear(reading, squares, -values[np.newaxis], -float(model.offset_))


def _half_space(reading: Reading, model: Any, place: int) -> int:
    return add_linear(reading, place, model.coef_, -model.offset_)


READERS: Final[Readers] = {
    **{
        kind: {"probabilities": _probabilities(joint)}
        for kind, joint in {
            GaussianNB: _normal,
            MultinomialNB: _counts,
            ComplementNB: _complement,
            BernoulliNB: _bits,
            CategoricalNB: _categories,
        }.items()
    },
    QuadraticDiscriminantAnalysis: {"decision": _decision(_quadratic), "probabilities": _discriminant(_quadratic)},
    NearestCentroid: {
        "decision": _decision(_centroids),
        "probabilities": _discriminant(_centroids),
        "label": _nearest,
        "answer": _nearest_and_scores,
    },
    EllipticEnvelope: {"decision": _ellipse},
    SGDOneClassSVM: {"decision": _half_space},
}
