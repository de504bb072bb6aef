"""Works out how an ONNX graph from outside takes rows and what its answer means.

A row is flat: ``(n, n_features)``. Inputs of other shapes are fed by reshaping it; several inputs take it piece by
piece, in their order. The answer is probabilities, scores that a softmax or a logistic function makes probabilities
of, or a value. What cannot be told is refused, with what to do.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from exporter.errors import ModelError

Asked: TypeAlias = Literal["probabilities", "logits"]
# In the order of the words: shares of 1 a class; scores for softmax; their logarithms; one number for the second of two
# classes, as its probability or as a score for the logistic function; a number.
Meaning: TypeAlias = Literal["probabilities", "logits", "logarithms", "probability", "logit", "value"]
Label: TypeAlias = int | str
Run: TypeAlias = Callable[[tuple["Intake", ...], str], NDArray[np.float64]]

_NUMBERS: Final[Mapping[int, type[np.generic]]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT64: np.int64,
    TensorProto.INT32: np.int32,
    TensorProto.BOOL: np.bool_,
}
_FLOATS: Final = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16})
_MAX_FEATURES: Final = 1 << 20
# How far the sum of probabilities may be from 1.
_SUM_ERROR: Final = 1e-3
_PASSING: Final = frozenset({"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"})
_TENSOR_RANK: Final = 2


@dataclass(frozen=True, slots=True)
class Intake:
    """One input of a graph: it takes the columns from `start` on, reshaped.

    Attributes:
        shape: of one row, without the axis of rows.
        elem_type: of ONNX.
        has_one_row: it is written for exactly one row.
    """

    name: str
    start: int
    shape: tuple[int, ...]
    elem_type: int
    has_one_row: bool

    @property
    def width(self) -> int:
        """Columns that it takes."""
        return int(np.prod(self.shape, dtype=np.int64))

    def feed(self, rows: NDArray[np.float32]) -> NDArray[Any]:
        """Return what it is fed for rows ``(n, n_features)``."""
        piece = rows[:, self.start : self.start + self.width].reshape(len(rows), *self.shape)
        return piece.astype(_NUMBERS[self.elem_type])


@dataclass(frozen=True, slots=True)
class Contract:
    """How to ask a graph, and how to read its answer.

    Attributes:
        answer: name of the value that is the answer, one or several numbers a row.
        labels: of the classes; empty for a value.
    """

    intakes: tuple[Intake, ...]
    answer: str
    meaning: Meaning
    labels: tuple[Label, ...]

    @property
    def n_features(self) -> int:
        """Columns of a row."""
        return sum(intake.width for intake in self.intakes)

    @property
    def n_outputs(self) -> int:
        """Numbers that are answered for a row."""
        return len(self.labels) or 1


def contract_of(graph: onnx.GraphProto, run: Run, n_features: int | None, asked: Asked | None, where: str) -> Contract:
    """Return the contract of a graph.

    Args:
        graph: checked.
        run: asks the graph for one value on rows that are typical, or at least finite: ``(n, k) float64``.
        n_features: columns of the rows, if known; settles an axis that is left open.
        asked: what the answer is, where people say so; None: it is found out.
        where: names the file in messages.

    Raises:
        ModelError: inputs that a row cannot feed, or an answer whose meaning cannot be told.
    """
    intakes = _intakes_of(graph, n_features, where)
    answer, has_label = _answer_of(graph, where)
    numbers = run(intakes, answer)
    meaning = _meaning_of(numbers, _last_operator(graph, answer), asked, has_label=has_label)
    if meaning == "value":
        return Contract(intakes, answer, meaning, ())
    n_classes = 2 if meaning in {"probability", "logit"} else numbers.shape[1]
    labels = _labels_of(graph)
    return Contract(intakes, answer, meaning, labels if len(labels) == n_classes else tuple(range(n_classes)))


def _intakes_of(graph: onnx.GraphProto, n_features: int | None, where: str) -> tuple[Intake, ...]:
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    if not inputs:
        raise ModelError(f"{where}: takes no input")
    intakes: list[Intake] = []
    start = 0
    for value in inputs:
        known = n_features if len(inputs) == 1 else None
        intake = _intake_of(value, start, known, where)
        intakes.append(intake)
        start += intake.width
    if n_features is not None and start != n_features:
        raise ModelError(f"{where}: takes {start} numbers a row, the rows have {n_features} columns")
    if start > _MAX_FEATURES:
        raise ModelError(f"{where}: takes {start} numbers a row, at most {_MAX_FEATURES} are supported")
    return tuple(intakes)


def _intake_of(value: onnx.ValueInfoProto, start: int, n_features: int | None, where: str) -> Intake:
    if not value.type.HasField("tensor_type") or value.type.tensor_type.elem_type not in _NUMBERS:
        raise ModelError(f"{where}: input `{value.name}` takes no numbers: a device hands over numbers only")
    tensor = value.type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
    if not tensor.HasField("shape") or len(dims) < _TENSOR_RANK:
        raise ModelError(f"{where}: input `{value.name}` has shape {dims}, not (rows, …); add an axis of rows in front")
    rows, *shape = dims
    if rows not in {-1, 1}:
        raise ModelError(
            f"{where}: input `{value.name}` takes {rows} rows at a time; export it with the first axis open"
        )
    unknown = [axis for axis, size in enumerate(shape) if size < 0]
    if len(unknown) == 1 and n_features is not None:
        others = int(np.prod([size for size in shape if size >= 0], dtype=np.int64))
        shape[unknown[0]] = n_features // others if others and n_features % others == 0 else -1
    if any(size < 1 for size in shape):
        raise ModelError(
            f"{where}: input `{value.name}` has shape {_written(value)}: export it with every axis but the first fixed"
        )
    return Intake(value.name, start, tuple(shape), tensor.elem_type, rows == 1)


def _written(value: onnx.ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    return f"({', '.join(str(d.dim_value) if d.HasField('dim_value') else d.dim_param or '?' for d in dims)})"


def _answer_of(graph: onnx.GraphProto, where: str) -> tuple[str, bool]:
    """Return the value that is the answer, and whether the graph answers a label beside it."""
    maps = [output for output in graph.output if output.type.HasField("sequence_type")]
    tensors = [output for output in graph.output if output.type.HasField("tensor_type")]
    floats = [output for output in tensors if output.type.tensor_type.elem_type in _FLOATS]
    has_label = len(floats) < len(tensors)
    if len(maps) == 1 and not floats:
        # A ZipMap only wraps each row of its input into a dictionary.
        for node in graph.node:
            if node.op_type == "ZipMap" and node.output[0] == maps[0].name:
                return node.input[0], has_label
    if len(floats) != 1 or maps:
        found = ", ".join(f"`{output.name}`" for output in graph.output)
        raise ModelError(f"{where}: answers {found}; exactly one answer of floating-point numbers is needed")
    return floats[0].name, has_label


def _last_operator(graph: onnx.GraphProto, answer: str) -> str:
    """Return the operator that gives a value, seen through those that only pass numbers on."""
    makers = {output: node for node in graph.node for output in node.output}
    node = makers.get(answer)
    while node is not None and node.op_type in _PASSING:
        node = makers.get(node.input[0])
    return node.op_type if node is not None else ""


def _meaning_of(numbers: NDArray[np.float64], last: str, asked: Asked | None, *, has_label: bool) -> Meaning:
    is_share = bool(((numbers >= -_SUM_ERROR) & (numbers <= 1 + _SUM_ERROR)).all())
    if numbers.shape[1] == 1:
        if asked is not None:
            return "logit" if asked == "logits" else "probability"
        if last == "Sigmoid" or (has_label and is_share):
            return "probability"
        return "logit" if has_label else "value"
    if asked is not None:
        return asked
    sums_to_1 = is_share and bool((np.abs(numbers.sum(axis=1) - 1) < _SUM_ERROR).all())
    if last in {"Softmax", "Sigmoid"} or sums_to_1:
        return "probabilities"
    return "logarithms" if last == "LogSoftmax" else "logits"


def _labels_of(graph: onnx.GraphProto) -> tuple[Label, ...]:
    """Return the labels that a classifier of ai.onnx.ml names, or that scikit-learn's converter stores."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in {"classlabels_int64s", "classlabels_ints"} and attribute.ints:
                return tuple(attribute.ints)
            if attribute.name == "classlabels_strings" and attribute.strings:
                return tuple(text.decode(errors="replace") for text in attribute.strings)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "ArrayFeatureExtractor" and node.input[0] in stored:
            values = numpy_helper.to_array(stored[node.input[0]]).reshape(-1).tolist()
            return tuple(v.decode(errors="replace") if isinstance(v, bytes) else v for v in values)
    return ()
