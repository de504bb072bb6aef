"""Reads an ONNX graph from outside into a program, operator by operator; the first that has no form is named.

It reads the graph as `exporter.graphs.normalised` brings it into form: one input, one output, nothing dead.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from exporter.errors import ConversionError, UnsupportedError
from exporter.graphs.graph import OnnxEstimator
from exporter.graphs.nodes import INPUT, OUTPUT
from exporter.graphs.normalised import normalised
from exporter.reading import onnx_arithmetic, onnx_learners, onnx_shapes, onnx_trees
from exporter.reading.onnx_values import ROWS, GraphReading, Operator, Value, Vector
from exporter.reading.reading import Readers, Reading

_OPERATORS: Final[Mapping[str, Operator]] = {
    **onnx_shapes.OPERATORS,
    **onnx_arithmetic.OPERATORS,
    **onnx_learners.OPERATORS,
    **onnx_trees.OPERATORS,
}
# The label is their first output, and nothing that a program computes.
_SECOND: Final = frozenset({"LinearClassifier", "TreeEnsembleClassifier"})
# Of constants, these only move numbers, so that the number of rows may be among them.
_MOVES: Final = frozenset({"Identity", "Cast", "Gather", "Concat", "Slice", "Squeeze", "Unsqueeze", "Reshape"})
_MAX_FOLDED: Final = 1 << 22


def read_onnx_graph(reading: Reading, estimator: OnnxEstimator, place: int) -> int:
    """Add what a graph computes of the row at ``place``; return the place of its answer.

    Raises:
        UnsupportedError: an operator that no program expresses, named; or a graph that has no form devices run.
    """
    try:
        graph = normalised(estimator).graph
    except ConversionError as error:
        raise UnsupportedError("model", str(error)) from error
    under_way = GraphReading(reading.builder)
    under_way.values[INPUT] = Vector(place, (reading.builder.width(place),))
    for tensor in graph.initializer:
        under_way.values[tensor.name] = numpy_helper.to_array(tensor)
    for node in graph.node:
        under_way.node = node
        with reading.builder.step(node.name or node.op_type, node.op_type):
            _read_node(under_way)
    answer = under_way.values[OUTPUT]
    if not isinstance(answer, Vector):
        raise under_way.refuse("that answers a constant")
    return answer.place


def _read_node(reading: GraphReading) -> None:
    node = reading.node
    values = [reading.values.get(name) for name in node.input if name]
    constants = [value for value in values if isinstance(value, np.ndarray)]
    found: list[Value]
    if len(constants) == len(values):
        found = list(_fold(reading, constants))
    elif node.op_type == "Split":
        found = onnx_shapes.split(reading)
    else:
        operator = _OPERATORS.get(node.op_type)
        if operator is None:
            raise reading.refuse("is an operator that")
        found = [operator(reading)]
    names = node.output[1:] if node.op_type in _SECOND else node.output
    reading.values.update((name, value) for name, value in zip(names, found, strict=False) if name)


def _fold(reading: GraphReading, constants: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Compute a node whose inputs are all constants, as the shapes of reshapes are."""
    node = reading.node
    has_rows = any(constant.dtype == np.int64 and (constant == ROWS).any() for constant in constants)
    sizes = [int(np.prod(constant, dtype=object)) for constant in constants if constant.dtype == np.int64]
    if (has_rows and node.op_type not in _MOVES) or (
        node.op_type in {"Expand", "ConstantOfShape", "Tile"} and max(sizes, default=0) > _MAX_FOLDED
    ):
        raise reading.refuse("of the number of rows")
    names = list(dict.fromkeys(name for name in node.input if name))
    inputs = dict(zip([name for name in node.input if name], constants, strict=True))
    graph = helper.make_graph(
        [node],
        "constant",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(inputs[name].dtype), None)
            for name in names
        ],
        [onnx.ValueInfoProto(name=name) for name in node.output],
    )
    try:
        evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
        return [np.asarray(value) for value in evaluator.run(None, inputs)]
    except Exception as error:  # the evaluator raises whatever numpy does
        raise reading.refuse("of constants") from error


READERS: Final[Readers] = {OnnxEstimator: {"probabilities": read_onnx_graph, "value": read_onnx_graph}}
