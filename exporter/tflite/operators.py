"""TFLite's operators as functions of tensors: each gives its output the shape and the type that follow from its inputs.

Versions are the lowest that know the types used here, so that tflite-runtime 2.14 runs the files as well as its
successor (https://github.com/tensorflow/tensorflow, lite/tools/versioning/op_version.cc).
"""

from typing import Any, Final, Literal, TypeAlias

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from exporter.programs.quantisation import Quantisation
from exporter.tflite.file import TENSOR_TYPES, Operator, Options, Subgraph, Tensor

Arithmetic: TypeAlias = Literal["ADD", "SUB", "MUL", "DIV", "MINIMUM", "MAXIMUM", "SQUARED_DIFFERENCE"]
Comparison: TypeAlias = Literal["EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"]
Function: TypeAlias = Literal["RELU", "TANH", "LOGISTIC", "EXP", "LOG", "SQRT", "SQUARE", "ABS"]
Reduction: TypeAlias = Literal["SUM", "REDUCE_MAX"]

_GATHER_VERSIONS: Final = {np.dtype(np.int8): 2, np.dtype(np.int16): 4}
_INT8: Final = np.dtype(np.int8)


class Graph(Subgraph):
    """A subgraph with the operators that programs are written in."""

    def floats(self, values: NDArray[Any] | list[float] | float) -> Tensor:
        """Add a constant of float32; numbers of one vector are one row, ``(1, n)``."""
        stored = np.asarray(values, dtype=np.float32)
        return self.constant(stored.reshape(1, -1) if stored.ndim < 2 else stored)  # noqa: PLR2004 - a table stays

    def ints(self, values: NDArray[Any] | list[int] | list[list[int]]) -> Tensor:
        """Add a constant of int32, of the shape that it has."""
        return self.constant(np.asarray(values, dtype=np.int32))

    def arithmetic(self, name: Arithmetic, first: Tensor, second: Tensor) -> Tensor:
        """Combine two tensors number by number; shapes broadcast."""
        shape = np.broadcast_shapes(first.shape, second.shape)
        return self.apply(Operator(name, 1), (first, second), self.tensor(shape, first.dtype))

    def compare(self, name: Comparison, first: Tensor, second: Tensor) -> Tensor:
        """Compare two tensors number by number; shapes broadcast."""
        shape = np.broadcast_shapes(first.shape, second.shape)
        return self.apply(Operator(name, 1), (first, second), self.tensor(shape, np.bool_))

    def function(self, name: Function, x: Tensor, quantisation: Quantisation | None = None) -> Tensor:
        """Apply a function to each number."""
        version = 2 if x.dtype == _INT8 else 1
        return self.apply(Operator(name, version), (x,), self.tensor(x.shape, x.dtype, quantisation))

    def is_missing(self, x: Tensor) -> Tensor:
        """Tell where a number is NaN: only NaN differs from itself."""
        return self.compare("NOT_EQUAL", x, x)

    def select(self, condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
        """Take ``yes`` where the condition holds, else ``no``; shapes broadcast."""
        shape = np.broadcast_shapes(condition.shape, yes.shape, no.shape)
        return self.apply(Operator("SELECT_V2", 1), (condition, yes, no), self.tensor(shape, yes.dtype))

    def cast(self, x: Tensor, dtype: type[np.generic]) -> Tensor:
        """Change the type; float32 to int32 cuts off."""
        kinds = (("inDataType", TENSOR_TYPES[x.dtype]), ("outDataType", TENSOR_TYPES[np.dtype(dtype)]))
        return self.apply(Operator("CAST", 1, Options("CastOptions", kinds)), (x,), self.tensor(x.shape, dtype))

    def as_ints(self, x: Tensor) -> Tensor:
        """Change the type to int32, if it is another."""
        return x if x.dtype == np.int32 else self.cast(x, np.int32)

    def gather(self, values: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
        """Take the entries of an axis that int32 indices name."""
        shape = (*values.shape[:axis], *indices.shape, *values.shape[axis + 1 :])
        operator = Operator(
            "GATHER", _GATHER_VERSIONS.get(values.dtype, 1), Options("GatherOptions", (("axis", axis),))
        )
        return self.apply(operator, (values, indices), self.tensor(shape, values.dtype))

    def columns(self, x: Tensor, places: list[int]) -> Tensor:
        """Take columns of a row ``(1, n)``."""
        return x if places == list(range(x.shape[1])) else self.gather(x, self.ints(places), axis=1)

    def join(self, parts: list[Tensor]) -> Tensor:
        """Put rows one behind the other."""
        if len(parts) == 1:
            return parts[0]
        shape = (1, sum(part.shape[1] for part in parts))
        operator = Operator("CONCATENATION", 1, Options("ConcatenationOptions", (("axis", 1),)))
        return self.apply(operator, tuple(parts), self.tensor(shape, parts[0].dtype))

    def reshape(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Give a tensor another shape."""
        return x if x.shape == shape else self.copy(x, shape)

    def copy(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Copy a tensor, with the same number of entries in a shape that may be another."""
        return self.apply(Operator("RESHAPE", 1), (x, self.ints(list(shape))), self.tensor(shape, x.dtype))

    def answer(self, x: Tensor) -> Tensor:
        """Return what the file answers: a tensor that an operator fills, as runtimes demand, with a name."""
        return self.rename(x if self.is_computed(x) else self.copy(x, x.shape), "outputs")

    def reduce(self, name: Reduction, x: Tensor, axis: int) -> Tensor:
        """Reduce an axis to one entry."""
        shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
        operator = Operator(name, 1, Options("ReducerOptions", (("keepDims", True),)))
        return self.apply(operator, (x, self.ints([axis])), self.tensor(shape, x.dtype))

    def add_all(self, parts: list[Tensor]) -> Tensor:
        """Add tensors of one shape."""
        if len(parts) == 1:
            return parts[0]
        operator = Operator("ADD_N", 1, Options("AddNOptions"))
        return self.apply(operator, tuple(parts), self.tensor(parts[0].shape, parts[0].dtype))

    def softmax(self, x: Tensor) -> Tensor:
        """Apply softmax to a row of float32."""
        return self.apply(
            Operator("SOFTMAX", 1, Options("SoftmaxOptions", (("beta", 1.0),))), (x,), self.tensor(x.shape)
        )

    def linear(self, x: Tensor, weights: NDArray[np.float64], bias: NDArray[np.float64]) -> Tensor:
        """Return ``x @ weights + bias`` in float32; weights ``(n_in, n_out)``."""
        table = self.floats(np.ascontiguousarray(weights.T))
        parts = (x, table) if not bias.any() else (x, table, self.constant(bias.astype(np.float32)))
        return self.fully_connected(parts, self.tensor((x.shape[0], weights.shape[1])), relu=False)

    def fully_connected(self, parts: tuple[Tensor, ...], output: Tensor, *, relu: bool) -> Tensor:
        """Apply FULLY_CONNECTED to input, weights ``(n_out, n_in)`` and maybe bias, all of one type."""
        kinds = schema.ActivationFunctionType
        fused = (("fusedActivationFunction", kinds.RELU if relu else kinds.NONE),)
        version = 4 if output.dtype == _INT8 else 1
        return self.apply(Operator("FULLY_CONNECTED", version, Options("FullyConnectedOptions", fused)), parts, output)

    def arg_max(self, x: Tensor) -> Tensor:
        """Return the place ``(1,) int32`` of the greatest number of a row, the first of equals."""
        operator = Operator("ARG_MAX", 1, Options("ArgMaxOptions", (("outputType", TENSOR_TYPES[np.dtype(np.int32)]),)))
        return self.apply(operator, (x, self.ints([1])), self.tensor((x.shape[0],), np.int32))

    def one_hot(self, places: Tensor, depth: int) -> Tensor:
        """Return rows of zeros with a one at each place."""
        on, off = (self.constant(np.array(value, dtype=np.float32)) for value in (1, 0))
        operator = Operator("ONE_HOT", 1, Options("OneHotOptions", (("axis", -1),)))
        inputs = (places, self.constant(np.array(depth, dtype=np.int32)), on, off)
        return self.apply(operator, inputs, self.tensor((*places.shape, depth)))

    def bucketize(self, x: Tensor, boundaries: NDArray[np.float32]) -> Tensor:
        """Return as int32 how many of the boundaries, ascending, are not above each number; NaN: all."""
        operator = Operator("BUCKETIZE", 1, Options("BucketizeOptions", (("boundaries", tuple(boundaries.tolist())),)))
        return self.apply(operator, (x,), self.tensor(x.shape, np.int32))

    def quantise(self, x: Tensor, quantisation: Quantisation) -> Tensor:
        """Turn float32 into int8."""
        return self.apply(Operator("QUANTIZE", 1), (x,), self.tensor(x.shape, np.int8, quantisation))

    def dequantise(self, x: Tensor) -> Tensor:
        """Turn int8 or int16 with a scale into float32."""
        version = 2 if x.dtype == _INT8 else 3
        return self.apply(Operator("DEQUANTIZE", version), (x,), self.tensor(x.shape))
