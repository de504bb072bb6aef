"""Reads linear models: regressors, generalised ones with a link, and classifiers by a linear decision."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn import linear_model
from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical, PLSRegression
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.svm import LinearSVC, LinearSVR

from exporter.programs.program import Affine, Clip, Complement, Curve, Linear, Proportions, Softmax
from exporter.reading.reading import Readers, Reading
from exporter.reading.scaling import add_scale
from exporter.reading.shares import add_shares

Floats = NDArray[np.float64]
_BINARY: Final = 2


def add_linear(reading: Reading, place: int, coefficients: Any, intercepts: Any) -> int:
    """Add ``x @ coefficients.T + intercepts``; coefficients ``(n_out, n_in)`` or ``(n_in,)``."""
    weights = np.atleast_2d(_dense(coefficients)).astype(np.float64).T
    bias = np.broadcast_to(np.asarray(intercepts, dtype=np.float64).reshape(-1), (weights.shape[1],)).copy()
    return reading.builder.add(Linear(place, weights, bias))


def _dense(values: Any) -> Any:
    return values.toarray() if hasattr(values, "toarray") else np.asarray(values)


def _value(reading: Reading, regressor: Any, place: int) -> int:
    n_outputs = np.atleast_2d(_dense(regressor.coef_)).shape[0]
    if n_outputs != 1:
        raise reading.refuse(regressor, f"of {n_outputs} outputs")
    return add_linear(reading, place, regressor.coef_, regressor.intercept_)


def _positive(reading: Reading, regressor: Any, place: int) -> int:
    """Read a generalised linear model with a logarithmic link."""
    return reading.builder.add(Curve(_value(reading, regressor, place), "exp"))


def _tweedie(reading: Reading, regressor: Any, place: int) -> int:
    is_identity = regressor.link == "identity" or (regressor.link == "auto" and regressor.power <= 0)
    return _value(reading, regressor, place) if is_identity else _positive(reading, regressor, place)


def _consensus(reading: Reading, regressor: Any, place: int) -> int:
    return reading.read("estimator", regressor.estimator_, place, "value")


def _latent_value(reading: Reading, regressor: Any, place: int) -> int:
    place = add_scale(reading, place, regressor._x_mean, None)
    return _value(reading, regressor, place)


def _latent(reading: Reading, regressor: Any, place: int) -> int:
    place = add_scale(reading, place, regressor._x_mean, regressor._x_std)
    return add_linear(reading, place, regressor.x_rotations_.T, 0.0)


def _decision(reading: Reading, classifier: Any, place: int) -> int:
    n_classes, n_rows = len(classifier.classes_), np.atleast_2d(_dense(classifier.coef_)).shape[0]
    if n_rows != (1 if n_classes == _BINARY else n_classes):
        raise reading.refuse(classifier, f"of {n_classes} classes with {n_rows} decisions")
    return add_linear(reading, place, classifier.coef_, classifier.intercept_)


def add_sigmoid_pair(reading: Reading, decision: int) -> int:
    """Add ``(1 - p, p)`` with ``p`` the logistic function of one decision."""
    return reading.builder.add(Complement(reading.builder.add(Curve(decision, "logistic"))))


def _softmax(reading: Reading, classifier: Any, place: int) -> int:
    decision = _decision(reading, classifier, place)
    if len(classifier.classes_) == _BINARY:
        return add_sigmoid_pair(reading, decision)
    return reading.builder.add(Softmax(decision))


def _logistic(reading: Reading, classifier: Any, place: int) -> int:
    # Before scikit-learn 1.8: one against the rest, and two classes as a softmax of (-d, d), could be asked for.
    asked, n_classes = getattr(classifier, "multi_class", "auto"), len(classifier.classes_)
    if asked == "multinomial" and n_classes == _BINARY:
        decision = _decision(reading, classifier, place)
        return add_sigmoid_pair(reading, reading.builder.add(Affine(decision, np.array([2.0]), np.zeros(1))))
    if n_classes > _BINARY and (asked == "ovr" or classifier.solver == "liblinear"):
        return _one_against_rest(reading, classifier, place)
    return _softmax(reading, classifier, place)


def _one_against_rest(reading: Reading, classifier: Any, place: int) -> int:
    decision = _decision(reading, classifier, place)
    if len(classifier.classes_) == _BINARY:
        return add_sigmoid_pair(reading, decision)
    return add_shares(reading, [reading.builder.add(Curve(decision, "logistic"))])


def _stochastic(reading: Reading, classifier: Any, place: int) -> int:
    if classifier.loss == "log_loss":
        return _one_against_rest(reading, classifier, place)
    if classifier.loss != "modified_huber":
        raise reading.refuse(classifier, f"with probabilities of the loss {classifier.loss!r}")
    decision = _decision(reading, classifier, place)
    width = reading.builder.width(decision)
    clipped = reading.builder.add(Clip(decision, np.full(width, -1.0), np.full(width, 1.0)))
    shares = reading.builder.add(Affine(clipped, np.full(width, 0.5), np.full(width, 0.5)))
    return reading.builder.add(Complement(shares) if width == 1 else Proportions(shares))


def _first_block(reading: Reading, transformer: Any, place: int) -> int:
    place = add_scale(reading, place, transformer._x_mean, transformer._x_std)
    return add_linear(reading, place, transformer.x_weights_.T, 0.0)


def _discriminant(reading: Reading, transformer: Any, place: int) -> int:
    if transformer.solver == "lsqr":
        raise reading.refuse(transformer, "as a transformer with the solver 'lsqr'")
    if transformer.solver == "svd":
        place = add_scale(reading, place, transformer.xbar_, None)
    weights = transformer.scalings_[:, : transformer._max_components]
    return add_linear(reading, place, weights.T, 0.0)


_LINEAR: Final = (
    linear_model.ARDRegression,
    linear_model.BayesianRidge,
    linear_model.ElasticNet,
    linear_model.ElasticNetCV,
    linear_model.HuberRegressor,
    linear_model.Lars,
    linear_model.LarsCV,
    linear_model.Lasso,
    linear_model.LassoCV,
    linear_model.LassoLars,
    linear_model.LassoLarsCV,
    linear_model.LassoLarsIC,
    linear_model.LinearRegression,
    linear_model.MultiTaskElasticNet,
    linear_model.MultiTaskElasticNetCV,
    linear_model.MultiTaskLasso,
    linear_model.MultiTaskLassoCV,
    linear_model.OrthogonalMatchingPursuit,
    linear_model.OrthogonalMatchingPursuitCV,
    linear_model.PassiveAggressiveRegressor,
    linear_model.QuantileRegressor,
    linear_model.Ridge,
    linear_model.RidgeCV,
    linear_model.SGDRegressor,
    linear_model.TheilSenRegressor,
    LinearSVR,
)
_BY_DECISION: Final = (
    linear_model.PassiveAggressiveClassifier,
    linear_model.Perceptron,
    linear_model.RidgeClassifier,
    linear_model.RidgeClassifierCV,
    LinearSVC,
)

READERS: Final[Readers] = {
    **{kind: {"value": _value} for kind in _LINEAR},
    linear_model.PoissonRegressor: {"value": _positive},
    linear_model.GammaRegressor: {"value": _positive},
    linear_model.TweedieRegressor: {"value": _tweedie},
    linear_model.RANSACRegressor: {"value": _consensus},
    PLSRegression: {"value": _latent_value, "transform": _latent},
    PLSCanonical: {"value": _latent_value, "transform": _latent},
    CCA: {"value": _latent_value, "transform": _latent},
    PLSSVD: {"transform": _first_block},
    **{kind: {"decision": _decision} for kind in _BY_DECISION},
    linear_model.LogisticRegression: {"decision": _decision, "probabilities": _logistic},
    linear_model.LogisticRegressionCV: {"decision": _decision, "probabilities": _logistic},
    linear_model.SGDClassifier: {"decision": _decision, "probabilities": _stochastic},
    LinearDiscriminantAnalysis: {"decision": _decision, "probabilities": _softmax, "transform": _discriminant},
}
