"""The variants ``tflite-fp32`` and ``tflite-int8``: dense networks, written by ourselves.

int8 in the form that keeps its accuracy on every runtime: impute and standardise in float32, QUANTIZE, int8 layers,
DEQUANTIZE, softmax in float32. Quantisation as in https://ai.google.dev/edge/litert/models/quantization_spec.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.dense import DenseNetwork, Layer, activate, dense_network_of
from exporter.material import Material
from exporter.model import Rows
from exporter.tflite_file import (
    DEQUANTIZE,
    DIV,
    NOT_EQUAL,
    QUANTIZE,
    SELECT,
    SUB,
    Quantisation,
    TfliteFile,
    activation,
    fully_connected,
    softmax,
)

_INT8: Final = (-128, 127)
# The specification fixes these: tanh ends in (-1, 1), the logistic function in (0, 1).
_FIXED: Final = {"tanh": Quantisation((1 / 128,), 0), "logistic": Quantisation((1 / 256,), -128)}


def convert_tflite_fp32(material: Material) -> bytes:
    """Return a dense network as TFLite, computing in float32.

    Raises:
        UnsupportedError: a step has no form as a dense network; named.
    """
    model = material.model
    network = dense_network_of(model, "tflite-fp32")
    file = TfliteFile("fieldloop tflite-fp32")
    first, current = _write_before(file, network, len(model.features))
    for index, layer in enumerate(network.layers):
        current = _write_float_layer(file, index, layer, current)
    return file.encode(first, _write_after(file, network, current))


def convert_tflite_int8(material: Material) -> bytes:
    """Return a dense network as TFLite with int8 layers.

    Args:
        material: of a dense network, see `exporter.dense`; the activations of its calibration rows set the ranges.

    Raises:
        UnsupportedError: a step has no form as a dense network; named.
    """
    model = material.model
    network = dense_network_of(model, "tflite-int8")
    entering, traced = network.trace(material.calibration)
    file = TfliteFile("fieldloop tflite-int8")
    first, current = _write_before(file, network, len(model.features))
    scale = quantisation_of(entering)
    current = file.apply(QUANTIZE, (current,), file.tensor("quantised", entering.shape[1], np.int8, scale))
    for index, (layer, linear) in enumerate(zip(network.layers, traced, strict=True)):
        current, scale = _write_int8_layer(file, index, layer, _Int8Input(current, scale), linear)
    current = file.apply(DEQUANTIZE, (current,), file.tensor("dequantised", model.n_outputs))
    return file.encode(first, _write_after(file, network, current))


def quantisation_of(values: Rows) -> Quantisation:
    """Return the int8 quantisation that covers all values, and zero exactly."""
    low, high = min(float(np.min(values)), 0.0), max(float(np.max(values)), 0.0)
    scale = float(np.float32((high - low) / (_INT8[1] - _INT8[0]) or 1.0))
    return Quantisation((scale,), int(np.clip(round(_INT8[0] - low / scale), *_INT8)))


def quantise_weights(weights: NDArray[np.float64]) -> tuple[NDArray[np.int8], Quantisation]:
    """Return ``(n_out, n_in)`` weights in int8, symmetric, with one scale for each output."""
    scales = np.max(np.abs(weights), axis=1) / _INT8[1]
    scales = np.where(scales > 0, scales, 1.0).astype(np.float32).astype(np.float64)
    stored = np.clip(np.round(weights / scales[:, np.newaxis]), -_INT8[1], _INT8[1]).astype(np.int8)
    return stored, Quantisation(tuple(scales.tolist()))


@dataclass(frozen=True, slots=True)
class _Int8Input:
    tensor: int
    scale: Quantisation


def _write_before(file: TfliteFile, network: DenseNetwork, n_features: int) -> tuple[int, int]:
    """Write the input, imputing and standardising; return the input and what enters the first layer."""
    first = current = file.tensor("rows", n_features)
    if network.fill is not None:
        # Only NaN differs from itself.
        is_missing = file.apply(NOT_EQUAL, (current, current), file.tensor("is_missing", n_features, np.bool_))
        fill = file.constant("fill", _row(network.fill))
        current = file.apply(SELECT, (is_missing, fill, current), file.tensor("filled", n_features))
    if network.means is not None and network.scales is not None:
        means, scales = file.constant("means", _row(network.means)), file.constant("scales", _row(network.scales))
        current = file.apply(SUB, (current, means), file.tensor("centred", n_features))
        current = file.apply(DIV, (current, scales), file.tensor("standardised", n_features))
    return first, current


def _write_after(file: TfliteFile, network: DenseNetwork, current: int) -> int:
    if not network.has_softmax:
        return current
    return file.apply(softmax(), (current,), file.tensor("outputs", network.layers[-1].weights.shape[1]))


def _write_float_layer(file: TfliteFile, index: int, layer: Layer, current: int) -> int:
    n_out = layer.weights.shape[1]
    weights = file.constant(f"weights_{index}", layer.weights.T.astype(np.float32))
    bias = file.constant(f"bias_{index}", layer.bias.astype(np.float32))
    operator = fully_connected(is_int8=False, has_relu=layer.activation == "relu")
    current = file.apply(operator, (current, weights, bias), file.tensor(f"layer_{index}", n_out))
    if layer.activation in _FIXED:
        curve = activation(layer.activation, is_int8=False)
        current = file.apply(curve, (current,), file.tensor(f"activated_{index}", n_out))
    return current


def _write_int8_layer(
    file: TfliteFile, index: int, layer: Layer, entering: _Int8Input, linear: Rows
) -> tuple[int, Quantisation]:
    """Write a layer; ``linear`` are its calibrated values before the activation. Return its output and scale."""
    n_out = layer.weights.shape[1]
    stored, weight_scales = quantise_weights(layer.weights.T)
    bias_scales = np.array(weight_scales.scales) * entering.scale.scales[0]
    limits = np.iinfo(np.int32)
    bias = np.clip(np.round(layer.bias / bias_scales), limits.min, limits.max).astype(np.int32)
    has_relu = layer.activation == "relu"
    leaving = quantisation_of(activate(linear, "relu") if has_relu else linear)
    tensors = (
        entering.tensor,
        file.constant(f"weights_{index}", stored, weight_scales),
        file.constant(f"bias_{index}", bias, Quantisation(tuple(bias_scales.tolist()))),
    )
    operator = fully_connected(is_int8=True, has_relu=has_relu)
    current = file.apply(operator, tensors, file.tensor(f"layer_{index}", n_out, np.int8, leaving))
    if layer.activation in _FIXED:
        leaving = _FIXED[layer.activation]
        curve = activation(layer.activation, is_int8=True)
        current = file.apply(curve, (current,), file.tensor(f"activated_{index}", n_out, np.int8, leaving))
    return current, leaving


def _row(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, dtype=np.float32).reshape(1, -1)
