"""What a model will cost a device, told from the fitted model in milliseconds: no file is made, nothing is run.

The exporter reads a model into a program; here its nodes, leaves and weights are counted and weighed. Size: from 1 kB
on within a factor of two of the file that is exported then. Latency: of one row on a machine like the one that exports,
good enough to put models in order; what the gate judges is measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct

from exporter.programs.ensemble import LEAF, TreeEnsemble
from exporter.programs.program import Interpolate, Kernel, Linear, Program, Trees
from exporter.variants import Form


class Cost(Struct, frozen=True):
    """Estimated cost of one form.

    Attributes:
        form: the smallest of those that were asked for.
        latency_us: of one row, on a machine that exports.
    """

    form: str
    size_bytes: int
    latency_us: float


class _Weights(NamedTuple):
    """Bytes and nanoseconds of the parts of a model in one runtime's form, by measurement of real exports."""

    base_bytes: float
    entry_bytes: float
    leaf_number_bytes: float
    weight_bytes: float
    base_ns: float
    step_ns: float
    weight_ns: float
    kernel_ns: float


_RUNTIMES: Final[Mapping[str, _Weights]] = {
    "native": _Weights(300, 3.0, 0.8, 4.2, 300, 0.9, 0.2, 1.0),
    "onnx": _Weights(500, 9.5, 4.0, 4.6, 4900, 6.0, 0.06, 0.5),
    "tflite": _Weights(900, 7.0, 2.0, 4.2, 2300, 40.0, 0.04, 0.25),
    "c": _Weights(2000, 23.0, 5.0, 20.0, 200, 0.9, 0.2, 1.0),
}
# Trees are kept as they are; of weights a quarter is left, and their scales.
_QUANTISED_WEIGHTS: Final = 0.35


@dataclass(frozen=True, slots=True)
class Parts:
    """What a model is made of.

    Attributes:
        entries: nodes and leaves of all trees.
        leaf_numbers: numbers in leaves, those that are alike counted once.
        steps: nodes that one row passes.
        weights: of layers and curves.
        kernel_numbers: in the vectors that a kernel compares a row with.
    """

    entries: int
    leaf_numbers: int
    steps: float
    weights: int
    kernel_numbers: int


def parts_of(program: Program) -> Parts:
    """Count the parts of a program."""
    entries = leaf_numbers = weights = kernel_numbers = 0
    steps = 0.0
    for node in program.nodes:
        operation = node.operation
        if isinstance(operation, Trees):
            ensemble = operation.ensemble
            entries += len(ensemble.feature)
            leaf_numbers += np.unique(ensemble.leaves, axis=0).size
            steps += _steps_of(ensemble)
        elif isinstance(operation, Linear):
            weights += operation.weights.size + operation.bias.size
        elif isinstance(operation, Kernel):
            kernel_numbers += operation.vectors.size
        elif isinstance(operation, Interpolate):
            weights += 2 * sum(len(knots) for knots in operation.xs)
    return Parts(entries, leaf_numbers, steps, weights, kernel_numbers)


def estimate_cost(program: Program, forms: Sequence[Form]) -> Cost:
    """Return the cost of the smallest of the forms, of which there must be one."""
    parts = parts_of(program)
    return min((_cost_of(parts, form) for form in forms), key=lambda cost: cost.size_bytes)


def _cost_of(parts: Parts, form: Form) -> Cost:
    costs = _RUNTIMES[form.runtime]
    weight_bytes = costs.weight_bytes * (_QUANTISED_WEIGHTS if form.is_quantised else 1.0)
    size = (
        costs.base_bytes
        + costs.entry_bytes * parts.entries
        + costs.leaf_number_bytes * parts.leaf_numbers
        + weight_bytes * (parts.weights + parts.kernel_numbers)
    )
    nanoseconds = (
        costs.base_ns
        + costs.step_ns * parts.steps
        + costs.weight_ns * parts.weights
        + costs.kernel_ns * parts.kernel_numbers
    )
    return Cost(form.name, round(size), nanoseconds / 1000)


def _steps_of(ensemble: TreeEnsemble) -> float:
    """Return how many nodes a row passes, were its trees balanced."""
    leaves = max(int((ensemble.feature == LEAF).sum()), 1)
    trees = max(len(ensemble.roots), 1)
    return float(trees * (1 + np.log2(max(leaves / trees, 1.0))))
