"""Writes a program as an ONNX model: one input ``rows``, one output ``outputs``, both float32.

What decides something (trees, bins, categories, votes) is fed by numbers computed in float64, as in scikit-learn: the
last bit of a float32 sum would otherwise send a row another way.
"""

from typing import Final

import onnx
from onnx import TensorProto, helper

from exporter.graphs.nodes import INPUT, IR_VERSION, OPSETS, OUTPUT, Arithmetic, OnnxNodes
from exporter.graphs.surgery import rename_value
from exporter.onnx.operations import WRITERS
from exporter.programs.program import (
    ArgMax,
    Bins,
    Flags,
    Lookup,
    Node,
    OneHot,
    OvrOfOvo,
    Program,
    Row,
    Trees,
    sources_of,
)

_DECIDING: Final = (ArgMax, Bins, Flags, Lookup, OneHot, OvrOfOvo, Trees)


def write_program(program: Program) -> onnx.ModelProto:
    """Return the program as an ONNX model, without metadata."""
    nodes = OnnxNodes()
    return graph_of(program, nodes, write_places(program, nodes)[program.output])


def write_places(program: Program, nodes: OnnxNodes) -> list[str]:
    """Add every operation; return the names of the program's vectors."""
    deciding = deciding_places(program)
    names: list[str] = []
    for place, node in enumerate(program.nodes):
        names.append(write_node(nodes, node, names, is_wide=place in deciding))
    return names


def write_node(nodes: OnnxNodes, node: Node, names: list[str], *, is_wide: bool) -> str:
    """Add one operation, given the names of the vectors before it; return the name of its own."""
    operation = node.operation
    if isinstance(operation, Row):
        return INPUT
    sources = [names[place] for place in sources_of(operation)]
    return WRITERS[type(operation)](Arithmetic(nodes, node.width, is_wide=is_wide), operation, *sources)


def deciding_places(program: Program) -> frozenset[int]:
    """Return the places of the vectors by which something behind them is decided."""
    found: set[int] = set()
    for place in range(len(program.nodes) - 1, 0, -1):
        operation = program.nodes[place].operation
        if isinstance(operation, _DECIDING) or place in found:
            found.update(sources_of(operation))
    return frozenset(found)


def graph_of(program: Program, nodes: OnnxNodes, answer: str) -> onnx.ModelProto:
    """Return the model of nodes that answer the vector named ``answer``."""
    if answer == INPUT:
        answer = nodes.node("Identity", INPUT)
    graph = helper.make_graph(
        nodes.nodes,
        "model",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", program.n_features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", program.n_outputs])],
        nodes.tensors,
    )
    rename_value(graph, answer, OUTPUT)
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
