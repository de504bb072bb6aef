"""Writes TFLite flatbuffers: tensors, operators and constants of one subgraph, nothing about models.

Operator versions are the lowest that have the types used here, so that tflite-runtime 2.14 runs the files as well as
its successor. Constants lie at multiples of 16 bytes, as the schema demands and its Python writer forgets.
"""

from dataclasses import dataclass
from typing import Any, Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_FILE_IDENTIFIER: Final = b"TFL3"
_SCHEMA_VERSION: Final = 3
_ALIGNMENT: Final = 16
# Operators above this number go into the newer of the schema's two fields only.
_OLD_CODES_END: Final = 127

_Codes = schema.BuiltinOperator
_TYPES: Final = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}


@dataclass(frozen=True, slots=True)
class Quantisation:
    """``real = (stored - zero_point) * scale``; one scale, or one for each index of the first axis."""

    scales: tuple[float, ...]
    zero_point: int = 0


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of TFLite: its code, version, and options of the schema, if it has any."""

    code: int
    version: int = 1
    options_type: int = 0
    options: Any = None


def fully_connected(*, is_int8: bool, has_relu: bool) -> Operator:
    """Return FULLY_CONNECTED with a fused activation."""
    options = schema.FullyConnectedOptionsT()
    kinds = schema.ActivationFunctionType
    options.fusedActivationFunction = kinds.RELU if has_relu else kinds.NONE
    return Operator(_Codes.FULLY_CONNECTED, 4 if is_int8 else 1, schema.BuiltinOptions.FullyConnectedOptions, options)


def activation(kind: str, *, is_int8: bool) -> Operator:
    """Return TANH or LOGISTIC."""
    return Operator(_Codes.TANH if kind == "tanh" else _Codes.LOGISTIC, 2 if is_int8 else 1)


def softmax() -> Operator:
    """Return SOFTMAX over float32."""
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    return Operator(_Codes.SOFTMAX, 1, schema.BuiltinOptions.SoftmaxOptions, options)


SUB: Final = Operator(_Codes.SUB, 1, schema.BuiltinOptions.SubOptions, schema.SubOptionsT())
DIV: Final = Operator(_Codes.DIV, 1, schema.BuiltinOptions.DivOptions, schema.DivOptionsT())
NOT_EQUAL: Final = Operator(_Codes.NOT_EQUAL, 1, schema.BuiltinOptions.NotEqualOptions, schema.NotEqualOptionsT())
SELECT: Final = Operator(_Codes.SELECT_V2, 1, schema.BuiltinOptions.SelectV2Options, schema.SelectV2OptionsT())
QUANTIZE: Final = Operator(_Codes.QUANTIZE, 1, schema.BuiltinOptions.QuantizeOptions, schema.QuantizeOptionsT())
DEQUANTIZE: Final = Operator(_Codes.DEQUANTIZE, 2, schema.BuiltinOptions.DequantizeOptions, schema.DequantizeOptionsT())


class TfliteFile:
    """One subgraph under way; tensors are numbers, in the order in which they are added."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._tensors: list[Any] = []
        # Buffer 0 is empty by convention: it stands for tensors without constant data.
        self._buffers: list[Any] = [schema.BufferT()]
        self._codes: dict[tuple[int, int], int] = {}
        self._operators: list[Any] = []

    def tensor(
        self, name: str, width: int, dtype: type[np.generic] = np.float32, quantisation: Quantisation | None = None
    ) -> int:
        """Add a tensor of one row, ``(1, width)``."""
        return self._add(name, (1, width), np.dtype(dtype), 0, quantisation)

    def constant(self, name: str, values: NDArray[Any], quantisation: Quantisation | None = None) -> int:
        """Add a constant of the dtype that its array has."""
        buffer = _AlignedBuffer()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), dtype=np.uint8)
        self._buffers.append(buffer)
        return self._add(name, values.shape, values.dtype, len(self._buffers) - 1, quantisation)

    def apply(self, operator: Operator, inputs: tuple[int, ...], output: int) -> int:
        """Add an operator; return its output."""
        code = self._codes.setdefault((operator.code, operator.version), len(self._codes))
        node = schema.OperatorT()
        node.opcodeIndex, node.inputs, node.outputs = code, list(inputs), [output]
        node.builtinOptionsType, node.builtinOptions = operator.options_type, operator.options
        self._operators.append(node)
        return output

    def encode(self, first: int, last: int) -> bytes:
        """Return the file whose input is the tensor ``first`` and whose output is ``last``."""
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "main", self._tensors, self._operators
        graph.inputs, graph.outputs = [first], [last]
        model = schema.ModelT()
        model.version, model.description, model.subgraphs = _SCHEMA_VERSION, self._description, [graph]
        model.operatorCodes = [_code_of(code, version) for code, version in self._codes]
        model.buffers = self._buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _add(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        buffer: int,
        quantisation: Quantisation | None,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), _TYPES[dtype], buffer
        if quantisation is not None:
            parameters = schema.QuantizationParametersT()
            parameters.scale = list(quantisation.scales)
            parameters.zeroPoint = [quantisation.zero_point] * len(quantisation.scales)
            parameters.quantizedDimension = 0
            tensor.quantization = parameters
        self._tensors.append(tensor)
        return len(self._tensors) - 1


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc] # the schema ships no types
    """A buffer whose bytes lie at a multiple of 16 in the file."""

    def Pack(self, builder: Any) -> Any:  # noqa: ANN401, N802 - named by the schema's writer
        """Write the buffer from its end to its start, as flatbuffers are built."""
        size = len(self.data)
        builder.StartVector(1, size, _ALIGNMENT)
        builder.head -= size
        builder.Bytes[builder.head : builder.head + size] = self.data.tobytes()
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


def _code_of(code: int, version: int) -> Any:  # noqa: ANN401 - a value of the schema's writer
    entry = schema.OperatorCodeT()
    entry.builtinCode, entry.version = code, version
    entry.deprecatedBuiltinCode = min(code, _OLD_CODES_END)
    return entry
