"""The variant ``onnx-fp32``: any pipeline that sklearn-onnx can express, as one input and one output of float32.

Cures what was measured to go wrong: scalers divide instead of multiplying by a rounded inverse (a forest behind them
otherwise sees other rows), no dictionaries of probabilities, no label output, a fixed graph name (the default is
random), a row count that is left open. What it converts wrongly without a word is caught by the parity gate.
"""

import warnings
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.preprocessing import MaxAbsScaler, RobustScaler, StandardScaler

from exporter.errors import ConversionError, UnsupportedError
from exporter.material import Material
from exporter.model import FittedModel
from exporter.steps import TargetScale, parts_of, steps_of, unwrap_target
from exporter.trees import send_missing_as_trained, with_float32_thresholds

INPUT: Final = "rows"
OUTPUT: Final = "outputs"
# ONNX Runtime 1.20 and later run these.
OPSETS: Final = {"": 21, "ai.onnx.ml": 3}
IR_VERSION: Final = 10
_DIVIDING: Final = (StandardScaler, RobustScaler, MaxAbsScaler)


def convert_onnx_fp32(material: Material) -> bytes:
    """Return the model as ONNX, computing in float32.

    Raises:
        UnsupportedError: a step has no form in ONNX, named.
        ConversionError: sklearn-onnx failed otherwise.
    """
    model = material.model
    unwrapped = unwrap_target(model.estimator)
    estimator = with_float32_thresholds(unwrapped.estimator)
    inputs = [(INPUT, FloatTensorType([None, len(model.features)]))]
    options: dict[int, dict[str, Any]] = {id(p): {"div": "div"} for p in parts_of(estimator) if type(p) in _DIVIDING}
    if model.task == "classification":
        options[id(estimator)] = {"zipmap": False}
    try:
        with warnings.catch_warnings():
            # It warns of its own deprecated internals, which is of no use to anybody who exports a model.
            warnings.simplefilter("ignore")
            proto: onnx.ModelProto = convert_sklearn(estimator, "model", inputs, target_opset=OPSETS, options=options)
    except Exception as error:  # sklearn-onnx raises whatever its converters raise
        raise _explain(model, error) from error
    send_missing_as_trained(proto, estimator)
    return finish_model(_with_one_output(proto, model, unwrapped.target), model)


def finish_model(proto: onnx.ModelProto, model: FittedModel) -> bytes:
    """Write what the model means into its metadata, check it, and return its bytes.

    Raises:
        ConversionError: ONNX's own checker refuses it.
    """
    proto.ir_version = IR_VERSION
    proto.producer_name, proto.producer_version, proto.domain, proto.doc_string = "fieldloop", "", "", ""
    proto.graph.doc_string = ""
    del proto.metadata_props[:]
    helper.set_model_props(proto, _properties_of(model))
    try:
        onnx.checker.check_model(proto, full_check=False)
    except onnx.checker.ValidationError as error:
        raise ConversionError(f"the ONNX model is not valid: {error}") from error
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _properties_of(model: FittedModel) -> dict[str, str]:
    return {
        "model": " > ".join(type(step).__name__ for _, step in steps_of(model.estimator)),
        "task": model.task,
        "labels": "\n".join(model.labels),
        "features": "\n".join(feature.name for feature in model.features),
    }


def _with_one_output(proto: onnx.ModelProto, model: FittedModel, target: TargetScale | None) -> onnx.ModelProto:
    """Leave the probabilities or the value as the only output, and drop what served the label alone."""
    graph = proto.graph
    answer = graph.output[-1]
    if answer.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise ConversionError(f"sklearn-onnx answers {answer.name} in another type than float32")
    if target is None:
        graph.node.append(helper.make_node("Identity", [answer.name], [OUTPUT]))
    else:
        numbers = {"target_scale": target.scale, "target_mean": target.mean}
        graph.initializer.extend(
            numpy_helper.from_array(np.array(v, dtype=np.float32), name=k) for k, v in numbers.items()
        )
        graph.node.append(helper.make_node("Mul", [answer.name, "target_scale"], ["target_scaled"]))
        graph.node.append(helper.make_node("Add", ["target_scaled", "target_mean"], [OUTPUT]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", model.n_outputs]))
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", len(model.features)]))
    _prune(graph)
    return proto


def _prune(graph: onnx.GraphProto) -> None:
    wanted, kept = {OUTPUT}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    tensors = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    del graph.value_info[:]


def _explain(model: FittedModel, error: Exception) -> UnsupportedError | ConversionError:
    """Name the step that sklearn-onnx could not convert, if its message or the step's type tells."""
    text = str(error)
    for name, step in steps_of(model.estimator):
        if type(step).__name__ in text:
            first = " ".join(text.split())[:200]
            message = f"step `{name}`: {type(step).__name__} is not supported for onnx-fp32 ({first})"
            return UnsupportedError(name, message)
    return ConversionError(f"sklearn-onnx failed: {type(error).__name__}: {' '.join(text.split())[:300]}")
