"""Walks through ONNX graphs and changes them in place: drops what nothing needs, renames values."""

from collections.abc import Iterable, Iterator
from typing import Any

import onnx
from onnx import AttributeProto


def graphs_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the subgraphs of a node."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield every node of a graph and of the graphs inside it."""
    for node in graph.node:
        yield node
        for inner in graphs_of(node):
            yield from nodes_of(inner)


def tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield every constant of a graph and of the graphs inside it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
        for inner in graphs_of(node):
            yield from tensors_of(inner)


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
        replace_all(field, content)


def rename_value(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a value wherever the nodes of a graph and of the graphs inside it give or take it."""
    for node in nodes_of(graph):
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def number_names(graph: onnx.GraphProto) -> None:
    """Name every value by its place, and nodes not at all, so that the same operators give the same bytes.

    Inputs and outputs of the graph itself keep their names.
    """
    kept = {value.name: value.name for value in (*graph.input, *graph.output)}
    _number(graph, kept, [0], is_outermost=True)


def _number(graph: onnx.GraphProto, known: dict[str, str], count: list[int], *, is_outermost: bool) -> None:
    names = dict(known)

    def named(name: str) -> str:
        if name and name not in names:
            names[name] = f"v{count[0]}"
            count[0] += 1
        return names.get(name, "")

    if not is_outermost:
        for value in graph.input:
            value.name = named(value.name)
    for tensor in graph.initializer:
        tensor.name = named(tensor.name)
    for node in graph.node:
        node.name = ""
        replace_all(node.input, [named(name) for name in node.input])
        for inner in graphs_of(node):
            inner.name = "inner"
            _number(inner, names, count, is_outermost=False)
        replace_all(node.output, [named(name) for name in node.output])
    for value in graph.output:
        value.name = named(value.name)
    del graph.value_info[:]


def replace_all(field: Any, content: Iterable[Any]) -> None:  # noqa: ANN401 - protobuf's repeated fields have no public type
    """Replace what a repeated field holds."""
    held = list(content)
    del field[:]
    field.extend(held)


def _names_read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the inputs of a node, and all that its subgraphs read, which may stand in the graph around them."""
    yield from node.input
    for graph in graphs_of(node):
        for inner in graph.node:
            yield from _names_read_by(inner)
        yield from (output.name for output in graph.output)
