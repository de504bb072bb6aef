"""Reads the operators of ai.onnx.ml: preprocessing and linear models as scikit-learn's converters write them."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from exporter.programs.program import (
    Affine,
    Bins,
    Columns,
    Fill,
    Join,
    Linear,
    Normalise,
    NormName,
    OneHot,
    Scale,
    Softmax,
)
from exporter.reading.onnx_values import Floats, GraphReading, Operator, Value, Vector, Whole

# Greater ones are not exact in float32.
_MAX_CATEGORY: Final = 1 << 24
_NORMS: Final[Mapping[str, NormName]] = {"MAX": "max", "L1": "l1", "L2": "l2"}


def _numbers(reading: GraphReading, name: str, width: int) -> Floats:
    """Return an attribute of one number, or of one number a column."""
    found = np.asarray(reading.attribute(name, []), dtype=np.float64).reshape(-1)
    if len(found) not in {1, width}:
        raise reading.refuse(f"of {width} columns with {len(found)} numbers in {name}")
    return np.broadcast_to(found, (width,)).copy()


def _text(reading: GraphReading, name: str, default: str) -> str:
    found = reading.attribute(name, default.encode())
    return found.decode(errors="replace") if isinstance(found, bytes) else str(found)


def _scaler(reading: GraphReading) -> Value:
    vector = reading.flat()
    offsets, factors = (_numbers(reading, name, vector.width) for name in ("offset", "scale"))
    centred = reading.add(Scale(vector.place, offsets, np.ones(vector.width)), vector.shape)
    return reading.add(Affine(centred.place, factors, np.zeros(vector.width)), vector.shape)


def _imputer(reading: GraphReading) -> Value:
    vector = reading.flat()
    fill = _numbers(reading, "imputed_value_floats", vector.width)
    return reading.add(Fill(vector.place, float(reading.attribute("replaced_value_float", 0.0)), fill), vector.shape)


def _normalizer(reading: GraphReading) -> Value:
    vector = reading.flat()
    return reading.add(Normalise(vector.place, _NORMS[_text(reading, "norm", "MAX")]), vector.shape)


def _linear_regressor(reading: GraphReading) -> Value:
    vector, n_targets = reading.flat(), int(reading.attribute("targets", 1))
    if _text(reading, "post_transform", "NONE") != "NONE":
        raise reading.refuse("with a transformation of its answer")
    return _linear(reading, vector, n_targets)


def _linear_classifier(reading: GraphReading) -> Value:
    vector = reading.flat()
    n_labels = len(reading.attribute("classlabels_ints", [])) or len(reading.attribute("classlabels_strings", []))
    scores = _linear(reading, vector, n_labels)
    match _text(reading, "post_transform", "NONE"):
        case "NONE":
            return scores
        case "SOFTMAX":
            return reading.add(Softmax(scores.place), scores.shape)
        case "LOGISTIC":
            return reading.curve(scores, "logistic")
        case other:
            raise reading.refuse(f"with {other} of its answer")


def _linear(reading: GraphReading, vector: Vector, n_outputs: int) -> Vector:
    coefficients = np.asarray(reading.attribute("coefficients", []), dtype=np.float64)
    bias = np.asarray(reading.attribute("intercepts", np.zeros(n_outputs)), dtype=np.float64).reshape(-1)
    if n_outputs < 1 or coefficients.size != n_outputs * vector.width or len(bias) != n_outputs:
        raise reading.refuse(f"of {vector.width} columns with {coefficients.size} coefficients for {n_outputs} answers")
    weights = coefficients.reshape(n_outputs, vector.width).T
    return reading.add(Linear(vector.place, np.ascontiguousarray(weights), bias), (n_outputs,))


def _one_hot_encoder(reading: GraphReading) -> Value:
    value = reading.value(0)
    vector = value.of if isinstance(value, Whole) else reading.vector()
    categories = np.array(reading.attribute("cats_int64s", []), np.int64)
    is_plain = len(categories) > 0 and len(np.unique(categories)) == len(categories) and reading.attribute("zeros", 1)
    if not is_plain or categories.min() < 0 or categories.max() >= _MAX_CATEGORY:
        raise reading.refuse("of texts or negative numbers, or one that refuses categories it does not know,")
    # A number is a category from it up to the next one; what lies between -1 and 0 is cut to 0.
    lows = np.where(categories == 0, np.nextafter(np.float32(-1), np.float32(0)), categories).astype(np.float64)
    edges = np.unique(np.concatenate([lows, categories + 1.0]))
    groups = tuple((float(place),) for place in np.searchsorted(edges, lows) + 1)
    encoded = []
    for place in range(vector.width):
        column = reading.add(Columns(vector.place, (place,)), (1,))
        bins = reading.add(Bins(column.place, (tuple(edges.tolist()),)), (1,))
        encoded.append(reading.add(OneHot(bins.place, groups), (len(groups),)).place)
    shape = (*vector.shape, len(groups))
    return Vector(encoded[0], shape) if len(encoded) == 1 else reading.add(Join(tuple(encoded)), shape)


OPERATORS: Final[Mapping[str, Operator]] = {
    "Scaler": _scaler,
    "Imputer": _imputer,
    "Normalizer": _normalizer,
    "LinearRegressor": _linear_regressor,
    "LinearClassifier": _linear_classifier,
    "OneHotEncoder": _one_hot_encoder,
}
