"""Reads estimators that answer the same for every row."""

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.multiclass import _ConstantPredictor

from exporter.programs.program import Fill, Linear
from exporter.reading.reading import Readers, Reading


def add_constant(reading: Reading, place: int, values: ArrayLike) -> int:
    """Add numbers that do not depend on the row, missing values included."""
    numbers = np.asarray(values, dtype=np.float64).reshape(-1)
    one = reading.builder.add(Fill(reading.columns(place, [0]), float("nan"), np.zeros(1)))
    return reading.builder.add(Linear(one, np.zeros((1, len(numbers))), numbers))


def _probabilities(reading: Reading, dummy: Any, place: int) -> int:
    if dummy.n_outputs_ != 1:
        raise reading.refuse(dummy, f"of {dummy.n_outputs_} outputs")
    n_classes = int(dummy.n_classes_)
    if dummy.strategy == "prior":
        return add_constant(reading, place, dummy.class_prior_)
    if dummy.strategy == "most_frequent":
        return add_constant(reading, place, np.eye(n_classes)[np.argmax(dummy.class_prior_)])
    if dummy.strategy == "constant":
        return add_constant(reading, place, dummy.classes_ == dummy.constant)
    raise reading.refuse(dummy, f"with the strategy {dummy.strategy!r}, which draws lots,")


def _value(reading: Reading, dummy: Any, place: int) -> int:
    if dummy.n_outputs_ != 1:
        raise reading.refuse(dummy, f"of {dummy.n_outputs_} outputs")
    return add_constant(reading, place, dummy.constant_)


def _pair(reading: Reading, predictor: Any, place: int) -> int:
    answer = float(predictor.y_[0])
    return add_constant(reading, place, [1.0 - answer, answer])


def _decision(reading: Reading, predictor: Any, place: int) -> int:
    return add_constant(reading, place, predictor.y_)


READERS: Final[Readers] = {
    # What stands for a class, or a bit of a code, that all or none of the rows have.
    _ConstantPredictor: {"decision": _decision, "probabilities": _pair},
    DummyClassifier: {"probabilities": _probabilities},
    DummyRegressor: {"value": _value},
}
