"""Brings a run of layers to int8, and tells what the integers answer; it knows no file format.

A scale for each output of a layer costs 16 bytes in a file, as much as the weights of a small layer. So the layers are
tried with one scale each, too, after their sizes were evened out (cross-layer equalisation: Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", ICCV 2019), and stay so where real rows lose next to
nothing by it.

Quantisation as in https://ai.google.dev/edge/litert/models/quantization_spec.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.models.model import Rows
from exporter.programs.dense_runs import Bend, Layer
from exporter.programs.interpreter import CURVES
from exporter.programs.quantisation import (
    Int8s,
    Quantisation,
    dequantised,
    quantisation_of,
    quantise_weights,
    quantised,
)

Floats = NDArray[np.float64]

# The specification fixes these: tanh ends in (-1, 1), the logistic function in (0, 1).
FIXED: Final[Mapping[Bend, Quantisation]] = {
    "tanh": Quantisation((1 / 128,)),
    "logistic": Quantisation((1 / 256,), -128),
}
# One scale for a layer may add this much to the error that int8 has anyway.
_LEAST_GAIN: Final = 1.25
_BIAS: Final = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True)
class Int8Layer:
    """A layer in integers.

    Attributes:
        weights: ``(n_out, n_in) int8``.
        scales: of the weights: one, or one for each output.
        bias: ``(n_out,) int32``.
        bend: what follows the product.
        leaving: scale of the product, with ReLU within it.
    """

    weights: Int8s
    scales: Quantisation
    bias: NDArray[np.int32]
    bend: Bend
    leaving: Quantisation


@dataclass(frozen=True, slots=True)
class Int8Layers:
    """Layers one behind the other, and the scale of what enters the first."""

    entering: Quantisation
    layers: tuple[Int8Layer, ...]


def bring_to_int8(layers: tuple[Layer, ...], entering: Rows) -> Int8Layers:
    """Return the layers in integers, with as few scales as real rows allow.

    Args:
        layers: one behind the other.
        entering: ``(n, n_in) float32`` real rows, as they enter the first layer.
    """
    exact = _steps(layers, entering)[-1][1]
    many = _in_integers(layers, entering, has_one_scale=False)
    few = _in_integers(_evened(layers), entering, has_one_scale=True)
    errors = [float(np.sqrt(np.mean((int8_answers(of, entering) - exact) ** 2))) for of in (many, few)]
    return few if errors[1] <= _LEAST_GAIN * errors[0] else many


def int8_answers(network: Int8Layers, entering: Rows) -> Floats:
    """Return what layers in integers answer for rows ``(n, n_in)``, as ``(n, n_out)`` real numbers."""
    current = network.entering
    vectors = quantised(entering, current)
    for layer in network.layers:
        sums = (vectors - current.zero_point) @ layer.weights.T.astype(np.float64) + layer.bias
        real = sums * (current.scales[0] * np.array(layer.scales.scales))
        if layer.bend == "relu":
            real = np.maximum(real, 0)
        current = layer.leaving
        vectors = quantised(real, current)
        if layer.bend == "tanh" or layer.bend == "logistic":  # noqa: PLR1714 - mypy understands only this
            real = CURVES[layer.bend](dequantised(vectors, current))
            current = FIXED[layer.bend]
            vectors = quantised(real, current)
    return dequantised(vectors, current)


def _evened(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Return layers that answer the same, with each hidden number scaled so that both its layers treat it alike.

    ReLU and the identity let a factor through; tanh and the logistic function do not.
    """
    evened = list(layers)
    for place in range(len(layers) - 1):
        before, behind = evened[place], evened[place + 1]
        if before.bend in FIXED:
            continue
        into, out_of = np.abs(before.weights).max(axis=0), np.abs(behind.weights).max(axis=1)
        is_used = (into > 0) & (out_of > 0)
        factors = np.sqrt(np.divide(into, out_of, out=np.ones_like(into), where=is_used))
        evened[place] = replace(before, weights=before.weights / factors, bias=before.bias / factors)
        evened[place + 1] = replace(behind, weights=behind.weights * factors[:, np.newaxis])
    return tuple(evened)


def _steps(layers: tuple[Layer, ...], entering: Rows) -> list[tuple[Floats, Floats]]:
    """Return for each layer its product, with ReLU within it, and what leaves it."""
    steps: list[tuple[Floats, Floats]] = []
    current = entering.astype(np.float64)
    for layer in layers:
        product = current @ layer.weights + layer.bias
        current = product if layer.bend == "none" else CURVES[layer.bend](product)
        steps.append((product if layer.bend in FIXED else current, current))
    return steps


def _in_integers(layers: tuple[Layer, ...], entering: Rows, *, has_one_scale: bool) -> Int8Layers:
    """Return the layers in integers; the last one, whose numbers are the answer, always has a scale for each output."""
    first = current = quantisation_of(entering)
    converted: list[Int8Layer] = []
    for place, (layer, (product, _)) in enumerate(zip(layers, _steps(layers, entering), strict=True)):
        is_last = place == len(layers) - 1
        weights, scales = quantise_weights(layer.weights.T, has_one_scale=has_one_scale and not is_last)
        units = np.array(scales.scales) * current.scales[0]
        bias = np.clip(np.round(layer.bias / units), _BIAS.min, _BIAS.max).astype(np.int32)
        leaving = quantisation_of(product.astype(np.float32))
        converted.append(Int8Layer(weights, scales, bias, layer.bend, leaving))
        current = FIXED.get(layer.bend, leaving)
    return Int8Layers(first, tuple(converted))
