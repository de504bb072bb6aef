"""Writes kernels as TFLite operators: in float32, or with vectors stored in int8 and used in float32."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.programs.program import Kernel
from exporter.programs.quantisation import Quantisation, quantise_columns, quantise_weights
from exporter.tflite.file import Tensor
from exporter.tflite.operators import Graph

Floats = NDArray[np.float64]

_AS_THEY_ARE: Final = Quantisation((1.0,))


def write_kernel(graph: Graph, kernel: Kernel, x: Tensor) -> Tensor:
    """Return the kernel between ``x (1, w)`` and each vector, ``(1, m)``."""
    vectors, width = kernel.vectors, (1, len(kernel.vectors))
    if kernel.kind != "rbf":
        return _bend(graph, kernel, graph.linear(x, _factor_of(kernel) * vectors.T, np.zeros(len(vectors))))
    # Differences first: |x|² - 2 x·v + |v|² cancels in float32. Before them goes what vectors have in common, where it
    # is most of them: the rest has digits that float32 would round away.
    centre = vectors.mean(axis=0).astype(np.float32)
    if np.any(np.abs(centre) > np.max(np.abs(vectors - centre), axis=0)):
        x, vectors = graph.arithmetic("SUB", x, graph.floats(centre)), vectors - centre
    squares = graph.arithmetic("SQUARED_DIFFERENCE", x, graph.floats(vectors))
    sums = graph.reshape(graph.reduce("SUM", squares, axis=1), width)
    return graph.function("EXP", graph.arithmetic("MUL", sums, graph.floats(-kernel.gamma)))


def write_stored_kernel(graph: Graph, kernel: Kernel, x: Tensor) -> Tensor:
    """Return the same with vectors in int8, and a scale for each column that the row is brought to instead."""
    if kernel.kind != "rbf":
        table, scales = quantise_weights(kernel.vectors.T)
        x = graph.arithmetic("MUL", x, graph.floats(_factor_of(kernel) * np.array(scales.scales)))
        parts = (x, graph.dequantise(graph.constant(table.T, _AS_THEY_ARE)))
        return _bend(graph, kernel, graph.fully_connected(parts, graph.tensor((1, table.shape[1])), relu=False))
    stored, zeros, steps = quantise_columns(kernel.vectors)
    x = graph.arithmetic("MUL", graph.arithmetic("SUB", x, graph.floats(zeros)), graph.floats(1 / steps))
    squares = graph.arithmetic("SQUARED_DIFFERENCE", x, graph.dequantise(graph.constant(stored, _AS_THEY_ARE)))
    sums = graph.linear(squares, -kernel.gamma * np.square(steps)[:, np.newaxis], np.zeros(1))
    return graph.function("EXP", graph.reshape(sums, (1, len(stored))))


def write_stored_linear(graph: Graph, weights: Floats, bias: Floats, x: Tensor) -> Tensor:
    """Return ``x @ weights + bias`` with weights stored in int8, and dequantised when the file is loaded."""
    table = graph.dequantise(graph.constant(*quantise_weights(weights.T)))
    parts = (x, table) if not bias.any() else (x, table, graph.constant(bias.astype(np.float32)))
    return graph.fully_connected(parts, graph.tensor((1, len(bias))), relu=False)


def _factor_of(kernel: Kernel) -> float:
    return 1.0 if kernel.kind == "linear" else kernel.gamma


def _bend(graph: Graph, kernel: Kernel, inner: Tensor) -> Tensor:
    """Make the kernel of the products, which `_factor_of` has gone into already."""
    if kernel.kind == "linear":
        return inner
    if kernel.coef0:
        inner = graph.arithmetic("ADD", inner, graph.floats(kernel.coef0))
    return graph.function("TANH", inner) if kernel.kind == "sigmoid" else _power(graph, inner, kernel.degree)


def _power(graph: Graph, x: Tensor, degree: int) -> Tensor:
    """Multiply by squaring: TFLite's POW leaves it to the C library what a negative number gives."""
    if degree == 0:
        return graph.floats(np.ones(x.shape))
    factors = []
    for bit in range(degree.bit_length()):
        if bit:
            x = graph.function("SQUARE", x)
        if degree >> bit & 1:
            factors.append(x)
    power = factors[0]
    for factor in factors[1:]:
        power = graph.arithmetic("MUL", power, factor)
    return power
