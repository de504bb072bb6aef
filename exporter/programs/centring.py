"""Takes the middle of a row from it before it is weighed, where a weighted sum would lose its digits in float32.

A pressure of 101325 ± 100 Pa has weighted sums of thousands of what they differ by. In float32 they are rounded by as
much more; the difference from a middle, a float32 number, is exact.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.models.model import Rows
from exporter.programs.interpreter import trace_program
from exporter.programs.program import Columns, Join, Linear, Node, Program, Row, Scale, moved, sources_of

Floats = NDArray[np.float64]

# So many times what a sum spreads over must its parts be large.
_LARGE: Final = 16.0
_ROWS: Final = 500


def centred(program: Program, rows: Rows) -> Program:
    """Return the program with the middle of the rows taken away before weighted sums of the row that need it.

    Args:
        program: is not changed.
        rows: ``(n, n_features) float32`` real rows, which tell how large the numbers are; a few, or none.
    """
    if len(rows) < 2:  # noqa: PLR2004 - one row spreads over nothing
        return program
    traced = trace_program(program, rows[np.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).astype(np.int64)])
    given: set[int] = set()
    nodes: list[Node] = []
    places: dict[int, int] = {}
    for place, node in enumerate(program.nodes):
        sources = sources_of(node.operation)
        if isinstance(node.operation, Row | Columns | Join) and given.issuperset(sources):
            given.add(place)
        operation = moved(node.operation, places)
        if isinstance(operation, Linear) and given.issuperset(sources):
            source = traced[sources[0]].astype(np.float64)
            middle = _middle_of(source, operation, traced[place])
            if middle is not None:
                nodes.append(
                    replace(node, operation=Scale(operation.of, middle, np.ones(len(middle))), width=len(middle))
                )
                bias = operation.bias + middle @ operation.weights
                operation = replace(operation, of=len(nodes) - 1, bias=bias)
        places[place] = len(nodes)
        nodes.append(replace(node, operation=operation))
    return Program(tuple(nodes), places[program.output])


def _middle_of(source: Floats, linear: Linear, sums: Rows) -> Floats | None:
    """Return float32 numbers to take away, or None where nothing is gained."""
    if not np.isfinite(source).all() or not np.isfinite(sums).all():
        return None
    middle: Floats = np.median(source, axis=0).astype(np.float32).astype(np.float64)
    parts = np.abs(middle) @ np.abs(linear.weights)
    spread = np.ptp(sums.astype(np.float64), axis=0)
    return middle if (parts > _LARGE * spread).any() and (spread > 0).any() else None
