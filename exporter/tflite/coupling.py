"""Writes pairwise coupling as a loop: libsvm's iteration ends by its own error, so its rounds cannot be unrolled.

TFLite runs the body as a subgraph of its own while the other one, the condition, says so. Both see the numbers of the
round: the probabilities ``(1, k)``, libsvm's matrix Q ``(k, k)``, and how many rounds are left ``(1, 1)``.
"""

from typing import Final

import numpy as np

from exporter.programs.interpreter import COUPLING_ERROR, COUPLING_LEAST_PAIR, COUPLING_LEAST_ROUNDS, pairs_of
from exporter.tflite.file import Operator, Options, Tensor
from exporter.tflite.operators import Graph

_NOT: Final = Operator("LOGICAL_NOT", 1)
_AND: Final = Operator("LOGICAL_AND", 1)


def write_coupling(graph: Graph, n_classes: int, pairs: Tensor) -> Tensor:
    """Return the probabilities ``(1, n_classes)`` from those of the pairs; see `exporter.programs.program.Coupling`."""
    start = graph.floats(np.full(n_classes, 1.0 / n_classes))
    rounds = graph.floats(max(COUPLING_LEAST_ROUNDS, n_classes))
    state = (start, _matrix(graph, n_classes, pairs), rounds)
    numbers = (("condSubgraphIndex", _condition(graph, n_classes)), ("bodySubgraphIndex", _body(graph, n_classes)))
    after = tuple(graph.tensor(tensor.shape) for tensor in state)
    return graph.apply(Operator("WHILE", 1, Options("WhileOptions", numbers)), state, *after)


def _matrix(graph: Graph, n_classes: int, pairs: Tensor) -> Tensor:
    """Return Q: minus r[j, i] r[i, j], on the diagonal the sum of a column's squares."""
    low, high = graph.floats(COUPLING_LEAST_PAIR), graph.floats(1 - COUPLING_LEAST_PAIR)
    clipped = graph.arithmetic("MINIMUM", graph.arithmetic("MAXIMUM", pairs, low), high)
    n_pairs = pairs.shape[1]
    both = graph.join([clipped, graph.arithmetic("SUB", graph.floats(1.0), clipped), graph.floats(0.0)])
    places = np.full((n_classes, n_classes), 2 * n_pairs)
    for pair, (i, j) in enumerate(pairs_of(n_classes)):
        places[i, j], places[j, i] = pair, n_pairs + pair
    flat = graph.reshape(both, (2 * n_pairs + 1,))
    r, transposed = graph.gather(flat, graph.ints(places)), graph.gather(flat, graph.ints(places.T))
    squares = graph.reduce("SUM", graph.function("SQUARE", r), axis=0)
    diagonal = graph.arithmetic("MUL", graph.floats(np.eye(n_classes)), squares)
    return graph.arithmetic("SUB", diagonal, graph.arithmetic("MUL", r, transposed))


def _inputs(graph: Graph, n_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    return graph.tensor((1, n_classes)), graph.tensor((n_classes, n_classes)), graph.tensor((1, 1))


def _products(graph: Graph, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``Q p (1, k)`` and ``p Q p (1, 1)``."""
    qp = graph.reshape(graph.reduce("SUM", graph.arithmetic("MUL", q, p), axis=1), p.shape)
    return qp, graph.reduce("SUM", graph.arithmetic("MUL", p, qp), axis=1)


def _condition(main: Graph, n_classes: int) -> int:
    graph = Graph(main.file)
    p, q, rounds = inputs = _inputs(graph, n_classes)
    qp, pqp = _products(graph, p, q)
    error = graph.reduce("REDUCE_MAX", graph.function("ABS", graph.arithmetic("SUB", qp, pqp)), axis=1)
    is_close = graph.compare("LESS", error, graph.floats(COUPLING_ERROR / n_classes))
    goes_on = graph.apply(_NOT, (is_close,), graph.tensor(is_close.shape, np.bool_))
    is_allowed = graph.compare("GREATER", rounds, graph.floats(0.0))
    both = graph.apply(_AND, (goes_on, is_allowed), graph.tensor(goes_on.shape, np.bool_))
    return main.file.close(graph, inputs, (graph.reshape(both, (1,)),))


def _body(main: Graph, n_classes: int) -> int:
    graph = Graph(main.file)
    p, q, rounds = inputs = _inputs(graph, n_classes)
    qp, pqp = _products(graph, p, q)
    one = graph.floats(1.0)
    for t in range(n_classes):
        place = graph.ints([t])
        qp_t, q_row = graph.gather(qp, place, axis=1), graph.gather(q, place)
        q_tt = graph.gather(q_row, place, axis=1)
        step = graph.arithmetic("DIV", graph.arithmetic("SUB", pqp, qp_t), q_tt)
        grown = graph.arithmetic("ADD", one, step)
        moved = graph.arithmetic("ADD", p, graph.arithmetic("MUL", step, graph.floats(np.eye(n_classes)[t])))
        change = graph.add_all([graph.arithmetic("MUL", step, q_tt), qp_t, qp_t])
        pqp = graph.arithmetic("ADD", pqp, graph.arithmetic("MUL", step, change))
        pqp = graph.arithmetic("DIV", pqp, graph.function("SQUARE", grown))
        qp = graph.arithmetic("ADD", qp, graph.arithmetic("MUL", step, q_row))
        qp, p = graph.arithmetic("DIV", qp, grown), graph.arithmetic("DIV", moved, grown)
    # What a subgraph gives back must not be a tensor that it was given.
    return main.file.close(graph, inputs, (p, graph.copy(q, q.shape), graph.arithmetic("SUB", rounds, one)))
