"""Reads ONNX operators that compute: products, arithmetic with constants and between vectors, curves, norms."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.programs.program import (
    Affine,
    Average,
    Clip,
    CurveName,
    Fill,
    Linear,
    Operation,
    Product,
    Scale,
    Softmax,
)
from exporter.reading.onnx_values import Floats, GraphReading, Mask, Operator, Value, Vector

_CURVES: Final[Mapping[str, CurveName]] = {
    "Relu": "relu",
    "Tanh": "tanh",
    "Sigmoid": "logistic",
    "Exp": "exp",
    "Log": "log",
    "Sqrt": "sqrt",
    "Abs": "abs",
    "Reciprocal": "reciprocal",
}


def _curve(reading: GraphReading) -> Value:
    return reading.curve(reading.vector(), _CURVES[reading.node.op_type])


def _gemm(reading: GraphReading) -> Value:
    vector, weights = reading.flat(), reading.constant(1).astype(np.float64)
    if reading.attribute("transA", 0):
        raise reading.refuse("of transposed rows")
    weights = weights.T if reading.attribute("transB", 0) else weights
    bias = np.zeros(weights.shape[1])
    if reading.has_input(2):
        bias = _per_row(reading, reading.constant(2), (weights.shape[1],)) * reading.attribute("beta", 1.0)
    return _linear(reading, vector, weights * reading.attribute("alpha", 1.0), bias)


def _mat_mul(reading: GraphReading) -> Value:
    vector, weights = reading.flat(), reading.constant(1).astype(np.float64)
    if weights.ndim != 2:  # noqa: PLR2004 - a matrix
        raise reading.refuse(f"with weights of shape {weights.shape}")
    return _linear(reading, vector, weights, np.zeros(weights.shape[1]))


def _linear(reading: GraphReading, vector: Vector, weights: Floats, bias: Floats) -> Vector:
    if weights.shape[0] != vector.width:
        raise reading.refuse(f"of {vector.width} numbers with weights of shape {weights.shape}")
    return reading.add(Linear(vector.place, np.ascontiguousarray(weights), bias), (weights.shape[1],))


def _per_row(reading: GraphReading, constant: NDArray[np.generic], shape: tuple[int, ...]) -> Floats:
    """Return a constant as it meets each row of this shape, broadcast to it."""
    found = constant.astype(np.float64)
    if found.ndim == len(shape) + 1 and found.shape[0] == 1:
        found = found[0]
    refusal = reading.refuse(f"of rows of shape {shape} with a constant of shape {constant.shape}")
    if found.ndim > len(shape):
        raise refusal
    try:
        return np.broadcast_to(found, np.broadcast_shapes(found.shape, shape))
    except ValueError as error:
        raise refusal from error


def _arithmetic(reading: GraphReading) -> Value:
    first, second = reading.value(0), reading.value(1)
    if isinstance(first, Vector) and isinstance(second, Vector):
        return _between(reading, first, second)
    if isinstance(first, Vector):
        return _with_constant(reading, first, reading.constant(1), is_first=True)
    return _with_constant(reading, reading.vector(1), reading.constant(0), is_first=False)


def _spread(reading: GraphReading, vector: Vector, shape: tuple[int, ...]) -> Vector:
    return reading.pick(vector, np.broadcast_to(reading.places(vector), shape))


def _with_constant(reading: GraphReading, vector: Vector, constant: NDArray[np.generic], *, is_first: bool) -> Vector:
    numbers = _per_row(reading, constant, vector.shape)
    vector, c, kind = _spread(reading, vector, numbers.shape), numbers.reshape(-1), reading.node.op_type
    if kind == "Div" and not is_first:
        vector, kind = reading.curve(vector, "reciprocal"), "Mul"
    before = reading.builder.operation(vector.place)
    return reading.add(_merged(before, kind, c) or _apart(vector.place, kind, c, is_first=is_first), vector.shape)


def _merged(before: Operation, kind: str, c: Floats) -> Operation | None:
    """Return what an operation and a constant after it are together, where that is one operation."""
    if kind == "Add" and isinstance(before, Linear):
        return Linear(before.of, before.weights, before.bias + c)
    if kind == "Add" and isinstance(before, Affine) and not before.offsets.any():
        return Affine(before.of, before.factors, c)
    if kind == "Div" and isinstance(before, Scale) and (before.scales == 1).all():
        return Scale(before.of, before.means, c)
    return None


def _apart(place: int, kind: str, c: Floats, *, is_first: bool) -> Operation:
    zeros, ones = np.zeros(c.shape), np.ones(c.shape)
    if kind == "Div" or (kind == "Sub" and is_first):
        return Scale(place, c, ones) if kind == "Sub" else Scale(place, zeros, c)
    factors = {"Add": ones, "Sub": -ones, "Mul": c}[kind]
    return Affine(place, factors, zeros if kind == "Mul" else c)


def _between(reading: GraphReading, first: Vector, second: Vector) -> Vector:
    if len(first.shape) != len(second.shape):
        raise reading.refuse(f"of rows of shapes {first.shape} and {second.shape}")
    shape = np.broadcast_shapes(first.shape, second.shape)
    a, b = (_spread(reading, vector, shape).place for vector in (first, second))
    match reading.node.op_type:
        case "Add":
            return reading.add(Average((a, b), (1.0, 1.0)), shape)
        case "Sub":
            return reading.add(Average((a, b), (1.0, -1.0)), shape)
        case "Mul":
            return reading.add(Product((a, b)), shape)
        case _:
            inverse = reading.curve(Vector(b, shape), "reciprocal")
            return reading.add(Product((a, inverse.place)), shape)


def _neg(reading: GraphReading) -> Value:
    return reading.affine(reading.vector(), -1.0, 0.0)


def _pow(reading: GraphReading) -> Value:
    exponent = reading.constant(1).reshape(-1)
    kinds: dict[float, CurveName] = {2.0: "square", 0.5: "sqrt", -1.0: "reciprocal"}
    if len(exponent) != 1 or float(exponent[0]) not in kinds:
        raise reading.refuse(f"to the power {exponent[:4].tolist()}")
    return reading.curve(reading.vector(), kinds[float(exponent[0])])


def _softmax(reading: GraphReading) -> Value:
    vector = reading.flat()
    reading.axis(vector, reading.attribute("axis", -1))
    return reading.add(Softmax(vector.place), vector.shape)


def _log_softmax(reading: GraphReading) -> Value:
    vector = reading.flat()
    reading.axis(vector, reading.attribute("axis", -1))
    return reading.curve(reading.add(Softmax(vector.place), vector.shape), "log")


def _clip(reading: GraphReading) -> Value:
    vector = reading.vector()
    low, high = reading.attribute("min", -np.inf), reading.attribute("max", np.inf)
    low = float(reading.constant(1).reshape(())) if reading.has_input(1) else low
    high = float(reading.constant(2).reshape(())) if reading.has_input(2) else high
    return _clipped(reading, vector, low, high)


def _clipped(reading: GraphReading, vector: Vector, low: float, high: float) -> Vector:
    bounds = np.full(vector.width, low), np.full(vector.width, high)
    return reading.add(Clip(vector.place, *bounds), vector.shape)


def _sides(reading: GraphReading, vector: Vector) -> tuple[Vector, Vector]:
    """Return what is above 0, and the negative of what is below, each 0 elsewhere."""
    return reading.curve(vector, "relu"), reading.curve(reading.affine(vector, -1.0, 0.0), "relu")


def _leaky_relu(reading: GraphReading) -> Value:
    above, below = _sides(reading, reading.vector())
    slope = float(reading.attribute("alpha", 0.01))
    return reading.add(Average((above.place, below.place), (1.0, -slope)), above.shape)


def _elu(reading: GraphReading) -> Value:
    above, below = _sides(reading, reading.vector())
    power = reading.affine(reading.curve(reading.affine(below, -1.0, 0.0), "exp"), 1.0, -1.0)
    return reading.add(Average((above.place, power.place), (1.0, float(reading.attribute("alpha", 1.0)))), above.shape)


def _hard_sigmoid(reading: GraphReading) -> Value:
    line = reading.affine(reading.vector(), reading.attribute("alpha", 0.2), reading.attribute("beta", 0.5))
    return _clipped(reading, line, 0.0, 1.0)


def _batch_normalization(reading: GraphReading) -> Value:
    vector = reading.vector()
    if reading.attribute("training_mode", 0):
        raise reading.refuse("that still learns")
    scale, shift, mean, variance = (reading.constant(index).astype(np.float64) for index in range(1, 5))
    factors = scale / np.sqrt(variance + reading.attribute("epsilon", 1e-5))
    # One number a channel, which is the first axis of a row.
    n_each = vector.width // vector.shape[0]
    offsets = shift - mean * factors
    return reading.add(Affine(vector.place, np.repeat(factors, n_each), np.repeat(offsets, n_each)), vector.shape)


def _where(reading: GraphReading) -> Value:
    mask, instead, kept = reading.value(0), reading.value(1), reading.value(2)
    is_filling = isinstance(mask, Mask) and isinstance(kept, Vector) and mask.of == kept
    if not is_filling or not isinstance(instead, np.ndarray) or not isinstance(mask, Mask):
        raise reading.refuse("other than one that fills missing values")
    fill = _per_row(reading, instead, mask.of.shape)
    if fill.shape != mask.of.shape:
        raise reading.refuse("that makes rows longer")
    return reading.add(Fill(mask.of.place, mask.marker, fill.reshape(-1).copy()), mask.of.shape)


def _is_nan(reading: GraphReading) -> Value:
    return Mask(reading.vector(), np.nan)


def _equal(reading: GraphReading) -> Value:
    marker = reading.constant(1).reshape(-1)
    if len(marker) != 1:
        raise reading.refuse("with several numbers")
    return Mask(reading.vector(), float(marker[0]))


def _sum(reading: GraphReading) -> Value:
    vectors = [reading.vector(index) for index in range(len(reading.node.input))]
    if any(vector.shape != vectors[0].shape for vector in vectors):
        raise reading.refuse(f"of rows of shapes {[vector.shape for vector in vectors]}")
    weight = 1.0 / len(vectors) if reading.node.op_type == "Mean" else 1.0
    return reading.add(Average(tuple(v.place for v in vectors), (weight,) * len(vectors)), vectors[0].shape)


def _reduce(reading: GraphReading) -> Value:
    vector = reading.vector()
    wanted = reading.constant(1).reshape(-1).tolist() if reading.has_input(1) else reading.attribute("axes", [])
    axes = {reading.axis(vector, int(axis)) for axis in wanted}
    if axes != set(range(len(vector.shape))):
        raise reading.refuse(f"along {list(wanted)} of rows of shape {vector.shape}")
    weight = 1.0 / vector.width if reading.node.op_type == "ReduceMean" else 1.0
    shape = (1,) * len(vector.shape) if reading.attribute("keepdims", 1) else ()
    return reading.add(Linear(vector.place, np.full((vector.width, 1), weight), np.zeros(1)), shape)


OPERATORS: Final[Mapping[str, Operator]] = {
    **dict.fromkeys(_CURVES, _curve),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
    **dict.fromkeys(("Sum", "Mean"), _sum),
    **dict.fromkeys(("ReduceSum", "ReduceMean"), _reduce),
    "Gemm": _gemm,
    "MatMul": _mat_mul,
    "Neg": _neg,
    "Pow": _pow,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "Clip": _clip,
    "LeakyRelu": _leaky_relu,
    "Elu": _elu,
    "HardSigmoid": _hard_sigmoid,
    "BatchNormalization": _batch_normalization,
    "Where": _where,
    "IsNaN": _is_nan,
    "Equal": _equal,
}
