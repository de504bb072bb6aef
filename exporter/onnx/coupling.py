"""Pairwise coupling (`Coupling`) as an ONNX Loop: libsvm's iteration, for all rows of a batch at once.

A row whose error is small enough keeps its probabilities; the loop ends when all do.
"""

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from exporter.graphs.nodes import Arithmetic, OnnxNodes
from exporter.programs.interpreter import COUPLING_ERROR, COUPLING_LEAST_PAIR, COUPLING_LEAST_ROUNDS, pairs_of
from exporter.programs.program import Coupling

_PROBABILITIES: Final = "p"


def write_coupling(arithmetic: Arithmetic, operation: Coupling, x: str) -> str:
    """Add the loop; return the name of the classes' probabilities."""
    wide, nodes, k = arithmetic.widened(), arithmetic.nodes, operation.n_classes
    pairs = nodes.node("Clip", wide.take(x), wide.constant(COUPLING_LEAST_PAIR), wide.constant(1 - COUPLING_LEAST_PAIR))
    q = _q_matrix(wide, pairs, k)
    # Every row begins with 1 / k; multiplying by 0 gives the number of rows.
    one = nodes.node("Mul", nodes.node("Gather", pairs, nodes.constant([0], np.int64), axis=1), wide.constant([0.0]))
    start = nodes.node("Add", one, wide.constant(np.full((1, k), 1 / k)))
    rounds = nodes.constant(max(COUPLING_LEAST_ROUNDS, k), np.int64)
    body = _body(nodes, q, k)
    return wide.give(nodes.node("Loop", rounds, nodes.constant(True, np.bool_), start, body=body))  # noqa: FBT003 - a tensor


def _q_matrix(wide: Arithmetic, pairs: str, k: int) -> str:
    """Return Q ``(n, k, k)``: ``-r[j, i] r[i, j]``, and ``sum over t of r[t, i]²`` on the diagonal."""
    nodes = wide.nodes
    spread, ones = np.zeros((k * (k - 1) // 2, k, k)), np.zeros((k, k))
    for pair, (i, j) in enumerate(pairs_of(k)):
        spread[pair, i, j], spread[pair, j, i], ones[j, i] = 1, -1, 1
    flat = nodes.node("MatMul", pairs, wide.constant(spread.reshape(-1, k * k)))
    flat = nodes.node("Add", flat, wide.constant(ones.reshape(1, k * k)))
    r = nodes.node("Reshape", flat, nodes.constant([-1, k, k], np.int64))
    products = nodes.node("Mul", nodes.node("Transpose", r, perm=[0, 2, 1]), r)
    squares = nodes.node("ReduceSum", nodes.node("Mul", r, r), nodes.constant([1], np.int64))
    return nodes.node("Sub", nodes.node("Mul", squares, wide.constant(np.eye(k))), products)


def _body(around: OnnxNodes, q: str, k: int) -> onnx.GraphProto:
    """Return one round; it sees Q and its parts from the graph around it."""
    nodes = OnnxNodes("r")
    wide = Arithmetic(nodes, k, is_wide=True)
    p = _PROBABILITIES
    column = nodes.node("Unsqueeze", p, nodes.constant([2], np.int64))
    qp = nodes.node("Squeeze", nodes.node("MatMul", q, column), nodes.constant([2], np.int64))
    pqp = nodes.node("ReduceSum", nodes.node("Mul", p, qp), nodes.constant([1], np.int64))
    errors = nodes.node("Abs", nodes.node("Sub", qp, pqp))
    error = nodes.node("ReduceMax", errors, nodes.constant([1], np.int64))
    is_close = nodes.node("Less", error, wide.constant([COUPLING_ERROR / k]))
    moved = p
    for t in range(k):
        moved, qp, pqp = _step(around, wide, q, t, k, (moved, qp, pqp))
    kept = nodes.node("Where", is_close, p, moved)
    under_way = nodes.node("Cast", nodes.node("Not", is_close), to=TensorProto.INT32)
    goes_on = nodes.node("Cast", nodes.node("ReduceMax", under_way, keepdims=0), to=TensorProto.BOOL)
    return helper.make_graph(
        nodes.nodes,
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info(p, TensorProto.DOUBLE, [None, k]),
        ],
        [
            helper.make_tensor_value_info(goes_on, TensorProto.BOOL, []),
            helper.make_tensor_value_info(kept, TensorProto.DOUBLE, [None, k]),
        ],
        nodes.tensors,
    )


def _step(
    around: OnnxNodes, wide: Arithmetic, q: str, t: int, k: int, state: tuple[str, str, str]
) -> tuple[str, str, str]:
    """Move the probability of class t, as libsvm does; returns p, Qp and pQp."""
    (p, qp, pqp), nodes = state, wide.nodes
    row = around.node("Gather", q, around.constant(t, np.int64), axis=1)
    diagonal = around.node("Gather", row, around.constant([t], np.int64), axis=1)
    own = nodes.node("Gather", qp, nodes.constant([t], np.int64), axis=1)
    step = nodes.node("Div", nodes.node("Sub", pqp, own), diagonal)
    growth = nodes.node("Add", step, wide.constant([1.0]))
    p = nodes.node("Add", p, nodes.node("Mul", step, wide.constant(np.eye(k)[[t]])))
    gain = nodes.node("Add", nodes.node("Mul", step, diagonal), nodes.node("Mul", own, wide.constant([2.0])))
    pqp = nodes.node("Add", pqp, nodes.node("Mul", step, gain))
    pqp = nodes.node("Div", pqp, nodes.node("Mul", growth, growth))
    qp = nodes.node("Div", nodes.node("Add", qp, nodes.node("Mul", step, row)), growth)
    return nodes.node("Div", p, growth), qp, pqp
