"""Writes the weighty parts of a program in int8; all else of it stays float32 (`exporter.tflite.operations`).

- Layers behind layers (a network): QUANTIZE, products in int8 (`exporter.programs.int8_layers`), DEQUANTIZE; what
  stands before and behind them (scalers, softmax) stays float32.
- A product alone (a linear model) and kernels: stored in int8, computed in float32. Rounding what enters and leaves it,
  too, would take most of a linear model's digits and no byte; a support vector machine adds hundreds of kernels with
  weights of both signs, and kernels in int8 would leave little of their difference.
- Trees: see `exporter.tflite.tree_storage`.

Columns of very different sizes are brought to one size first, in float32, so that one scale serves them all; with the
scaler folded into the weights instead, int8 lost 3 to 30 points of accuracy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exporter.models.model import Rows
from exporter.programs.dense_runs import Bend, DenseRun, Layer, weighty_parts
from exporter.programs.int8_layers import FIXED, Int8Layers, bring_to_int8
from exporter.programs.interpreter import run_program
from exporter.programs.program import Affine, Kernel, Program, Scale, Trees, pruned
from exporter.programs.quantisation import Quantisation, sizes_of
from exporter.tflite.file import Tensor
from exporter.tflite.kernels import write_stored_kernel, write_stored_linear
from exporter.tflite.operations import WRITERS
from exporter.tflite.operators import Function, Graph
from exporter.tflite.tree_storage import StoredTrees, small_storage
from exporter.tflite.tree_walk import lay_out
from exporter.tflite.trees import write_trees

Floats = NDArray[np.float64]
SpecialWriter: TypeAlias = Callable[[Graph, Tensor], Tensor]

_FUNCTIONS: Final[Mapping[Bend, Function]] = {"tanh": "TANH", "logistic": "LOGISTIC"}


@dataclass(frozen=True, slots=True)
class Special:
    """How one vector of a program is written otherwise.

    Attributes:
        of: the vector that it is written from.
        error: greatest difference that it makes to the vector for any row; None: it depends on the row.
    """

    of: int
    write: SpecialWriter
    error: float | None


def plan_int8(program: Program, calibration: Rows) -> Mapping[int, Special]:
    """Return what is written in int8 by the place of its answer; empty: the program has no numbers to quantise.

    Args:
        program: of the model.
        calibration: ``(n, n_features) float32`` real rows; what layers make of them sets their ranges.
    """
    parts = weighty_parts(program)
    specials: dict[int, Special] = {}
    for run in parts.runs:
        if isinstance(program.nodes[run.start].operation, Kernel) and len(run.layers) == 1:
            # A kernel's numbers are of one size.
            specials[run.end] = _plan_product(program, run, np.ones(len(run.layers[0].weights)))
            continue
        entering = run_program(pruned(Program(program.nodes, run.start)), calibration)
        if len(run.layers) == 1:
            specials[run.end] = _plan_product(program, run, sizes_of(entering))
        else:
            specials[run.end] = _plan_layers(program, run, entering)
    for place, kernel in parts.kernels.items():
        specials[place] = Special(kernel.of, partial(_write_kernel, kernel), None)
    for place, trees in parts.trees.items():
        stored = small_storage(lay_out(trees.ensemble))
        error = stored.error / trees.ensemble.divisor
        specials[place] = Special(trees.of, partial(_write_trees, stored, trees), error)
    return specials


def _plan_product(program: Program, run: DenseRun, sizes: Floats) -> Special:
    """Plan a product that stands alone; its columns are divided by ``sizes (n_in,)`` first."""
    (layer,) = run.layers
    of, resize = _resizing(program, run, sizes)
    resized = Layer(layer.weights * sizes[:, np.newaxis], layer.bias, "none")
    return Special(of, partial(_write_product, resize, resized), None)


def _plan_layers(program: Program, run: DenseRun, entering: Rows) -> Special:
    """Plan a run, calibrated with the values that enter it, ``(n, n_in)``."""
    sizes = sizes_of(entering)
    first, *others = run.layers
    layers = (Layer(first.weights * sizes[:, np.newaxis], first.bias, first.bend), *others)
    network = bring_to_int8(layers, (entering / sizes).astype(np.float32))
    of, resize = _resizing(program, run, sizes)
    return Special(of, partial(_write_layers, resize, network), None)


def _resizing(program: Program, run: DenseRun, sizes: Floats) -> tuple[int, Scale | Affine]:
    """Return what brings columns to one size, and the vector that it takes: a scaler before the run does both."""
    before = program.nodes[run.start].operation
    if run.is_alone and isinstance(before, Scale):
        return before.of, replace(before, scales=before.scales * sizes)
    if run.is_alone and isinstance(before, Affine):
        return before.of, replace(before, factors=before.factors / sizes, offsets=before.offsets / sizes)
    return run.start, Affine(run.start, 1 / sizes, np.zeros_like(sizes))


def _write_layers(resize: Scale | Affine, network: Int8Layers, graph: Graph, x: Tensor) -> Tensor:
    x = WRITERS[type(resize)](graph, resize, x)
    entering = network.entering
    x = graph.quantise(x, entering)
    for layer in network.layers:
        bias_scales = Quantisation(tuple(scale * entering.scales[0] for scale in layer.scales.scales))
        parts = (x, graph.constant(layer.weights, layer.scales), graph.constant(layer.bias, bias_scales))
        product = graph.tensor((1, len(layer.bias)), np.int8, layer.leaving)
        x, entering = graph.fully_connected(parts, product, relu=layer.bend == "relu"), layer.leaving
        if layer.bend in FIXED:
            entering = FIXED[layer.bend]
            x = graph.function(_FUNCTIONS[layer.bend], x, entering)
    return graph.dequantise(x)


def _write_product(resize: Scale | Affine, layer: Layer, graph: Graph, x: Tensor) -> Tensor:
    return write_stored_linear(graph, layer.weights, layer.bias, WRITERS[type(resize)](graph, resize, x))


def _write_kernel(kernel: Kernel, graph: Graph, x: Tensor) -> Tensor:
    return write_stored_kernel(graph, kernel, x)


def _write_trees(stored: StoredTrees, trees: Trees, graph: Graph, x: Tensor) -> Tensor:
    return write_trees(graph, stored, trees.ensemble.base, trees.ensemble.divisor, x)
