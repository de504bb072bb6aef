"""Writes tree ensembles as TFLite operators: all trees at once, one level of them after the other.

`exporter.tflite.tree_walk` lays the nodes out, `exporter.tflite.tree_storage` chooses their numbers. A node costs 6 to
8 bytes in float32: its column, the step to its children, and its threshold, whose place a leaf uses for itself.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.tflite.file import Tensor
from exporter.tflite.operators import Graph
from exporter.tflite.tree_storage import StoredTrees, smallest_integers
from exporter.tflite.tree_walk import CategoryTable, TreeWalk

Ints = NDArray[np.int64]

# Above this many trees their leaves are added in two stages, so that float32 loses little to long sums.
_LONG_SUM: Final = 32
# Below every rank, and not above any test.
_BELOW_RANKS: Final = int(np.iinfo(np.int16).min)


def write_trees(graph: Graph, stored: StoredTrees, base: NDArray[np.float64], divisor: float, x: Tensor) -> Tensor:
    """Return the answer ``(1, n_outputs)`` of an ensemble for a row ``(1, n_features)``."""
    grid = _square_grid(stored.walk)
    reached = _gather_leaves(graph, stored, _walk_down(graph, stored, grid, x))
    total = _sum_over_trees(graph, reached, grid.shape)
    if stored.scale is not None:
        total = graph.arithmetic("MUL", graph.cast(total, np.float32), graph.floats(stored.scale / divisor))
    elif divisor != 1:
        # Divided last: whole numbers of trees that vote alike stay equal, as in the library.
        total = graph.arithmetic("DIV", total, graph.floats(divisor))
    return graph.arithmetic("ADD", total, graph.floats(base)) if base.any() else total


def _walk_down(graph: Graph, stored: StoredTrees, grid: Ints, x: Tensor) -> Tensor:
    """Return the leaf nodes that the row reaches, ``(n_trees,) int32``."""
    walk = stored.walk
    row = _prepare_row(graph, stored, x)
    column, step = (graph.constant(smallest_integers(table)) for table in (walk.column, walk.step))
    test = graph.constant(stored.test)
    nodes = graph.ints(grid.reshape(-1))
    for _ in range(walk.depth):
        values = graph.gather(row, graph.as_ints(graph.gather(column, nodes)))
        tests = graph.gather(test, nodes)
        goes_right = graph.compare("GREATER", values, tests if row.dtype == tests.dtype else graph.as_ints(tests))
        nodes = graph.add_all([nodes, graph.as_ints(graph.gather(step, nodes)), graph.as_ints(goes_right)])
    return nodes


def _gather_leaves(graph: Graph, stored: StoredTrees, nodes: Tensor) -> Tensor:
    """Return one value or one row of values a tree, float32, or int32 where they are stored as integers."""
    reached = graph.gather(graph.constant(stored.test), nodes)
    if stored.leaves is not None:
        number = graph.as_ints(reached)
        if stored.first:
            number = graph.arithmetic("SUB", number, graph.ints([stored.first]))
        reached = graph.gather(graph.constant(stored.leaves), number)
    return reached if stored.scale is None else graph.as_ints(reached)


def _prepare_row(graph: Graph, stored: StoredTrees, x: Tensor) -> Tensor:
    """Return the prepared columns, ``(n_columns,)``: float32, or their ranks; the last one is not above any test."""
    columns, boundaries = stored.walk.columns, stored.boundaries
    parts = []
    if columns.left:
        chosen = graph.columns(x, list(columns.left))
        # NaN is above nothing, but has a rank.
        parts.append(chosen if boundaries is None else _without_missing(graph, chosen, -np.inf))
    if columns.right:
        parts.append(_without_missing(graph, graph.columns(x, list(columns.right)), np.inf))
    if columns.flags:
        parts.append(graph.cast(graph.is_missing(graph.columns(x, list(columns.flags))), np.float32))
    parts += [_answer_tests(graph, table, x) for table in columns.tables]
    if boundaries is None:
        row = graph.join([*parts, graph.floats(-np.inf)])
    else:
        stay = graph.ints([[_BELOW_RANKS]])
        row = graph.join([graph.bucketize(graph.join(parts), boundaries), stay]) if parts else stay
    return graph.reshape(row, (row.shape[1],))


def _without_missing(graph: Graph, x: Tensor, instead: float) -> Tensor:
    return graph.select(graph.is_missing(x), graph.floats(instead), x)


def _answer_tests(graph: Graph, table: CategoryTable, x: Tensor) -> Tensor:
    n_lines, n_tests = table.goes_right.shape
    value = graph.columns(x, [table.feature])
    interval = graph.bucketize(value, table.boundaries)
    line = graph.select(graph.is_missing(value), graph.ints([[n_lines - 1]]), interval)
    answers = graph.gather(graph.constant(table.goes_right), graph.reshape(line, (1,)))
    return graph.cast(graph.reshape(answers, (1, n_tests)), np.float32)


def _square_grid(walk: TreeWalk) -> Ints:
    """Return the roots as ``(n, rows, trees in a row)``, filled up with the node that is a leaf of zeros."""
    n_groups, n_trees = walk.roots.shape
    n_rows = 1 if n_trees <= _LONG_SUM else int(np.sqrt(n_trees))
    in_row = -(-n_trees // n_rows)
    padding = ((0, 0), (0, n_rows * in_row - n_trees))
    filled = np.pad(walk.roots, padding, constant_values=len(walk.leaf) - 1)
    return filled.reshape(n_groups, n_rows, in_row)


def _sum_over_trees(graph: Graph, reached: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Add leaves, one number or one row a tree of the grid, to the ensemble's ``(1, n_outputs)``."""
    values = graph.reshape(reached, (*grid, *reached.shape[1:]))
    for axis in (2, 1):
        values = graph.reduce("SUM", values, axis=axis) if values.shape[axis] > 1 else values
    return graph.reshape(values, (1, int(np.prod(values.shape))))
