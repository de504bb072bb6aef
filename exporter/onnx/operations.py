"""Each operation of a program in ONNX's standard operators: a table, one function an operation.

Where one step of float64 arithmetic is rounded to float32, float32 arithmetic on operands that are exact in it gives
the same number; the casts are left out there.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from onnx import TensorProto

from exporter.graphs.nodes import Arithmetic, Floats, OnnxNodes, axes, is_float32
from exporter.onnx.coupling import write_coupling
from exporter.onnx.precise import write_interpolate, write_kernel, write_near_zero, write_normalise, write_ovr_of_ovo
from exporter.onnx.trees import write_trees
from exporter.programs.program import (
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

_CURVES: Final = {
    "relu": "Relu",
    "tanh": "Tanh",
    "logistic": "Sigmoid",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "reciprocal": "Reciprocal",
}


def _columns(arithmetic: Arithmetic, operation: Columns, x: str) -> str:
    return arithmetic.nodes.node("Gather", x, arithmetic.nodes.constant(operation.places, np.int64), axis=1)


def _is(nodes: OnnxNodes, x: str, marker: float) -> str:
    return nodes.node("IsNaN", x) if np.isnan(marker) else nodes.node("Equal", x, nodes.constant([marker]))


def _fill(arithmetic: Arithmetic, operation: Fill, x: str) -> str:
    nodes = arithmetic.nodes
    return nodes.node("Where", _is(nodes, x, operation.marker), nodes.constant(operation.values), x)


def _flags(arithmetic: Arithmetic, operation: Flags, x: str) -> str:
    return arithmetic.nodes.narrow(_is(arithmetic.nodes, x, operation.marker))


def _one_step(nodes: OnnxNodes, kind: str, x: str, values: Floats) -> str:
    """Compute ``x kind values`` as float64 does, rounded to float32."""
    if is_float32(values):
        return nodes.node(kind, x, nodes.constant(values))
    return nodes.narrow(nodes.node(kind, nodes.widen(x), nodes.wide_constant(values)))


def _scale(arithmetic: Arithmetic, operation: Scale, x: str) -> str:
    centred = x if not operation.means.any() else _one_step(arithmetic.nodes, "Sub", x, operation.means)
    return centred if (operation.scales == 1).all() else _one_step(arithmetic.nodes, "Div", centred, operation.scales)


def _affine(arithmetic: Arithmetic, operation: Affine, x: str) -> str:
    grown = x if (operation.factors == 1).all() else _one_step(arithmetic.nodes, "Mul", x, operation.factors)
    return grown if not operation.offsets.any() else _one_step(arithmetic.nodes, "Add", grown, operation.offsets)


def _clip(arithmetic: Arithmetic, operation: Clip, x: str) -> str:
    # Not Max and Min: what they do to NaN differs between runtimes.
    nodes = arithmetic.nodes
    for kind, bound in (("Less", operation.low), ("Greater", operation.high)):
        if np.isfinite(bound).any():
            limit = nodes.constant(bound)
            x = nodes.node("Where", nodes.node(kind, x, limit), limit, x)
    return x


def _curve(arithmetic: Arithmetic, operation: Curve, x: str) -> str:
    taken = arithmetic.take(x)
    if operation.kind == "square":
        return arithmetic.give(arithmetic.nodes.node("Mul", taken, taken))
    if operation.kind in {"log1p", "expm1"}:
        return write_near_zero(arithmetic, operation, x)
    return arithmetic.give(arithmetic.nodes.node(_CURVES[operation.kind], taken))


def _matches(nodes: OnnxNodes, x: str, keys: list[np.float32]) -> str:
    """Return ``(n, len(keys)) bool``: which key ``x (n, 1)`` is; NaN may be a key."""
    found = nodes.node("Equal", x, nodes.constant([keys]))
    if not np.isnan(keys).any():
        return found
    is_missing = nodes.node("And", nodes.node("IsNaN", x), nodes.constant([np.isnan(keys)], np.bool_))
    return nodes.node("Or", found, is_missing)


def _one_hot(arithmetic: Arithmetic, operation: OneHot, x: str) -> str:
    nodes, groups = arithmetic.nodes, [np.unique(np.array(group, np.float32)) for group in operation.groups]
    keys = [key for group in groups for key in group]
    if not keys:
        return _nothing(arithmetic, x)
    found = nodes.narrow(_matches(nodes, x, keys))
    if all(len(group) == 1 for group in groups):
        return found
    # A key stands once in a group, so a sum is 0 or 1.
    members = np.zeros((len(keys), len(groups)))
    members[np.arange(len(keys)), [place for place, group in enumerate(groups) for _ in group]] = 1
    return nodes.node("MatMul", found, nodes.constant(members))


def _nothing(arithmetic: Arithmetic, x: str) -> str:
    """Return zeros for every row: nothing is below minus infinity."""
    below = arithmetic.nodes.node("Less", x, arithmetic.nodes.constant([[-np.inf] * arithmetic.width]))
    return arithmetic.nodes.narrow(below)


def _lookup(arithmetic: Arithmetic, operation: Lookup, x: str) -> str:
    nodes, default = arithmetic.nodes, arithmetic.nodes.constant([[operation.default]])
    # A later one of equal keys holds.
    values = {
        key.tobytes(): (key, value) for key, value in zip(_float32(operation.keys), operation.values, strict=True)
    }
    if not values:
        return nodes.node("Where", nodes.node("Less", x, nodes.constant([[-np.inf]])), x, default)
    found = nodes.narrow(_matches(nodes, x, [key for key, _ in values.values()]))
    place = nodes.node("ArgMax", found, axis=1, keepdims=1)
    value = nodes.node("Gather", nodes.constant([value for _, value in values.values()]), place)
    is_known = nodes.node("Cast", nodes.node("ReduceMax", found, axes(nodes, 1)), to=TensorProto.BOOL)
    return nodes.node("Where", is_known, value, default)


def _float32(keys: tuple[float, ...]) -> list[np.float32]:
    # Adding 0 makes -0 and 0 one key, and all NaN have one form.
    return [np.float32("nan") if np.isnan(key) else np.float32(key) + np.float32(0) for key in keys]


def _bins(arithmetic: Arithmetic, operation: Bins, x: str) -> str:
    nodes, n_edges = arithmetic.nodes, max(len(edges) for edges in operation.edges)
    if n_edges == 0:
        return _nothing(arithmetic, x)
    # Nothing is at least NaN: it fills the rows of columns with fewer edges.
    table = np.array([[*edges, *[np.nan] * (n_edges - len(edges))] for edges in operation.edges])
    present = nodes.node("Unsqueeze", _without_missing(nodes, x, np.inf), axes(nodes, 2))
    passed = nodes.narrow(nodes.node("GreaterOrEqual", present, nodes.constant(table)))
    return nodes.node("ReduceSum", passed, axes(nodes, 2), keepdims=0)


def _without_missing(nodes: OnnxNodes, x: str, value: float) -> str:
    return nodes.node("Where", nodes.node("IsNaN", x), nodes.constant([value]), x)


def _linear(arithmetic: Arithmetic, operation: Linear, x: str) -> str:
    nodes, weights = arithmetic.nodes, arithmetic.constant(operation.weights)
    if not arithmetic.is_wide and operation.bias.any():
        return nodes.node("Gemm", x, weights, nodes.constant(operation.bias))
    product = nodes.node("MatMul", arithmetic.take(x), weights)
    if operation.bias.any():
        product = nodes.node("Add", product, arithmetic.constant(operation.bias))
    return arithmetic.give(product)


def _softmax(arithmetic: Arithmetic, _: Softmax, x: str) -> str:
    return arithmetic.give(arithmetic.nodes.node("Softmax", arithmetic.take(x), axis=1))


def _complement(arithmetic: Arithmetic, _: Complement, x: str) -> str:
    nodes = arithmetic.nodes
    return nodes.node("Concat", nodes.node("Sub", nodes.constant([1.0]), x), x, axis=1)


def _proportions(arithmetic: Arithmetic, _: Proportions, x: str) -> str:
    nodes, taken = arithmetic.nodes, arithmetic.take(x)
    total = nodes.node("ReduceSum", taken, axes(nodes, 1))
    is_zero, one = nodes.node("Equal", total, arithmetic.constant([0.0])), arithmetic.constant([1.0])
    # Where the sum is 0 each number counts as one of w equal ones.
    number = nodes.node("Where", is_zero, one, taken)
    return arithmetic.give(nodes.node("Div", number, nodes.node("ReduceSum", number, axes(nodes, 1))))


def _average(arithmetic: Arithmetic, operation: Average, *vectors: str) -> str:
    nodes = arithmetic.nodes
    terms = [
        arithmetic.take(vector)
        if weight == 1
        else nodes.node("Mul", arithmetic.take(vector), arithmetic.constant([weight]))
        for vector, weight in zip(vectors, operation.weights, strict=True)
    ]
    return arithmetic.give(terms[0] if len(terms) == 1 else nodes.node("Sum", *terms))


def _arg_max(arithmetic: Arithmetic, _: ArgMax, x: str) -> str:
    nodes = arithmetic.nodes
    chosen = nodes.node("ArgMax", x, axis=1, keepdims=1)
    places = nodes.constant([range(arithmetic.width)], np.int64)
    return nodes.narrow(nodes.node("Equal", chosen, places))


# A new operation is one line here. (arithmetic, operation, names of its sources) to the name of its answer.
WRITERS: Final[Mapping[type[Any], Callable[..., str]]] = {
    Columns: _columns,
    Join: lambda arithmetic, _, *vectors: arithmetic.nodes.node("Concat", *vectors, axis=1),
    Fill: _fill,
    Flags: _flags,
    Scale: _scale,
    Affine: _affine,
    Clip: _clip,
    Curve: _curve,
    OneHot: _one_hot,
    Lookup: _lookup,
    Bins: _bins,
    Linear: _linear,
    Kernel: write_kernel,
    Trees: write_trees,
    Softmax: _softmax,
    Complement: _complement,
    Proportions: _proportions,
    Average: _average,
    Product: lambda arithmetic, _, first, second: arithmetic.nodes.node("Mul", first, second),
    Normalise: write_normalise,
    Interpolate: write_interpolate,
    ArgMax: _arg_max,
    OvrOfOvo: write_ovr_of_ovo,
    Coupling: write_coupling,
}
