"""Last steps of every ONNX variant: nothing in it that its answer does not need, what it means, checked, in bytes."""

import onnx
from google.protobuf.message import EncodeError
from onnx import helper

from exporter.errors import ConversionError
from exporter.graphs.nodes import IR_VERSION
from exporter.graphs.surgery import nodes_of, prune_graph, replace_all
from exporter.models.model import FittedModel
from exporter.models.steps import steps_of


def finish_model(proto: onnx.ModelProto, model: FittedModel, writer: str) -> bytes:
    """Drop what is dead, write what the model means into its metadata, check it, and return its bytes.

    Args:
        proto: is changed.
        model: what it was made from.
        writer: which route it took, for people who look into the file.

    Raises:
        ConversionError: ONNX's own checker refuses it.
    """
    prune_graph(proto.graph)
    used = {node.domain for node in nodes_of(proto.graph)}
    replace_all(proto.opset_import, [entry for entry in proto.opset_import if entry.domain in used])
    proto.ir_version = IR_VERSION
    proto.producer_name, proto.producer_version, proto.domain, proto.doc_string = "fieldloop", "", "", ""
    proto.graph.doc_string = ""
    del proto.metadata_props[:]
    helper.set_model_props(proto, _properties_of(model, writer))
    try:
        onnx.checker.check_model(proto, full_check=False)
        data: bytes = proto.SerializeToString(deterministic=True)
    except (onnx.checker.ValidationError, EncodeError, ValueError) as error:
        raise ConversionError(f"the ONNX model is not valid: {error}") from error
    return data


def _properties_of(model: FittedModel, writer: str) -> dict[str, str]:
    return {
        "model": " > ".join(type(step).__name__ for _, step in steps_of(model.estimator)),
        "task": model.task,
        "labels": "\n".join(model.labels),
        "features": "\n".join(feature.name for feature in model.features),
        "writer": writer,
    }
