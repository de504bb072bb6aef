"""Reads ONNX operators that only move numbers: reshapes, transpositions, slices, concatenations."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from onnx import TensorProto

from exporter.programs.program import Flags, Join
from exporter.reading.onnx_values import ROWS, GraphReading, Mask, Operator, Value, Vector, Whole

_FLOATS: Final = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE})
_WHOLE: Final = frozenset({TensorProto.INT64, TensorProto.INT32})


def _same(reading: GraphReading) -> Value:
    return reading.value(0)


def _shape(reading: GraphReading) -> Value:
    vector = reading.vector()
    whole = np.array([ROWS, *vector.shape], np.int64)
    return whole[slice(reading.attribute("start", 0), reading.attribute("end", None))]


def _reshape(reading: GraphReading) -> Value:
    vector, target = reading.vector(), [int(size) for size in reading.constant(1).reshape(-1)]
    if reading.attribute("allowzero", 0) and 0 in target:
        raise reading.refuse(f"to {target}")
    before = [ROWS, *vector.shape]
    target = [before[i] if size == 0 and i < len(before) else size for i, size in enumerate(target)]
    if target and target[0] == -1 and int(np.prod(target[1:], dtype=object)) == vector.width:
        target[0] = ROWS
    if not target or target[0] != ROWS or ROWS in target[1:] or target.count(-1) > 1:
        raise reading.refuse(f"of rows of shape {vector.shape} to {target}")
    rest = int(np.prod([size for size in target[1:] if size != -1], dtype=object))
    shape = tuple(size if size != -1 else vector.width // max(rest, 1) for size in target[1:])
    if int(np.prod(shape, dtype=object)) != vector.width:
        raise reading.refuse(f"of rows of shape {vector.shape} to {target}")
    return Vector(vector.place, shape)


def _flatten(reading: GraphReading) -> Value:
    vector, axis = reading.vector(), reading.attribute("axis", 1)
    if axis not in {1, -len(vector.shape)}:
        raise reading.refuse(f"from axis {axis} of rows of shape {vector.shape}")
    return Vector(vector.place, (vector.width,))


def _axes(reading: GraphReading) -> list[int]:
    if reading.has_input(1):
        return [int(axis) for axis in reading.constant(1).reshape(-1)]
    return [int(axis) for axis in reading.attribute("axes", [])]


def _squeeze(reading: GraphReading) -> Value:
    vector = reading.vector()
    chosen = {reading.axis(vector, axis) for axis in _axes(reading)}
    if not chosen or any(vector.shape[axis] != 1 for axis in chosen):
        raise reading.refuse(f"of rows of shape {vector.shape}")
    return Vector(vector.place, tuple(n for axis, n in enumerate(vector.shape) if axis not in chosen))


def _unsqueeze(reading: GraphReading) -> Value:
    vector, chosen = reading.vector(), _axes(reading)
    rank = len(vector.shape) + 1 + len(chosen)
    places = sorted(axis if axis >= 0 else axis + rank for axis in chosen)
    shape = [ROWS, *vector.shape]
    for axis in places:
        shape.insert(axis, 1)
    if shape[0] != ROWS:
        raise reading.refuse("in front of the rows")
    return Vector(vector.place, tuple(shape[1:]))


def _transpose(reading: GraphReading) -> Value:
    vector = reading.vector()
    order = list(reading.attribute("perm", range(len(vector.shape), -1, -1)))
    if order[0] != 0:
        raise reading.refuse(f"of rows with other axes, {order},")
    return reading.pick(vector, np.transpose(reading.places(vector), [axis - 1 for axis in order[1:]]))


def _concat(reading: GraphReading) -> Value:
    vectors = [reading.vector(index) for index in range(len(reading.node.input))]
    axis = reading.axis(vectors[0], reading.attribute("axis", 0))
    ends = np.cumsum([0, *(vector.width for vector in vectors)])
    parts = [reading.places(vector) + start for vector, start in zip(vectors, ends, strict=False)]
    if any(part.ndim != parts[0].ndim for part in parts):
        raise reading.refuse(f"of rows of shapes {[vector.shape for vector in vectors]}")
    places = np.concatenate(parts, axis=axis)
    joined = vectors[0] if len(vectors) == 1 else reading.add(Join(tuple(v.place for v in vectors)), (int(ends[-1]),))
    return reading.pick(joined, places)


def _gather(reading: GraphReading) -> Value:
    vector, chosen = reading.vector(), reading.constant(1)
    axis = reading.axis(vector, reading.attribute("axis", 0))
    return reading.pick(vector, np.take(reading.places(vector), chosen.astype(np.int64), axis=axis))


def _array_feature_extractor(reading: GraphReading) -> Value:
    vector, chosen = reading.vector(), reading.constant(1)
    return reading.pick(vector, reading.places(vector)[..., chosen.reshape(-1).astype(np.int64)])


def _slice(reading: GraphReading) -> Value:
    vector = reading.vector()
    starts, ends = (reading.constant(index).reshape(-1).tolist() for index in (1, 2))
    axes = reading.constant(3).reshape(-1).tolist() if reading.has_input(3) else list(range(len(starts)))
    steps = reading.constant(4).reshape(-1).tolist() if reading.has_input(4) else [1] * len(starts)
    places = reading.places(vector)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        along = [slice(None)] * places.ndim
        # An end before the beginning, of a negative step, is written as a number below every axis.
        along[reading.axis(vector, axis)] = slice(start, None if step < 0 and end < -places.size else end, step)
        places = places[tuple(along)]
    return reading.pick(vector, places)


def split(reading: GraphReading) -> list[Value]:
    """Read a Split: the only operator whose outputs are all wanted."""
    vector = reading.vector()
    axis = reading.axis(vector, reading.attribute("axis", 0))
    n_parts, places = len(reading.node.output), reading.places(vector)
    if reading.has_input(1) or reading.attribute("split", None) is not None:
        sizes = reading.constant(1).tolist() if reading.has_input(1) else list(reading.attribute("split", []))
        parts = np.split(places, np.cumsum(sizes)[:-1], axis=axis)
    else:
        step = -(-places.shape[axis] // n_parts)
        parts = np.split(places, range(step, places.shape[axis], step), axis=axis)
    return [reading.pick(vector, part) for part in parts]


def _cast(reading: GraphReading) -> Value:
    value, to = reading.value(0), reading.attribute("to", 1)
    if isinstance(value, Mask):
        return reading.add(Flags(value.of.place, value.marker), value.of.shape)
    if to in _WHOLE:
        return Whole(reading.vector())
    if to not in _FLOATS:
        raise reading.refuse("to another type")
    return reading.vector()


OPERATORS: Final[Mapping[str, Operator]] = {
    "Identity": _same,
    "Dropout": _same,
    "Shape": _shape,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Gather": _gather,
    "ArrayFeatureExtractor": _array_feature_extractor,
    "Slice": _slice,
    "Cast": _cast,
}
