"""Changes ONNX graphs in place: drops what nothing needs, renames values."""

from collections.abc import Iterable
from typing import Final

import onnx
from onnx import AttributeProto

_GRAPHS: Final = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def prune_graph(graph: onnx.GraphProto) -> None:
    """Drop nodes, constants and notes that no output of the graph needs."""
    wanted, kept = {output.name for output in graph.output}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(_names_read_by(node))
            kept.append(node)
    kept.reverse()
    tensors = [tensor for tensor in graph.initializer if tensor.name in wanted]
    for field, content in ((graph.node, kept), (graph.initializer, tensors), (graph.value_info, [])):
        _replace(field, content)


def rename_value(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a value wherever the graph's own nodes give or take it."""
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _names_read_by(node: onnx.NodeProto) -> Iterable[str]:
    """Yield the inputs of a node, and all that its subgraphs read, which may stand in the graph around them."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.type in _GRAPHS:
            for graph in (*attribute.graphs, attribute.g):
                for inner in graph.node:
                    yield from _names_read_by(inner)
                yield from (output.name for output in graph.output)


def _replace(field: object, content: list[object]) -> None:
    del field[:]  # type: ignore[attr-defined] # protobuf's repeated fields have no public type
    field.extend(content)  # type: ignore[attr-defined] # as above
