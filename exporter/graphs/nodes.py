"""ONNX nodes and constants under way. It knows nothing about models."""

from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike, NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float64]

# ONNX Runtime 1.21 and later run these.
OPSETS: Final = {"": 21, "ai.onnx.ml": 5}
IR_VERSION: Final = 10
# Of every ONNX variant: its one input and its one output.
INPUT: Final = "rows"
OUTPUT: Final = "outputs"
ML: Final = "ai.onnx.ml"


class OnnxNodes:
    """Nodes in the order in which they run; names are short, as each is stored several times.

    Attributes:
        nodes, tensors: for the graph.
    """

    def __init__(self, prefix: str = "") -> None:
        """Begin; ``prefix`` keeps the names of a subgraph apart from those around it."""
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._prefix = prefix
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._casts: dict[tuple[str, int], str] = {}

    def node(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:  # noqa: ANN401 - ONNX's own
        """Add a node with one output; return the name of that output."""
        output = f"{self._prefix}v{len(self.nodes)}"
        # ONNX Runtime 1.21 fuses gathers, and names what they become by their names, which must differ.
        name = output if kind == "Gather" else None
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name, domain=domain or None, **attributes))
        return output

    def constant(self, values: ArrayLike, dtype: DTypeLike = np.float32) -> str:
        """Return the name of a constant; equal ones are stored once."""
        array = np.ascontiguousarray(values, dtype=dtype).reshape(np.shape(values))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"{self._prefix}c{len(self.tensors)}"
            self.tensors.append(numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def wide_constant(self, values: ArrayLike) -> str:
        """Return the name of a float64 constant; stored as float32 where that is exact, as it mostly is."""
        exact = np.asarray(values, dtype=np.float64)
        if is_float32(exact):
            return self.widen(self.constant(exact))
        return self.constant(exact, np.float64)

    def widen(self, name: str) -> str:
        """Return the name of a value as float64."""
        return self._cast(name, TensorProto.DOUBLE)

    def narrow(self, name: str) -> str:
        """Return the name of a value rounded to float32."""
        return self._cast(name, TensorProto.FLOAT)

    def index(self, name: str) -> str:
        """Return the name of a value as int64."""
        return self._cast(name, TensorProto.INT64)

    def _cast(self, name: str, to: int) -> str:
        if (name, to) not in self._casts:
            self._casts[name, to] = self.node("Cast", name, to=to)
        return self._casts[name, to]


class Arithmetic:
    """How one operation computes: in float32, or wide, in float64 with its answer rounded to float32.

    Attributes:
        width: numbers in its answer.
    """

    def __init__(self, nodes: OnnxNodes, width: int, *, is_wide: bool) -> None:
        self.nodes = nodes
        self.width = width
        self.is_wide = is_wide

    def widened(self) -> "Arithmetic":
        """Return the wide form."""
        return Arithmetic(self.nodes, self.width, is_wide=True)

    def take(self, name: str) -> str:
        """Return the name of a float32 value in this arithmetic."""
        return self.nodes.widen(name) if self.is_wide else name

    def constant(self, values: ArrayLike) -> str:
        """Return the name of a constant in this arithmetic."""
        return self.nodes.wide_constant(values) if self.is_wide else self.nodes.constant(values)

    def give(self, name: str) -> str:
        """Return the name of an answer as float32."""
        return self.nodes.narrow(name) if self.is_wide else name


def is_float32(values: Floats) -> bool:
    """Whether rounding to float32 loses nothing; NaN and infinities count as exact."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float32).astype(np.float64), values, equal_nan=True))


def axes(nodes: OnnxNodes, axis: int) -> str:
    """Return the name of a constant that names one axis."""
    return nodes.constant([axis], np.int64)
