"""Finds what int8 pays for in a program: runs of layers, kernels and trees, by their share of its numbers.

A run is a product, or products one behind the other with nothing but curves between them, that nothing else looks
into. Two products without a curve between them become one where that has fewer numbers, or as many.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exporter.programs.ensemble import TreeEnsemble
from exporter.programs.program import Curve, Kernel, Linear, Operation, Program, Trees, sources_of

Floats = NDArray[np.float64]
Bend: TypeAlias = Literal["none", "relu", "tanh", "logistic"]

# What holds fewer of a program's numbers than this stays in float32: it would lose digits and save nothing.
_LEAST_SHARE: Final = 0.1
_BENDS: Final[tuple[Bend, ...]] = ("relu", "tanh", "logistic")
# A node's test, column and step.
_NUMBERS_OF_NODE: Final = 3


@dataclass(frozen=True, slots=True)
class Layer:
    """``bend(x @ weights + bias)``; weights ``(n_in, n_out)``, bias ``(n_out,)``."""

    weights: Floats
    bias: Floats
    bend: Bend


@dataclass(frozen=True, slots=True)
class DenseRun:
    """Layers one behind the other, from the vector ``start`` to the vector ``end``; the last one has no bend.

    Attributes:
        is_alone: nothing else reads the vector ``start``.
    """

    start: int
    end: int
    layers: tuple[Layer, ...]
    is_alone: bool

    @property
    def n_numbers(self) -> int:
        """How many weights it has."""
        return sum(layer.weights.size for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Weighty:
    """The parts of a program that hold its numbers: runs, and kernels and trees by their places."""

    runs: tuple[DenseRun, ...]
    kernels: Mapping[int, Kernel]
    trees: Mapping[int, Trees]


def weighty_parts(program: Program) -> Weighty:
    """Return the parts that each hold at least a tenth of a program's numbers."""
    runs = _runs_of(program)
    operations = {place: node.operation for place, node in enumerate(program.nodes)}
    kernels = {place: of for place, of in operations.items() if isinstance(of, Kernel)}
    trees = {place: of for place, of in operations.items() if isinstance(of, Trees)}
    numbers = {run.end: run.n_numbers for run in runs}
    numbers |= {place: kernel.vectors.size for place, kernel in kernels.items()}
    numbers |= {place: _numbers_of(of.ensemble) for place, of in trees.items()}
    least = _LEAST_SHARE * sum(numbers.values())
    return Weighty(
        tuple(run for run in runs if numbers[run.end] >= least),
        {place: kernel for place, kernel in kernels.items() if numbers[place] >= least},
        {place: of for place, of in trees.items() if numbers[place] >= least},
    )


def _numbers_of(trees: TreeEnsemble) -> int:
    return _NUMBERS_OF_NODE * len(trees.feature) + trees.leaves.size


def _runs_of(program: Program) -> list[DenseRun]:
    only_reader = _only_readers(program)
    runs: list[DenseRun] = []
    taken: set[int] = set()
    for place, node in enumerate(program.nodes):
        if place in taken or not isinstance(node.operation, Linear):
            continue
        layers: list[Layer] = []
        end, operation = place, node.operation
        while True:
            taken.add(end)
            following, bend = _next_linear(program, only_reader, end)
            layers.append(Layer(operation.weights, operation.bias, bend))
            if following is None:
                break
            end, operation = following
        runs.append(DenseRun(node.operation.of, end, _fused(layers), only_reader.get(node.operation.of) == place))
    return runs


def _next_linear(program: Program, only_reader: dict[int, int], place: int) -> tuple[tuple[int, Linear] | None, Bend]:
    """Return the product that a product feeds, if it feeds nothing else, and the bend between them."""
    reader = only_reader.get(place)
    bend: Bend = "none"
    operation: Operation | None = None if reader is None else program.nodes[reader].operation
    if isinstance(operation, Curve) and operation.kind in _BENDS and reader is not None:
        bend = next(known for known in _BENDS if known == operation.kind)
        reader = only_reader.get(reader)
        operation = None if reader is None else program.nodes[reader].operation
    if reader is None or not isinstance(operation, Linear):
        return None, "none"
    return (reader, operation), bend


def _only_readers(program: Program) -> dict[int, int]:
    """Return the reader of each vector that has exactly one, and is not the answer."""
    pairs = [(source, place) for place, node in enumerate(program.nodes) for source in sources_of(node.operation)]
    counts = Counter(source for source, _ in pairs)
    return {source: place for source, place in pairs if counts[source] == 1 and source != program.output}


def _fused(layers: list[Layer]) -> tuple[Layer, ...]:
    fused = layers[:1]
    for layer in layers[1:]:
        last = fused[-1]
        n_in, n_out = last.weights.shape[0], layer.weights.shape[1]
        if last.bend == "none" and n_in * n_out <= last.weights.size + layer.weights.size:
            fused[-1] = Layer(last.weights @ layer.weights, last.bias @ layer.weights + layer.bias, layer.bend)
        else:
            fused.append(layer)
    return tuple(fused)
