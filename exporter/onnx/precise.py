"""Operations that are computed in float64 whatever they feed, as the libraries compute them.

Squares of distances are small differences of great numbers, and votes, knots and norms decide by the last bits.
"""

import numpy as np

from exporter.graphs.nodes import Arithmetic, Floats, axes
from exporter.programs.interpreter import pairs_of
from exporter.programs.program import LEAST_NORM, Curve, Interpolate, Kernel, Normalise, OvrOfOvo


def write_kernel(arithmetic: Arithmetic, operation: Kernel, x: str) -> str:
    """Add a kernel over stored vectors; return the name of its answer."""
    wide, nodes = arithmetic.widened(), arithmetic.nodes
    taken, vectors = wide.take(x), operation.vectors
    products = nodes.node("MatMul", taken, nodes.node("Transpose", wide.constant(vectors), perm=[1, 0]))
    if operation.kind == "linear":
        return wide.give(products)
    if operation.kind == "rbf":
        own = nodes.node("ReduceSum", nodes.node("Mul", taken, taken), axes(nodes, 1))
        both = nodes.node("Add", own, nodes.constant(np.square(vectors).sum(axis=1), np.float64))
        twice = nodes.node("Mul", products, wide.constant([2.0]))
        distance = nodes.node("Sub", both, twice)
        return wide.give(nodes.node("Exp", nodes.node("Mul", distance, wide.constant([-operation.gamma]))))
    inner = nodes.node("Mul", products, wide.constant([operation.gamma]))
    if operation.coef0:
        inner = nodes.node("Add", inner, wide.constant([operation.coef0]))
    if operation.kind == "sigmoid":
        return wide.give(nodes.node("Tanh", inner))
    return wide.give(nodes.node("Pow", inner, wide.constant([operation.degree])))


def write_near_zero(arithmetic: Arithmetic, operation: Curve, x: str) -> str:
    """Add ``log(1 + x)`` or ``exp(x) - 1`` that keep the digits of a small ``x``; return the name of the answer.

    What the rounding of ``1 + x`` lost is in both parts of a quotient, and cancels: Kahan, in Goldberg, What every
    computer scientist should know about floating-point arithmetic (1991), theorem 4.
    """
    wide, nodes = arithmetic.widened(), arithmetic.nodes
    taken, one = wide.take(x), wide.constant([1.0])
    if operation.kind == "log1p":
        raised = nodes.node("Add", taken, one)
        logarithm = nodes.node("Log", raised)
        above, large = nodes.node("Sub", raised, one), logarithm
        near = nodes.node("Mul", logarithm, nodes.node("Div", taken, above))
    else:
        raised = nodes.node("Exp", taken)
        above = large = nodes.node("Sub", raised, one)
        near = nodes.node("Mul", above, nodes.node("Div", taken, nodes.node("Log", raised)))
    near = nodes.node("Where", nodes.node("Equal", above, wide.constant([0.0])), taken, near)
    is_large = nodes.node("Greater", nodes.node("Abs", taken), one)
    return wide.give(nodes.node("Where", is_large, large, near))


def write_normalise(arithmetic: Arithmetic, operation: Normalise, x: str) -> str:
    """Add a division by a norm; return the name of its answer."""
    wide, nodes = arithmetic.widened(), arithmetic.nodes
    taken, along = wide.take(x), axes(nodes, 1)
    if operation.norm == "l2":
        norm = nodes.node("Sqrt", nodes.node("ReduceSum", nodes.node("Mul", taken, taken), along))
    else:
        norm = nodes.node("ReduceSum" if operation.norm == "l1" else "ReduceMax", nodes.node("Abs", taken), along)
    is_zero = nodes.node("Less", norm, wide.constant([LEAST_NORM]))
    return wide.give(nodes.node("Div", taken, nodes.node("Where", is_zero, wide.constant([1.0]), norm)))


def write_interpolate(arithmetic: Arithmetic, operation: Interpolate, x: str) -> str:
    """Add an interpolation of each column; return the name of its answer."""
    wide, nodes = arithmetic.widened(), arithmetic.nodes
    columns = []
    for place, (xs, ys) in enumerate(zip(operation.xs, operation.ys, strict=True)):
        column = wide.take(nodes.node("Gather", x, nodes.constant([place], np.int64), axis=1))
        columns.append(_interpolate_column(wide, column, xs, ys))
    return wide.give(columns[0] if len(columns) == 1 else nodes.node("Concat", *columns, axis=1))


def _interpolate_column(wide: Arithmetic, x: str, xs: Floats, ys: Floats) -> str:
    nodes = wide.nodes
    if len(xs) == 1:
        return nodes.node("Where", nodes.node("IsNaN", x), wide.constant([ys[0]]), wide.constant([[ys[0]]]))
    for kind, end in (("Less", xs[0]), ("Greater", xs[-1])):
        limit = wide.constant([end])
        x = nodes.node("Where", nodes.node(kind, x, limit), limit, x)
    # The knot at or below x: how many of those behind the first it has reached.
    passed = nodes.node("GreaterOrEqual", x, nodes.constant([xs[1:]], np.float64))
    knot = nodes.node("ReduceSum", nodes.index(passed), axes(nodes, 1))
    slopes = np.append(np.diff(ys) / np.diff(xs), 0.0)
    at, value, slope = (nodes.node("Gather", nodes.constant(part, np.float64), knot) for part in (xs, ys, slopes))
    return nodes.node("Add", nodes.node("Mul", nodes.node("Sub", x, at), slope), value)


def write_ovr_of_ovo(arithmetic: Arithmetic, operation: OvrOfOvo, x: str) -> str:
    """Add the scores of classes from pairs; return the name of its answer."""
    wide, nodes, pairs = arithmetic.widened(), arithmetic.nodes, pairs_of(operation.n_classes)
    first, second = np.eye(operation.n_classes)[np.array(pairs).T]
    votes_first = nodes.widen(nodes.node("LessOrEqual", x, nodes.constant([0.0])))
    votes_second = nodes.widen(nodes.node("Greater", x, nodes.constant([0.0])))
    votes = nodes.node(
        "Add",
        nodes.node("MatMul", votes_first, wide.constant(first)),
        nodes.node("MatMul", votes_second, wide.constant(second)),
    )
    confidence = nodes.node("MatMul", wide.take(x), wide.constant(second - first))
    size = nodes.node("Add", nodes.node("Abs", confidence), wide.constant([1.0]))
    share = nodes.node("Div", confidence, nodes.node("Mul", size, wide.constant([3.0])))
    return wide.give(nodes.node("Add", votes, share))
