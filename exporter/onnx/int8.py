"""The variant ``onnx-int8``: the products of a network run in int8, calibrated on real rows; all else stays float32.

Weights have one scale a column; what enters a product is quantised by the range it has on the calibration rows, after
its activation. The form is QDQ: each product stands between nodes that dequantise its operands, and runtimes fuse them.
Standardising, tanh, softmax and the like stay in float32: with the scaler folded into the first layer, int8 lost 3 to
30 points of accuracy. Where columns differ much in size, standardising brings them to one size as well, and the weights
take it back. Trees and kernels have nothing to quantise in ONNX.
"""

from dataclasses import replace
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort

from exporter.errors import UnsupportedError
from exporter.graphs.graph import OnnxEstimator
from exporter.graphs.nodes import Floats, OnnxNodes
from exporter.graphs.normalised import normalised
from exporter.material import Material
from exporter.models.model import Rows
from exporter.onnx.finish import finish_model
from exporter.onnx.program import deciding_places, graph_of, write_node
from exporter.onnx.quantiser import quantise_graph
from exporter.programs.interpreter import trace_program
from exporter.programs.program import Affine, Curve, Kernel, Linear, Node, Program, Scale, Trees
from exporter.programs.quantisation import Quantisation, quantisation_of, sizes_of

WRITER: Final = "fieldloop"
_CALIBRATION_ROWS: Final = 2000
_GREATEST: Final = 127
# A bias is int32 in steps of (input's scale × column's scale): this many must hold it, with room for the sum.
_BIAS_STEPS: Final = float(1 << 30)
_LEAST_SCALE: Final = float(np.finfo(np.float32).tiny)


def convert_onnx_int8(material: Material) -> bytes:
    """Return the model as ONNX with int8 products.

    Raises:
        UnsupportedError: a step has nothing to quantise; named.
        ConversionError: ONNX Runtime's quantiser failed.
    """
    model = material.model
    try:
        program = material.program
    except UnsupportedError:
        if not isinstance(model.estimator, OnnxEstimator):
            raise
        quantised = quantise_graph(normalised(model.estimator), material.calibration)
        return finish_model(quantised, model, f"onnxruntime {ort.__version__}")
    return finish_model(_write_int8(program, material.calibration), model, WRITER)


def _write_int8(program: Program, calibration: Rows) -> onnx.ModelProto:
    products = _products_of(program)
    places = np.unique(np.linspace(0, len(calibration) - 1, _CALIBRATION_ROWS).astype(np.int64))
    traced = trace_program(program, calibration[places])
    nodes, names = OnnxNodes(), list[str]()
    deciding = deciding_places(program)
    for place, node in enumerate(program.nodes):
        if place not in products:
            names.append(write_node(nodes, node, names, is_wide=place in deciding))
            continue
        linear, entering = products[place], traced[products[place].of]
        # What leaves a curve has one size already.
        source = program.nodes[linear.of]
        sizes = np.ones(source.width) if isinstance(source.operation, Curve) else sizes_of(entering)
        x = (
            names[linear.of]
            if (sizes == 1).all()
            else write_node(nodes, _resized(source, linear.of, sizes), names, is_wide=False)
        )
        even = replace(linear, weights=linear.weights * sizes[:, np.newaxis])
        names.append(_write_product(nodes, even, x, quantisation_of((entering / sizes).astype(np.float32))))
    return graph_of(program, nodes, names[program.output])


def _resized(source: Node, place: int, sizes: Floats) -> Node:
    """Return the node that gives the vector at ``place`` divided by sizes, as one step where that is possible."""
    match source.operation:
        case Scale(of, means, scales):
            return replace(source, operation=Scale(of, means, _as_float32(scales * sizes)))
        case Affine(of, factors, offsets):
            return replace(source, operation=Affine(of, _as_float32(factors / sizes), _as_float32(offsets / sizes)))
        case _:
            return replace(source, operation=Scale(place, np.zeros(source.width), _as_float32(sizes)))


def _as_float32(values: Floats) -> Floats:
    # Numbers that float32 has need no arithmetic in float64.
    return values.astype(np.float32).astype(np.float64)


def _products_of(program: Program) -> dict[int, Linear]:
    """Return the operations that run in int8, by place.

    Raises:
        UnsupportedError: there are none, or most of the model is something else.
    """
    for node in program.nodes:
        if isinstance(node.operation, Trees | Kernel):
            what = "a tree ensemble" if isinstance(node.operation, Trees) else "a kernel over stored vectors"
            instead = "native and tflite-int8 quantise it" if isinstance(node.operation, Trees) else "onnx-fp32 has it"
            raise _refuse(node, f"{what} has nothing to quantise in ONNX; {instead}")
    deciding = deciding_places(program)
    products = {
        place: node.operation
        for place, node in enumerate(program.nodes)
        if isinstance(node.operation, Linear) and place not in deciding
    }
    if not products:
        raise _refuse(program.nodes[program.output], "it has no product of a network to quantise; onnx-fp32 is")
    return products


def _refuse(node: Node, why: str) -> UnsupportedError:
    return UnsupportedError(node.step, f"step `{node.step}`: {node.kind} is not supported for onnx-int8: {why}")


def column_scales(weights: Floats, bias: Floats, input_scale: float) -> Floats:
    """Return the scale of each column of weights ``(n_in, n_out)``: its greatest is 127 steps, and its bias fits."""
    by_weight = np.abs(weights).max(axis=0) / _GREATEST
    by_bias = np.abs(bias) / (input_scale * _BIAS_STEPS)
    scales: Floats = np.maximum(np.maximum(by_weight, by_bias), _LEAST_SCALE).astype(np.float32).astype(np.float64)
    return scales


def _write_product(nodes: OnnxNodes, linear: Linear, x: str, quantisation: Quantisation) -> str:
    (entering,) = quantisation.scales
    scale, zero = nodes.constant(entering), nodes.constant(quantisation.zero_point, np.int8)
    taken = nodes.node("DequantizeLinear", nodes.node("QuantizeLinear", x, scale, zero), scale, zero)
    scales = column_scales(linear.weights, linear.bias, entering)
    weights = nodes.constant(np.clip(np.round(linear.weights / scales), -_GREATEST, _GREATEST), np.int8)
    # ONNX Runtime up to 1.24 cannot fuse weights that leave their zeros out.
    zeros, column = nodes.constant(np.zeros(scales.shape), np.int8), nodes.constant(scales)
    bias = nodes.constant(np.round(linear.bias / (scales * entering)), np.int32)
    return nodes.node(
        "Gemm",
        taken,
        nodes.node("DequantizeLinear", weights, column, zeros, axis=1),
        # Runtimes multiply the scales once, when they load the file: that is smaller than to store the products.
        nodes.node("DequantizeLinear", bias, nodes.node("Mul", column, scale), axis=0),
    )
