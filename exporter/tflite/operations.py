"""Writes the operations of a program as TFLite operators in float32; kernels, trees and coupling have own modules.

What a float32 runtime cannot do as the program defines it is done as near as its numbers allow:

- `Scale` subtracts a mean in two parts, its float32 and the rest, where the rest is of weight: a sensor that reads
  1013.25 hPa loses no digits. The result may still be the neighbour of scikit-learn's float32; trees behind a scaler
  are therefore read with the scaler folded into their thresholds (`exporter.programs.folding`), where it can be.
- NaN stays NaN also where a kernel of a runtime would make a number of it (maximum, minimum, exp).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exporter.programs.float32 import not_above
from exporter.programs.interpreter import pairs_of
from exporter.programs.program import (
    LEAST_NORM,
    Affine,
    ArgMax,
    Average,
    Bins,
    Clip,
    Columns,
    Complement,
    Coupling,
    Curve,
    Fill,
    Flags,
    Interpolate,
    Join,
    Kernel,
    Linear,
    Lookup,
    Normalise,
    OneHot,
    OvrOfOvo,
    Product,
    Proportions,
    Scale,
    Softmax,
    Trees,
)
from exporter.tflite.coupling import write_coupling
from exporter.tflite.file import Tensor
from exporter.tflite.kernels import write_kernel
from exporter.tflite.operators import Function, Graph
from exporter.tflite.tree_storage import exact_storage
from exporter.tflite.tree_walk import lay_out
from exporter.tflite.trees import write_trees

Floats = NDArray[np.float64]
Writer: TypeAlias = Callable[..., Tensor]

# A rest of a mean below this share of the scale is less than float32 rounds a standardised value of 1 by.
_REST_OF_WEIGHT: Final = 2.0**-24
_STEEPEST: Final = float(np.finfo(np.float32).max)
_FUNCTIONS: Final[Mapping[str, Function]] = {
    "relu": "RELU",
    "tanh": "TANH",
    "logistic": "LOGISTIC",
    "exp": "EXP",
    "log": "LOG",
    "sqrt": "SQRT",
    "square": "SQUARE",
    "abs": "ABS",
}


def _is(graph: Graph, x: Tensor, marker: float) -> Tensor:
    return graph.is_missing(x) if np.isnan(marker) else graph.compare("EQUAL", x, graph.floats(marker))


def _fill(graph: Graph, operation: Fill, x: Tensor) -> Tensor:
    return graph.select(_is(graph, x, operation.marker), graph.floats(operation.values), x)


def write_scale(graph: Graph, operation: Scale, x: Tensor) -> Tensor:
    """Write a scaler; a mean goes in two parts where its float32 is not enough."""
    means = operation.means.astype(np.float32)
    rests = operation.means - means
    if means.any():
        x = graph.arithmetic("SUB", x, graph.floats(means))
    if np.any(np.abs(rests) > _REST_OF_WEIGHT * np.abs(operation.scales)):
        # The first difference is exact for values near the mean, so that nothing is lost before the rest goes too.
        x = graph.arithmetic("SUB", x, graph.floats(rests))
    return x if np.all(operation.scales == 1) else graph.arithmetic("DIV", x, graph.floats(operation.scales))


def write_affine(graph: Graph, operation: Affine, x: Tensor) -> Tensor:
    """Write a product and a sum, each where it changes anything."""
    if np.any(operation.factors != 1):
        x = graph.arithmetic("MUL", x, graph.floats(operation.factors))
    return graph.arithmetic("ADD", x, graph.floats(operation.offsets)) if operation.offsets.any() else x


def _clip(graph: Graph, operation: Clip, x: Tensor) -> Tensor:
    clipped = x
    if np.any(operation.low != -np.inf):
        clipped = graph.arithmetic("MAXIMUM", clipped, graph.floats(operation.low))
    if np.any(operation.high != np.inf):
        clipped = graph.arithmetic("MINIMUM", clipped, graph.floats(operation.high))
    # The kernels of maximum and minimum answer NaN with the bound.
    return x if clipped is x else graph.select(graph.is_missing(x), x, clipped)


def _curve(graph: Graph, operation: Curve, x: Tensor) -> Tensor:
    if operation.kind in {"log1p", "expm1"}:
        return _near_zero(graph, operation, x)
    if operation.kind == "reciprocal":
        return graph.arithmetic("DIV", graph.floats(1.0), x)
    curve = graph.function(_FUNCTIONS[operation.kind], x)
    # XNNPACK's exp answers NaN with 0.
    return graph.select(graph.is_missing(x), x, curve) if operation.kind == "exp" else curve


def _near_zero(graph: Graph, operation: Curve, x: Tensor) -> Tensor:
    """Add ``log(1 + x)`` or ``exp(x) - 1`` that keep the digits of a small ``x``.

    Up to 1/4 by the first terms of a series (what they leave is below a float32 step): there XNNPACK's logarithm has
    none of them.
    """
    one = graph.floats(1.0)
    if operation.kind == "log1p":  # 2 artanh(s)
        far = graph.function("LOG", graph.arithmetic("ADD", x, one))
        share = graph.arithmetic("DIV", x, graph.arithmetic("ADD", x, graph.floats(2.0)))
        terms = _series(graph, graph.function("SQUARE", share), (2.0, 2 / 3, 2 / 5, 2 / 7, 2 / 9))
        near = graph.arithmetic("MUL", share, terms)
    else:
        far = graph.arithmetic("SUB", graph.function("EXP", x), one)
        near = graph.arithmetic("MUL", x, _series(graph, x, tuple(1 / math.factorial(n) for n in range(1, 8))))
    is_far = graph.compare("GREATER", graph.function("ABS", x), graph.floats(0.25))
    curve = graph.select(is_far, far, near)
    return graph.select(graph.is_missing(x), x, curve)


def _series(graph: Graph, x: Tensor, factors: tuple[float, ...]) -> Tensor:
    """Add ``factors[0] + factors[1] x + factors[2] x² + …``, by Horner's rule."""
    *others, last = factors
    total = graph.floats(last)
    for factor in reversed(others):
        total = graph.arithmetic("ADD", graph.arithmetic("MUL", total, x), graph.floats(factor))
    return total


def _one_hot(graph: Graph, operation: OneHot, x: Tensor) -> Tensor:
    keys = [key for group in operation.groups for key in group if not np.isnan(key)]
    n_groups = len(operation.groups)
    parts = []
    if keys:
        found = graph.cast(graph.compare("EQUAL", x, graph.floats(keys)), np.float32)
        group_of = [i for i, group in enumerate(operation.groups) for key in group if not np.isnan(key)]
        if group_of == list(range(n_groups)):
            parts.append(found)
        else:
            parts.append(graph.linear(found, np.eye(n_groups)[group_of], np.zeros(n_groups)))
    of_missing = np.array([any(np.isnan(key) for key in group) for group in operation.groups], dtype=np.float64)
    if of_missing.any():
        parts.append(graph.linear(graph.cast(graph.is_missing(x), np.float32), of_missing[None], np.zeros(n_groups)))
    return graph.add_all(parts)


def _lookup(graph: Graph, operation: Lookup, x: Tensor) -> Tensor:
    # A key that comes twice means its last value.
    values = {np.float32(key).item(): value for key, value in zip(operation.keys, operation.values, strict=True)}
    of_missing = [value for key, value in values.items() if np.isnan(key)]
    values = {key: value for key, value in values.items() if not np.isnan(key)}
    answer = graph.floats(operation.default)
    if values:
        found = graph.compare("EQUAL", x, graph.floats(list(values)))
        zeros = graph.floats(np.zeros(len(values)))
        picked = graph.reduce("SUM", graph.select(found, graph.floats(list(values.values())), zeros), axis=1)
        n_found = graph.reduce("SUM", graph.cast(found, np.float32), axis=1)
        answer = graph.select(graph.compare("GREATER", n_found, graph.floats(0.0)), picked, answer)
    if of_missing or not values:
        missing = graph.floats(of_missing[-1] if of_missing else operation.default)
        answer = graph.select(graph.is_missing(x), missing, answer)
    return answer


def _count_not_above(graph: Graph, x: Tensor, edges: tuple[Floats, ...]) -> Tensor:
    """Return ``(w, 1)``: for each number of a row, how many of its edges are not above it; NaN: all."""
    n_edges = np.array([len(of_column) for of_column in edges], dtype=np.float64)
    # Nothing is below NaN, so that neither the padding nor a missing value counts as an edge that is above.
    table = np.full((len(edges), max(1, int(n_edges.max()))), np.nan)
    for row, of_column in zip(table, edges, strict=True):
        row[: len(of_column)] = of_column
    above = graph.compare("LESS", graph.reshape(x, (len(edges), 1)), graph.floats(table))
    n_above = graph.reduce("SUM", graph.cast(above, np.float32), axis=1)
    return graph.arithmetic("SUB", graph.floats(n_edges[:, np.newaxis]), n_above)


def _bins(graph: Graph, operation: Bins, x: Tensor) -> Tensor:
    counts = _count_not_above(graph, x, tuple(np.array(edges) for edges in operation.edges))
    return graph.reshape(counts, x.shape)


def _proportions(graph: Graph, _: Proportions, x: Tensor) -> Tensor:
    total = graph.reduce("SUM", x, axis=1)
    is_empty = graph.compare("EQUAL", total, graph.floats(0.0))
    equal = graph.floats(np.full(x.shape, 1.0 / x.shape[1]))
    return graph.select(is_empty, equal, graph.arithmetic("DIV", x, total))


def _average(graph: Graph, operation: Average, *vectors: Tensor) -> Tensor:
    first = operation.weights[0]
    if all(weight == first for weight in operation.weights):
        total, parts = graph.add_all(list(vectors)), round(1 / first) if first else 0
        if parts and 1 / parts == first:
            return total if parts == 1 else graph.arithmetic("DIV", total, graph.floats(parts))
        return graph.arithmetic("MUL", total, graph.floats(first))
    weighted = zip(vectors, operation.weights, strict=True)
    return graph.add_all([v if w == 1 else graph.arithmetic("MUL", v, graph.floats(w)) for v, w in weighted])


def _normalise(graph: Graph, operation: Normalise, x: Tensor) -> Tensor:
    if operation.norm == "l2":
        norm = graph.function("SQRT", graph.reduce("SUM", graph.function("SQUARE", x), axis=1))
    else:
        norm = graph.reduce("SUM" if operation.norm == "l1" else "REDUCE_MAX", graph.function("ABS", x), axis=1)
    is_zero = graph.compare("LESS", norm, graph.floats(LEAST_NORM))
    return graph.arithmetic("DIV", x, graph.select(is_zero, graph.floats(1.0), norm))


def _interpolate(graph: Graph, operation: Interpolate, x: Tensor) -> Tensor:
    """Count the knots that a number has passed, gather that piece, and go along its slope.

    NaN stays NaN, but where a single knot makes everything one number.
    """
    pieces = [_pieces_of(xs, ys) for xs, ys in zip(operation.xs, operation.ys, strict=True)]
    places = np.cumsum([0, *(len(of_column) for of_column in pieces[:-1])])
    table = np.concatenate(pieces)
    # Outwards, so that a number beyond the ends does not come to lie on a steep piece.
    lows = not_above(np.array([xs[0] for xs in operation.xs])).astype(np.float64)
    highs = _not_below(np.array([xs[-1] for xs in operation.xs]))
    x = _clip(graph, Clip(0, lows, highs), x)
    is_single = np.array([[len(xs) == 1 for xs in operation.xs]])
    if is_single.any():
        x = graph.select(graph.constant(is_single), graph.floats(lows), x)
    counts = graph.reshape(_count_not_above(graph, x, tuple(_not_below(xs) for xs in operation.xs)), x.shape)
    piece = graph.arithmetic("ADD", graph.as_ints(counts), graph.ints(places[np.newaxis]))
    columns = (table[:, 0], table[:, 0] - table[:, 0].astype(np.float32), table[:, 1], table[:, 2])
    start, rest, base, slope = (graph.gather(graph.constant(c.astype(np.float32)), piece) for c in columns)
    along = graph.arithmetic("SUB", graph.arithmetic("SUB", x, start), rest)
    return graph.arithmetic("ADD", base, graph.arithmetic("MUL", along, slope))


def _pieces_of(xs: Floats, ys: Floats) -> Floats:
    """Return start, value there and slope of each piece, ``(n_knots + 1, 3)``: the first and last are flat."""
    slopes = np.clip(np.diff(ys) / np.diff(xs), -_STEEPEST, _STEEPEST)
    return np.stack([np.append(xs[:1], xs), np.append(ys[:1], ys), np.concatenate([[0.0], slopes, [0.0]])], axis=1)


def _not_below(edges: Floats) -> Floats:
    """Return the least float32 not below each edge: a float32 is below both or below none."""
    return -not_above(-edges).astype(np.float64)


def _ovr_of_ovo(graph: Graph, operation: OvrOfOvo, x: Tensor) -> Tensor:
    n_classes, pairs = operation.n_classes, pairs_of(operation.n_classes)
    signs = np.zeros((len(pairs), n_classes))
    for pair, (first, second) in enumerate(pairs):
        signs[pair, first], signs[pair, second] = -1.0, 1.0
    is_second = graph.cast(graph.compare("GREATER", x, graph.floats(0.0)), np.float32)
    votes = graph.linear(is_second, signs, np.sum(signs < 0, axis=0).astype(np.float64))
    confidence = graph.linear(x, signs, np.zeros(n_classes))
    bound = graph.arithmetic("ADD", graph.function("ABS", confidence), graph.floats(1.0))
    share = graph.arithmetic("DIV", confidence, graph.arithmetic("MUL", bound, graph.floats(3.0)))
    return graph.arithmetic("ADD", votes, share)


def _trees(graph: Graph, operation: Trees, x: Tensor) -> Tensor:
    ensemble = operation.ensemble
    return write_trees(graph, exact_storage(lay_out(ensemble)), ensemble.base, ensemble.divisor, x)


def _complement(graph: Graph, _: Complement, x: Tensor) -> Tensor:
    return graph.join([graph.arithmetic("SUB", graph.floats(1.0), x), x])


# Operations by type: a new operation is one line here. Each takes the graph, the operation, and its vectors (1, width).
WRITERS: Final[Mapping[type[Any], Writer]] = {
    Columns: lambda graph, operation, x: graph.columns(x, list(operation.places)),
    Join: lambda graph, _, *vectors: graph.join(list(vectors)),
    Fill: _fill,
    Flags: lambda graph, operation, x: graph.cast(_is(graph, x, operation.marker), np.float32),
    Scale: write_scale,
    Affine: write_affine,
    Clip: _clip,
    Curve: _curve,
    OneHot: _one_hot,
    Lookup: _lookup,
    Bins: _bins,
    Linear: lambda graph, operation, x: graph.linear(x, operation.weights, operation.bias),
    Kernel: write_kernel,
    Trees: _trees,
    Softmax: lambda graph, _, x: graph.softmax(x),
    Complement: _complement,
    Proportions: _proportions,
    Average: _average,
    Product: lambda graph, _, first, second: graph.arithmetic("MUL", first, second),
    Normalise: _normalise,
    Interpolate: _interpolate,
    ArgMax: lambda graph, _, x: graph.one_hot(graph.arg_max(x), x.shape[1]),
    OvrOfOvo: _ovr_of_ovo,
    Coupling: lambda graph, operation, x: write_coupling(graph, operation.n_classes, x),
}
