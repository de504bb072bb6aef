"""Writes TFLite flatbuffers: subgraphs of tensors and operators, with their constants; nothing about models.

Constants lie at multiples of 16 bytes, as the schema demands and its Python writer forgets. What is equal is written
once: constants, shapes, options. Tensors have no names but the input and the output: a lowered forest has hundreds.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from exporter.programs.quantisation import Quantisation

_FILE_IDENTIFIER: Final = b"TFL3"
_SCHEMA_VERSION: Final = 3
_ALIGNMENT: Final = 16
# Operators above this number go into the newer of the schema's two fields only.
_OLD_CODES_END: Final = 127

TENSOR_TYPES: Final = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a subgraph: its number there, and what it holds."""

    place: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    quantisation: Quantisation | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """The options of an operator: a table of the schema, by its name there, and the values of its fields.

    A vector of floats is a tuple.
    """

    table: str
    fields: tuple[tuple[str, int | bool | float | tuple[float, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of TFLite: its name in the schema, version, and options."""

    name: str
    version: int
    options: Options | None = None


@dataclass(frozen=True, slots=True)
class _Stored:
    tensor: Tensor
    buffer: int
    name: str


class Subgraph:
    """One subgraph under way; its tensors are numbered in the order in which they are added."""

    def __init__(self, file: "TfliteFile") -> None:
        self.file = file
        self.tensors: list[_Stored] = []
        self.operators: list[tuple[Operator, tuple[int, ...], tuple[int, ...]]] = []
        self._constants: dict[Hashable, Tensor] = {}

    def tensor(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any] | type[np.generic] = np.float32,
        quantisation: Quantisation | None = None,
        name: str = "",
    ) -> Tensor:
        """Add a tensor that an operator will fill."""
        return self._add(Tensor(len(self.tensors), shape, np.dtype(dtype), quantisation), 0, name)

    def constant(self, values: NDArray[Any], quantisation: Quantisation | None = None) -> Tensor:
        """Add a constant of the dtype that its array has; an equal one is taken again."""
        stored = np.asarray(values, order="C")
        key = (stored.shape, stored.dtype, stored.tobytes(), quantisation)
        found = self._constants.get(key)
        if found is None:
            tensor = Tensor(len(self.tensors), stored.shape, stored.dtype, quantisation)
            found = self._constants[key] = self._add(tensor, self.file.buffer(stored.tobytes()), "")
        return found

    def apply(self, operator: Operator, inputs: tuple[Tensor, ...], *outputs: Tensor) -> Tensor:
        """Add an operator; return its first output."""
        self.operators.append((operator, tuple(t.place for t in inputs), tuple(t.place for t in outputs)))
        return outputs[0]

    def is_computed(self, tensor: Tensor) -> bool:
        """Tell whether an operator fills a tensor."""
        return any(tensor.place in outputs for _, _, outputs in self.operators)

    def rename(self, tensor: Tensor, name: str) -> Tensor:
        """Name a tensor that is there."""
        self.tensors[tensor.place] = replace(self.tensors[tensor.place], name=name)
        return tensor

    def _add(self, tensor: Tensor, buffer: int, name: str) -> Tensor:
        self.tensors.append(_Stored(tensor, buffer, name))
        return tensor


class TfliteFile:
    """A file under way."""

    def __init__(self, description: str) -> None:
        self.description = description
        # Buffer 0 is empty by convention: it stands for tensors without constant data.
        self._buffers: dict[bytes, int] = {b"": 0}
        self._subgraphs: list[tuple[Subgraph, tuple[Tensor, ...], tuple[Tensor, ...]]] = []

    def buffer(self, data: bytes) -> int:
        """Return the number of the buffer that holds these bytes."""
        return self._buffers.setdefault(data, len(self._buffers))

    def close(self, graph: Subgraph, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> int:
        """Add a finished subgraph, and return its number; number 0 is the one that `encode` is given."""
        self._subgraphs.append((graph, inputs, outputs))
        return len(self._subgraphs)

    def encode(self, main: Subgraph, first: Tensor, last: Tensor) -> bytes:
        """Return the file whose input is the tensor ``first`` of ``main`` and whose output is ``last``."""
        packer = _Packer(flatbuffers.Builder(1 << 16))
        subgraphs = [(main, (first,), (last,)), *self._subgraphs]
        return packer.pack(self.description, subgraphs, tuple(self._buffers))


class _Packer:
    """Packs a file from its end to its start, as flatbuffers are built, and shares what is equal."""

    def __init__(self, builder: Any) -> None:  # noqa: ANN401 - flatbuffers ships no types
        self._builder = builder
        self._shared: dict[Hashable, int] = {}
        self._codes: dict[tuple[str, int], int] = {}

    def pack(
        self,
        description: str,
        subgraphs: list[tuple[Subgraph, tuple[Tensor, ...], tuple[Tensor, ...]]],
        buffers: tuple[bytes, ...],
    ) -> bytes:
        """Return the whole file."""
        builder = self._builder
        data = self._offsets([self._buffer(content) for content in buffers])
        graphs = self._offsets([self._subgraph(*subgraph) for subgraph in subgraphs])
        codes = self._offsets([self._code(name, version) for name, version in self._codes])
        text = builder.CreateString(description)
        schema.ModelStart(builder)
        schema.ModelAddVersion(builder, _SCHEMA_VERSION)
        schema.ModelAddOperatorCodes(builder, codes)
        schema.ModelAddSubgraphs(builder, graphs)
        schema.ModelAddDescription(builder, text)
        schema.ModelAddBuffers(builder, data)
        builder.Finish(schema.ModelEnd(builder), _FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _buffer(self, content: bytes) -> int:
        builder, size = self._builder, len(content)
        data = 0
        if size:
            builder.StartVector(1, size, _ALIGNMENT)
            builder.head -= size
            builder.Bytes[builder.head : builder.head + size] = content
            data = builder.EndVector()
        schema.BufferStart(builder)
        if size:
            schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))

    def _subgraph(self, graph: Subgraph, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> int:
        builder = self._builder
        tensors = self._offsets([self._tensor(stored) for stored in graph.tensors])
        operators = self._offsets([self._operator(*operator) for operator in graph.operators])
        ends = [self._ints(tuple(tensor.place for tensor in side)) for side in (inputs, outputs)]
        schema.SubGraphStart(builder)
        schema.SubGraphAddTensors(builder, tensors)
        schema.SubGraphAddInputs(builder, ends[0])
        schema.SubGraphAddOutputs(builder, ends[1])
        schema.SubGraphAddOperators(builder, operators)
        return int(schema.SubGraphEnd(builder))

    def _tensor(self, stored: _Stored) -> int:
        builder, tensor = self._builder, stored.tensor
        shape = self._ints(tensor.shape)
        name = builder.CreateString(stored.name) if stored.name else 0
        scale = self._quantisation(tensor.quantisation) if tensor.quantisation is not None else 0
        schema.TensorStart(builder)
        schema.TensorAddShape(builder, shape)
        schema.TensorAddType(builder, TENSOR_TYPES[tensor.dtype])
        schema.TensorAddBuffer(builder, stored.buffer)
        if name:
            schema.TensorAddName(builder, name)
        if scale:
            schema.TensorAddQuantization(builder, scale)
        return int(schema.TensorEnd(builder))

    def _quantisation(self, quantisation: Quantisation) -> int:
        builder, scales = self._builder, np.array(quantisation.scales, dtype=np.float32)
        zeros = np.full(len(scales), quantisation.zero_point, dtype=np.int64)
        scale = self._once(scales.tobytes(), lambda: builder.CreateNumpyVector(scales))
        zero_point = self._once(zeros.tobytes(), lambda: builder.CreateNumpyVector(zeros))
        schema.QuantizationParametersStart(builder)
        schema.QuantizationParametersAddScale(builder, scale)
        schema.QuantizationParametersAddZeroPoint(builder, zero_point)
        return int(schema.QuantizationParametersEnd(builder))

    def _operator(self, operator: Operator, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> int:
        builder = self._builder
        code = self._codes.setdefault((operator.name, operator.version), len(self._codes))
        taken, given = self._ints(inputs), self._ints(outputs)
        options = self._options(operator.options) if operator.options is not None else 0
        schema.OperatorStart(builder)
        schema.OperatorAddOpcodeIndex(builder, code)
        schema.OperatorAddInputs(builder, taken)
        schema.OperatorAddOutputs(builder, given)
        if operator.options is not None:
            schema.OperatorAddBuiltinOptionsType(builder, getattr(schema.BuiltinOptions, operator.options.table))
            schema.OperatorAddBuiltinOptions(builder, options)
        return int(schema.OperatorEnd(builder))

    def _options(self, options: Options) -> int:
        def write() -> int:
            table = getattr(schema, f"{options.table}T")()
            for field, value in options.fields:
                setattr(table, field, np.array(value, dtype=np.float32) if isinstance(value, tuple) else value)
            return int(table.Pack(self._builder))

        return self._once(options, write)

    def _code(self, name: str, version: int) -> int:
        entry = schema.OperatorCodeT()
        entry.builtinCode, entry.version = getattr(schema.BuiltinOperator, name), version
        entry.deprecatedBuiltinCode = min(entry.builtinCode, _OLD_CODES_END)
        return int(entry.Pack(self._builder))

    def _ints(self, values: tuple[int, ...]) -> int:
        return self._once(values, lambda: self._builder.CreateNumpyVector(np.array(values, dtype=np.int32)))

    def _once(self, key: Hashable, write: Callable[[], int]) -> int:
        if key not in self._shared:
            self._shared[key] = write()
        return self._shared[key]

    def _offsets(self, offsets: list[int]) -> int:
        builder = self._builder
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())
