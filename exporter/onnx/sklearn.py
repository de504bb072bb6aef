"""Converts with sklearn-onnx what no reader turns into a program: neighbours, naive Bayes, Gaussian processes.

Cures what was measured to go wrong: scalers divide instead of multiplying by a rounded inverse, no dictionaries of
probabilities, no label output, a fixed graph name (the default is random), a row count that is left open. What it
converts wrongly without a word is caught by the parity gate.
"""

import warnings
from typing import Any, Final

import numpy as np
import onnx
import skl2onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.preprocessing import MaxAbsScaler, RobustScaler, StandardScaler

from exporter.errors import ConversionError, UnsupportedError
from exporter.graphs.nodes import INPUT, OUTPUT
from exporter.graphs.surgery import number_names
from exporter.models.model import FittedModel
from exporter.models.steps import TargetScale, parts_of, steps_of, unwrap_target

# Newer ones of ai.onnx.ml have operators that sklearn-onnx does not write.
_OPSETS: Final = {"": 21, "ai.onnx.ml": 3}
_DIVIDING: Final = (StandardScaler, RobustScaler, MaxAbsScaler)
WRITER: Final = f"skl2onnx {skl2onnx.__version__}"


def convert_with_sklearn_onnx(model: FittedModel) -> onnx.ModelProto:
    """Return what sklearn-onnx makes of a model, with one input and one output, without metadata.

    Raises:
        UnsupportedError: a step has no form in ONNX, named.
        ConversionError: sklearn-onnx failed otherwise.
    """
    unwrapped = unwrap_target(model.estimator)
    estimator = unwrapped.estimator
    inputs = [(INPUT, FloatTensorType([None, len(model.features)]))]
    options: dict[int, dict[str, Any]] = {id(p): {"div": "div"} for p in parts_of(estimator) if type(p) in _DIVIDING}
    if model.task == "classification":
        options[id(estimator)] = {"zipmap": False}
    try:
        with warnings.catch_warnings():
            # It warns of its own deprecated internals, which is of no use to anybody who exports a model.
            warnings.simplefilter("ignore")
            proto: onnx.ModelProto = convert_sklearn(estimator, "model", inputs, target_opset=_OPSETS, options=options)
    except Exception as error:  # sklearn-onnx raises whatever its converters raise
        raise _explain(model, error) from error
    return _with_one_output(proto, model, unwrapped.target)


def _with_one_output(proto: onnx.ModelProto, model: FittedModel, target: TargetScale | None) -> onnx.ModelProto:
    """Leave the probabilities or the value as the only output."""
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
    # Names of some of its converters hold the address of an object.
    number_names(graph)
    return proto


def _explain(model: FittedModel, error: Exception) -> UnsupportedError | ConversionError:
    """Name the step that sklearn-onnx could not convert, if its message or the step's type tells."""
    text = str(error)
    for name, step in steps_of(model.estimator):
        if type(step).__name__ in text:
            first = " ".join(text.split())[:200]
            message = f"step `{name}`: {type(step).__name__} is not supported for onnx-fp32 ({first})"
            return UnsupportedError(name, message)
    return ConversionError(f"sklearn-onnx failed: {type(error).__name__}: {' '.join(text.split())[:300]}")
