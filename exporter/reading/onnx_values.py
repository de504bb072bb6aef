"""What a reader of ONNX graphs holds for each value: a vector of the program with its shape, a constant, or a mask."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from exporter.errors import UnsupportedError
from exporter.programs.program import Affine, Columns, Curve, CurveName, Operation, ProgramBuilder

Floats = NDArray[np.float64]

# Stands for the number of rows in shapes that a graph computes; no axis has this size.
ROWS: Final = (1 << 40) + 15


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector of the program; `shape` is that of one row of the value, whose numbers lie in row-major order."""

    place: int
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """How many numbers it has."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Mask:
    """Where a vector is a marker, or is missing (NaN)."""

    of: Vector
    marker: float


@dataclass(frozen=True, slots=True)
class Whole:
    """A vector whose fractions are cut off."""

    of: Vector


Value: TypeAlias = Vector | Mask | Whole | NDArray[Any]


class GraphReading:
    """A graph under way.

    Attributes:
        builder: of the program.
        values: by the graph's names.
        node: the one that is read now.
    """

    def __init__(self, builder: ProgramBuilder) -> None:
        self.builder = builder
        self.values: dict[str, Value] = {}
        self.node = onnx.NodeProto()

    def refuse(self, why: str) -> UnsupportedError:
        """Return the error that names the node under way and why it has no form in a program."""
        step = step_of(self.node)
        return UnsupportedError(step, f"node `{step}`: {self.node.op_type} {why} has no form that devices run")

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute of the node, or its default."""
        for attribute in self.node.attribute:
            if attribute.name == name:
                found = helper.get_attribute_value(attribute)
                return numpy_helper.to_array(found) if isinstance(found, onnx.TensorProto) else found
        return default

    def has_input(self, index: int) -> bool:
        """Whether the node has an input at a place."""
        return index < len(self.node.input) and bool(self.node.input[index])

    def value(self, index: int) -> Value:
        """Return an input of the node."""
        if not self.has_input(index):
            raise self.refuse(f"without its input {index}")
        name = self.node.input[index]
        if name not in self.values:
            raise self.refuse(f"of `{name}`, which no program computes,")
        return self.values[name]

    def vector(self, index: int = 0) -> Vector:
        """Return an input of the node that is a vector."""
        value = self.value(index)
        if isinstance(value, Mask | Whole):
            raise self.refuse("of a comparison" if isinstance(value, Mask) else "of whole numbers")
        if not isinstance(value, Vector):
            raise self.refuse(f"with a constant in place of input {index}")
        return value

    def flat(self, index: int = 0) -> Vector:
        """Return an input of the node that is a vector of one axis."""
        vector = self.vector(index)
        if len(vector.shape) != 1:
            raise self.refuse(f"of rows of shape {vector.shape}")
        return vector

    def constant(self, index: int) -> NDArray[Any]:
        """Return an input of the node that is a constant."""
        value = self.value(index)
        if isinstance(value, Vector | Mask | Whole):
            raise self.refuse(f"whose input {index} is no constant")
        return value

    def add(self, operation: Operation, shape: tuple[int, ...]) -> Vector:
        """Add an operation to the program."""
        return Vector(self.builder.add(operation), shape)

    def pick(self, vector: Vector, places: NDArray[np.int64]) -> Vector:
        """Return the numbers of a vector at places, in the shape of the places."""
        flat = places.reshape(-1)
        if np.array_equal(flat, np.arange(vector.width)):
            return Vector(vector.place, places.shape)
        return self.add(Columns(vector.place, tuple(flat.tolist())), places.shape)

    def places(self, vector: Vector) -> NDArray[np.int64]:
        """Return the place of each number of a vector, in its shape: what moves these moves the numbers."""
        return np.arange(vector.width).reshape(vector.shape)

    def curve(self, vector: Vector, kind: CurveName) -> Vector:
        """Add a function of each number."""
        return self.add(Curve(vector.place, kind), vector.shape)

    def affine(self, vector: Vector, factor: float, offset: float) -> Vector:
        """Add ``x * factor + offset``."""
        factors, offsets = np.full(vector.width, factor), np.full(vector.width, offset)
        return self.add(Affine(vector.place, factors, offsets), vector.shape)

    def axis(self, vector: Vector, axis: int) -> int:
        """Return an axis of the value as an axis of its row's shape; refuse the axis of rows."""
        axis = axis if axis >= 0 else axis + len(vector.shape) + 1
        if not 1 <= axis <= len(vector.shape):
            raise self.refuse(f"along axis {axis} of rows of shape {vector.shape}")
        return axis - 1


Operator: TypeAlias = Callable[[GraphReading], Value]


def step_of(node: onnx.NodeProto) -> str:
    """Return the name by which messages call a node."""
    return node.name or (node.output[0] if node.output else node.op_type)
