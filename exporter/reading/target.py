"""Reads regressors of a transformed target: their answer goes back through what was done to the target."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

from exporter.programs.program import Affine, Average, Clip, Curve, CurveName
from exporter.reading.functions import add_function, name_of
from exporter.reading.reading import Readers, Reading
from exporter.reading.scaling import add_scale

_ONE: Final = np.ones(1)


def _value(reading: Reading, regressor: Any, place: int) -> int:
    answer = reading.read("regressor", regressor.regressor_, place, "value")
    return _invert(reading, regressor.transformer_, answer)


def _invert(reading: Reading, transformer: Any, place: int) -> int:
    inverse = _INVERSES.get(type(transformer))
    if inverse is None:
        raise reading.refuse(transformer, "of the target")
    return inverse(reading, transformer, place)


def _standard(reading: Reading, scaler: Any, place: int) -> int:
    return _shifted(reading, place, scaler.scale_, scaler.mean_ if scaler.with_mean else None)


def _robust(reading: Reading, scaler: Any, place: int) -> int:
    scales = scaler.scale_ if scaler.with_scaling else None
    return _shifted(reading, place, scales, scaler.center_ if scaler.with_centering else None)


def _max_abs(reading: Reading, scaler: Any, place: int) -> int:
    return _shifted(reading, place, scaler.scale_, None)


def _shifted(reading: Reading, place: int, scales: Any, means: Any) -> int:
    factors = _ONE if scales is None else np.asarray(scales, dtype=np.float64)
    offsets = np.zeros(1) if means is None else np.asarray(means, dtype=np.float64)
    return reading.builder.add(Affine(place, factors, offsets))


def _min_max(reading: Reading, scaler: Any, place: int) -> int:
    return add_scale(reading, place, scaler.min_, scaler.scale_)


def _function(reading: Reading, transformer: Any, place: int) -> int:
    if transformer.inverse_func is None:
        return place
    name = name_of(transformer.inverse_func)
    if name is None or transformer.inv_kw_args:
        what = getattr(transformer.inverse_func, "__name__", type(transformer.inverse_func).__name__)
        raise reading.refuse(transformer, f"of the target with the inverse {what!r}")
    return add_function(reading, place, name)


def _power(reading: Reading, transformer: Any, place: int) -> int:
    power = float(transformer.lambdas_[0])
    if transformer.standardize:
        place = _standard(reading, transformer._scaler, place)
    if transformer.method == "box-cox":
        return _root(reading, place, power, "exp")
    # Both halves of Yeo and Johnson's function are 0 at 0 and keep the sign: each inverse sees the other half as 0.
    low, high = np.array([-np.inf]), np.array([np.inf])
    zero = np.zeros(1)
    upper = reading.builder.add(Clip(place, zero, high))
    lower = reading.builder.add(Affine(reading.builder.add(Clip(place, low, zero)), -_ONE, zero))
    above = _root(reading, upper, power, "expm1")
    below = _root(reading, lower, 2.0 - power, "expm1")
    return reading.builder.add(Average((above, below), (1.0, -1.0)))


def _root(reading: Reading, place: int, power: float, exponential: CurveName) -> int:
    """Add ``(power * y + 1) ** (1 / power)``, or ``exp(y)`` for a power of 0; less 1 for the exponential expm1."""
    if power != 0:
        raised = reading.builder.add(Curve(reading.builder.add(Affine(place, power * _ONE, 0 * _ONE)), "log1p"))
        place = reading.builder.add(Affine(raised, _ONE / power, 0 * _ONE))
    return reading.builder.add(Curve(place, exponential))


def _pipeline(reading: Reading, pipeline: Any, place: int) -> int:
    for _, step in reversed(pipeline.steps):
        if step is not None and step != "passthrough":
            place = _invert(reading, step, place)
    return place


_INVERSES: Final[Mapping[type[Any], Callable[[Reading, Any, int], int]]] = {
    StandardScaler: _standard,
    RobustScaler: _robust,
    MaxAbsScaler: _max_abs,
    MinMaxScaler: _min_max,
    FunctionTransformer: _function,
    PowerTransformer: _power,
    Pipeline: _pipeline,
}

READERS: Final[Readers] = {TransformedTargetRegressor: {"value": _value}}
