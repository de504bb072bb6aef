"""Brings a graph from outside into the form of every ONNX variant: one input ``rows``, one output ``outputs``.

Its own operators stay as they are; a copy is changed, never the original. In front of it rows are cut, reshaped and
cast as it wants them; behind it scores become probabilities.
"""

from typing import Final

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, compose, helper, numpy_helper, version_converter

from exporter.errors import ConversionError
from exporter.graphs.contract import Contract, Intake
from exporter.graphs.file import opset_of
from exporter.graphs.graph import OnnxEstimator
from exporter.graphs.nodes import INPUT, IR_VERSION, OPSETS, OUTPUT, OnnxNodes
from exporter.graphs.surgery import nodes_of, prune_graph, rename_value, replace_all

# From 13 on, softmax and reductions are what our own nodes expect.
_OLDEST_OPSET: Final = 13
_NEWEST_OPSET: Final = OPSETS[""]
_NEWEST_ML_OPSET: Final = OPSETS["ai.onnx.ml"]
# Names that no exporter writes.
_OWN: Final = "fieldloop_"
_TRIED_ROWS: Final = 3
_ERROR: Final = 1e-4


def normalised(estimator: OnnxEstimator) -> onnx.ModelProto:
    """Return a copy of a graph that takes ``rows (n, n_features)`` and answers ``outputs (n, n_outputs)``, in float32.

    Raises:
        ConversionError: its operators are newer than devices run and have no older form, or it takes one row at a time
            and does not answer several as it answers one.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(estimator.proto)
    proto = _with_known_opset(proto)
    contract, answer = estimator.contract, estimator.contract.answer
    if {INPUT, OUTPUT} & _names_of(proto.graph):
        proto.graph.CopyFrom(compose.add_prefix_graph(proto.graph, f"{_OWN}in_"))
        answer = f"{_OWN}in_{answer}"
        names = [f"{_OWN}in_{intake.name}" for intake in contract.intakes]
    else:
        names = [intake.name for intake in contract.intakes]
    graph = proto.graph
    before, behind = OnnxNodes(f"{_OWN}a"), OnnxNodes(f"{_OWN}b")
    for intake, name in zip(contract.intakes, names, strict=True):
        rename_value(graph, name, _feed(before, intake, contract))
    rename_value(graph, answer, f"{_OWN}answer")
    last = _read(behind, f"{_OWN}answer", contract, is_float32=estimator.answers_float32)
    behind.nodes.append(helper.make_node("Identity", [last], [OUTPUT]))
    kept = [tensor for tensor in graph.initializer if tensor.name not in names]
    replace_all(graph.node, [*before.nodes, *graph.node, *behind.nodes])
    replace_all(graph.initializer, [*kept, *before.tensors, *behind.tensors])
    replace_all(graph.input, [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", contract.n_features])])
    replace_all(graph.output, [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", contract.n_outputs])])
    graph.name = "model"
    is_for_one_row = any(intake.has_one_row for intake in contract.intakes)
    if is_for_one_row:
        _free_rows(graph)
    prune_graph(graph)
    if is_for_one_row:
        _verify_rows(proto, estimator)
    return proto


def writer_of(estimator: OnnxEstimator) -> str:
    """Return what wrote the graph, as far as it says."""
    return f"{estimator.proto.producer_name} {estimator.proto.producer_version}".strip() or "unknown"


def _with_known_opset(proto: onnx.ModelProto) -> onnx.ModelProto:
    for node in nodes_of(proto.graph):
        node.domain = "" if node.domain == "ai.onnx" else node.domain
    uses_own = any(node.domain == "" for node in nodes_of(proto.graph))
    found, ml = opset_of(proto) if uses_own else _NEWEST_OPSET, _ml_opset_of(proto)
    versions = {"": found, "ai.onnx.ml": ml} if ml else {"": found}
    replace_all(proto.opset_import, [helper.make_opsetid(domain, version) for domain, version in versions.items()])
    proto.ir_version = IR_VERSION
    if ml > _NEWEST_ML_OPSET:
        raise ConversionError(f"it uses version {ml} of ai.onnx.ml, devices run {_NEWEST_ML_OPSET}; export it for that")
    if _OLDEST_OPSET <= found <= _NEWEST_OPSET:
        return proto
    try:
        return version_converter.convert_version(proto, _NEWEST_OPSET)
    except Exception as error:  # the converter raises whatever its parts raise
        raise ConversionError(
            f"it uses operators of version {found}, devices run {_OLDEST_OPSET} to {_NEWEST_OPSET}; export it for one "
            f"of these ({' '.join(str(error).split())[:200]})"
        ) from error


def _ml_opset_of(proto: onnx.ModelProto) -> int:
    return max((entry.version for entry in proto.opset_import if entry.domain == "ai.onnx.ml"), default=0)


def _names_of(graph: onnx.GraphProto) -> set[str]:
    names = {name for node in nodes_of(graph) for name in (*node.input, *node.output)}
    return names | {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}


def _feed(nodes: OnnxNodes, intake: Intake, contract: Contract) -> str:
    """Add what makes an input of the rows; return its name."""
    current = INPUT
    if len(contract.intakes) > 1:
        places = np.arange(intake.start, intake.start + intake.width)
        current = nodes.node("Gather", current, nodes.constant(places, np.int64), axis=1)
    if intake.shape != (intake.width,):
        current = nodes.node("Reshape", current, nodes.constant([-1, *intake.shape], np.int64))
    if intake.elem_type != TensorProto.FLOAT:
        current = nodes.node("Cast", current, to=intake.elem_type)
    return nodes.node("Identity", INPUT) if current == INPUT else current


def _read(nodes: OnnxNodes, answer: str, contract: Contract, *, is_float32: bool) -> str:
    """Add what makes outputs of an answer; return their name."""
    current = answer if is_float32 else nodes.narrow(answer)
    n_numbers = 1 if contract.meaning in {"value", "logit", "probability"} else contract.n_outputs
    current = nodes.node("Reshape", current, nodes.constant([-1, n_numbers], np.int64))
    if contract.meaning == "logits":
        return nodes.node("Softmax", current, axis=1)
    if contract.meaning == "logarithms":
        return nodes.node("Exp", current)
    if contract.meaning == "logit":
        current = nodes.node("Sigmoid", current)
    if contract.meaning in {"logit", "probability"}:
        return nodes.node("Concat", nodes.node("Sub", nodes.constant([1.0]), current), current, axis=1)
    return current


def _free_rows(graph: onnx.GraphProto) -> None:
    """Let reshapes that were written for one row keep the rows there are: 0 stands for the size of the input's axis."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        tensor = stored.get(node.input[1]) if node.op_type == "Reshape" else None
        if tensor is None or any(a.name == "allowzero" and a.i for a in node.attribute):
            continue
        shape = numpy_helper.to_array(tensor).reshape(-1).tolist()
        if len(shape) > 1 and shape[0] == 1 and not tensor.name.startswith(_OWN):
            name = f"{_OWN}c{len(graph.initializer)}"
            graph.initializer.append(numpy_helper.from_array(np.array([0, *shape[1:]], np.int64), name))
            node.input[1] = name


def _verify_rows(proto: onnx.ModelProto, estimator: OnnxEstimator) -> None:
    rows = np.sin(np.arange(_TRIED_ROWS * estimator.n_features_in_, dtype=np.float64)).reshape(_TRIED_ROWS, -1)
    try:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        got = np.asarray(session.run(None, {INPUT: rows.astype(np.float32)})[0], dtype=np.float64)
    except Exception as error:  # onnxruntime's own errors share no narrower base
        raise ConversionError(
            f"it is written for one row at a time; export it with the first axis open ({error})"
        ) from error
    expected = estimator.answers(rows.astype(np.float32))
    if got.shape != expected.shape or not np.allclose(got, expected, rtol=_ERROR, atol=_ERROR):
        raise ConversionError("it is written for one row at a time; export it with the first axis open")
