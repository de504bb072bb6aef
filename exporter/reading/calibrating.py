"""Reads calibrated classifiers: the mean of calibrated pairs of a classifier and its calibrators."""

from typing import Any, Final

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.isotonic import IsotonicRegression

from exporter.programs.program import Affine, Complement, Curve, Interpolate, Linear, Proportions, Softmax
from exporter.reading.constant import add_constant
from exporter.reading.merging import add_mean
from exporter.reading.reading import Readers, Reading
from exporter.reading.shares import add_shares

_BINARY: Final = 2
# What scikit-learn adds to a probability before its logarithm.
_LEAST: Final = 1e-12


def _calibrated(reading: Reading, calibrated: Any, place: int) -> int:
    pairs = calibrated.calibrated_classifiers_
    return add_mean(reading, [_pair(reading, f"calibrated.{i}", pair, place) for i, pair in enumerate(pairs)])


def _pair(reading: Reading, name: str, pair: Any, place: int) -> int:
    n_classes = len(pair.classes)
    is_decision = hasattr(pair.estimator, "decision_function")
    answer = reading.read(name, pair.estimator, place, "decision" if is_decision else "probabilities")
    if pair.method == "temperature":
        return _tempered(reading, answer, float(pair.calibrators[0].beta_), is_decision=is_decision)
    if n_classes == _BINARY:
        score = answer if is_decision else reading.columns(answer, [1])
        return reading.builder.add(Complement(_calibrate(reading, pair.calibrators[0], score)))
    known = np.searchsorted(pair.classes, pair.estimator.classes_)
    columns = [
        _calibrate(reading, calibrator, reading.columns(answer, [i])) for i, calibrator in enumerate(pair.calibrators)
    ]
    if len(known) == n_classes:
        return add_shares(reading, columns)
    # A fold without one of the classes.
    spread = Linear(reading.join(columns), np.eye(n_classes)[known], np.zeros(n_classes))
    return reading.builder.add(Proportions(reading.builder.add(spread)))


def _calibrate(reading: Reading, calibrator: Any, place: int) -> int:
    if isinstance(calibrator, IsotonicRegression):
        return add_isotonic(reading, calibrator, place)
    # Platt's sigmoid falls with its slope.
    scaled = reading.builder.add(Affine(place, np.array([-calibrator.a_]), np.array([-calibrator.b_])))
    return reading.builder.add(Curve(scaled, "logistic"))


def _tempered(reading: Reading, answer: int, beta: float, *, is_decision: bool) -> int:
    width = reading.builder.width(answer)
    if not is_decision:
        raised = reading.builder.add(Affine(answer, np.ones(width), np.full(width, _LEAST)))
        answer = reading.builder.add(Curve(raised, "log"))
    elif width == 1:
        weights = np.array([[-beta, beta]])
        return reading.builder.add(Softmax(reading.builder.add(Linear(answer, weights, np.zeros(2)))))
    tempered = reading.builder.add(Affine(answer, np.full(width, beta), np.zeros(width)))
    return reading.builder.add(Softmax(tempered))


def add_isotonic(reading: Reading, model: Any, place: int) -> int:
    """Add a monotone function, of one column: constant outside of what it was fitted on.

    Raises:
        UnsupportedError: it answers NaN or fails there.
    """
    if model.out_of_bounds != "clip":
        raise reading.refuse(model, f"with out_of_bounds={model.out_of_bounds!r}")
    xs = np.asarray(model.X_thresholds_, dtype=np.float64)
    ys = np.asarray(model.y_thresholds_, dtype=np.float64)
    if len(xs) == 1:
        return add_constant(reading, place, ys)
    return reading.builder.add(Interpolate(place, (xs,), (ys,)))


def _isotonic(reading: Reading, model: Any, place: int) -> int:
    return add_isotonic(reading, model, place)


READERS: Final[Readers] = {
    CalibratedClassifierCV: {"probabilities": _calibrated},
    IsotonicRegression: {"value": _isotonic, "transform": _isotonic},
}
