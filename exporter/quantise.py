"""The variant ``onnx-int8``: a dense network whose products run in int8, calibrated on real rows.

Static quantisation in the QDQ form, one scale a column of weights. Imputing, standardising and softmax stay in float32:
with the scaler folded into the first layer, int8 lost 3 to 30 points of accuracy. Trees have nothing to quantise.
"""

import logging
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from exporter.dense import DenseNetwork, Layer, dense_network_of
from exporter.errors import ConversionError
from exporter.material import Material
from exporter.model import FittedModel, Rows
from exporter.onnx_target import INPUT, IR_VERSION, OUTPUT, finish_model

_OPSET: Final = 21
_ACTIVATIONS: Final = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid"}
_CALIBRATION_ROWS: Final = 2000
_BATCH: Final = 100


def convert_onnx_int8(material: Material) -> bytes:
    """Return the model as ONNX with int8 products.

    Args:
        material: of a dense network, see `exporter.dense`; the activations of its calibration rows set the ranges.

    Raises:
        UnsupportedError: a step has nothing to quantise, or no form as a dense network; named.
        ConversionError: ONNX Runtime's quantiser failed.
    """
    model = material.model
    network = dense_network_of(model, "onnx-int8")
    plain = _build(network, model)
    with tempfile.TemporaryDirectory() as folder, _quiet_root_logger():
        before, after = Path(folder, "plain.onnx"), Path(folder, "int8.onnx")
        before.write_bytes(plain.SerializeToString())
        try:
            quantize_static(
                str(before),
                str(after),
                _Calibration(material.calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Gemm"],
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
            )
        except Exception as error:  # the quantiser raises whatever its parts raise
            raise ConversionError(f"ONNX Runtime's quantiser failed: {type(error).__name__}: {error}") from error
        quantised = onnx.load(after)
    return finish_model(quantised, model)


class _Calibration(CalibrationDataReader):  # type: ignore[misc] # onnxruntime ships no types
    """Gives the quantiser calibration rows in batches: evenly spaced ones when there are too many."""

    def __init__(self, rows: Rows) -> None:
        places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _CALIBRATION_ROWS)).astype(np.int64))
        chosen = rows[places]
        self._batches = (chosen[start : start + _BATCH] for start in range(0, len(chosen), _BATCH))

    def get_next(self) -> dict[str, Rows] | None:
        """Return the next batch, or None when there is none."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


class _quiet_root_logger:  # noqa: N801 - reads as a word in a with statement
    """Keeps the quantiser's advice, which it gives on the root logger, from users who cannot follow it."""

    def __enter__(self) -> None:
        self._level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)

    def __exit__(self, *exc: object) -> None:
        logging.getLogger().setLevel(self._level)


def _build(network: DenseNetwork, model: FittedModel) -> onnx.ModelProto:
    """Write the network as float32 ONNX, one Gemm a layer."""
    graph = _Graph()
    current = INPUT
    if network.fill is not None:
        is_missing = graph.node("IsNaN", current)
        current = graph.node("Where", is_missing, graph.tensor("fill", network.fill), current)
    if network.means is not None and network.scales is not None:
        centred = graph.node("Sub", current, graph.tensor("means", network.means))
        current = graph.node("Div", centred, graph.tensor("scales", network.scales))
    for index, layer in enumerate(network.layers):
        current = graph.layer(current, index, layer)
    graph.nodes.append(helper.make_node("Softmax" if network.has_softmax else "Identity", [current], [OUTPUT]))
    inputs = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", len(model.features)])]
    outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", model.n_outputs])]
    proto = helper.make_graph(graph.nodes, "model", inputs, outputs, graph.tensors)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=IR_VERSION)


class _Graph:
    """Nodes and tensors under way, named in the order in which they come."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def node(self, kind: str, *inputs: str) -> str:
        """Add a node; return the name of its output."""
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output))
        return output

    def tensor(self, name: str, values: NDArray[np.float64]) -> str:
        """Add a constant; return its name."""
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), name))
        return name

    def layer(self, current: str, index: int, layer: Layer) -> str:
        """Add a layer; return the name of its output."""
        weights, bias = self.tensor(f"weights_{index}", layer.weights), self.tensor(f"bias_{index}", layer.bias)
        linear = self.node("Gemm", current, weights, bias)
        kind = _ACTIVATIONS.get(layer.activation)
        return linear if kind is None else self.node(kind, linear)
