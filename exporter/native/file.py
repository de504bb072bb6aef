"""The file of the variant ``native``: a program as a table of operations, see docs/native-format.md.

The table holds data and no code; `edge_agent.engine` reads it. Trees are written by `exporter.native.trees`.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np

from exporter.errors import UnsupportedError
from exporter.native.trees import LeafCoding, encode_trees
from exporter.programs.program import (
    Affine,
    ArgMax,
    Average,
    Bins,
    Clip,
    Columns,
    Complement,
    Coupling,
    Curve,
    Fill,
    Flags,
    Interpolate,
    Join,
    Kernel,
    Linear,
    Lookup,
    Node,
    Normalise,
    OneHot,
    OvrOfOvo,
    Product,
    Program,
    Proportions,
    Row,
    Scale,
    Softmax,
    Trees,
    pruned,
    sources_of,
)

MAGIC: Final = b"FLNATIVE"
VERSION: Final = 1

# The engine's own limits (table.h): a model beyond them is refused here, by the name of its step.
MOST_OPERATIONS: Final = 4096
MOST_WIDTH: Final = 1 << 20
MOST_DEGREE: Final = 64
MOST_INT8_INPUTS: Final = 1 << 16

# Up to this number, weights are kept in float64: linear models of unscaled columns lose digits otherwise.
FEW_WEIGHTS: Final = 1024
# Fewer than these are not worth the loss.
LEAST_INT8_WEIGHTS: Final = 256
_FLOAT32, _FLOAT64, _INT8 = 0, 1, 2
_INT8_MAX: Final = 127.0

_KINDS: Final = (
    Row, Columns, Join, Fill, Flags, Scale, Affine, Clip, Curve, OneHot, Lookup, Bins, Linear, Kernel, Trees, Softmax,
    Complement, Proportions, Average, Product, Normalise, Interpolate, ArgMax, OvrOfOvo, Coupling,
)  # fmt: skip
_CURVES: Final = (
    *("relu", "tanh", "logistic", "exp", "log", "sqrt", "square", "abs", "reciprocal"),
    *("log1p", "expm1"),
)
_KERNELS: Final = ("linear", "rbf", "poly", "sigmoid")
_NORMS: Final = ("l1", "l2", "max")


def encode_program(program: Program, *, leaves: LeafCoding = "float32", int8: bool = False) -> bytes:
    """Return a program as the bytes of a model table; the same program gives the same bytes.

    Args:
        program: what it answers is the table's answer.
        leaves: how leaves of trees are stored: exact to float32, or as whole steps of 16 or 8 bits.
        int8: whether the weights of linear layers are stored as int8, and their inputs quantised as they come.

    Raises:
        UnsupportedError: a step that the engine's limits forbid, named.
    """
    program = pruned(program)
    if len(program.nodes) > MOST_OPERATIONS:
        raise UnsupportedError("model", f"{len(program.nodes)} operations, the native engine takes {MOST_OPERATIONS}")
    records = b"".join(_record(node, leaves=leaves, int8=int8) for node in program.nodes)
    counts = struct.pack("<3I", program.n_features, len(program.nodes), program.n_outputs)
    length = len(MAGIC) + 12 + len(counts) + len(records)
    checked = counts + records
    return MAGIC + struct.pack("<3I", VERSION, length, zlib.crc32(checked)) + checked


def _record(node: Node, *, leaves: LeafCoding, int8: bool) -> bytes:
    operation = node.operation
    if node.width > MOST_WIDTH:
        raise _refused(node, f"{node.width} columns, the native engine takes {MOST_WIDTH}")
    if isinstance(operation, Trees):
        payload = _encoded_trees(node, operation, leaves)
    elif isinstance(operation, Linear):
        payload = _linear(operation, int8=int8 and operation.weights.size >= LEAST_INT8_WEIGHTS)
    elif isinstance(operation, Kernel) and operation.degree > MOST_DEGREE:
        raise _refused(node, f"a kernel of degree {operation.degree}, the native engine takes {MOST_DEGREE}")
    elif isinstance(operation, _WITHOUT_PARTS):
        payload = b""
    else:
        payload = _PAYLOADS[type(operation)](operation)
    sources = sources_of(operation)
    head = struct.pack("<4I", _KINDS.index(type(operation)), node.width, len(sources), len(payload))
    return head + _u32(sources) + payload


def _encoded_trees(node: Node, operation: Trees, leaves: LeafCoding) -> bytes:
    try:
        return encode_trees(operation.ensemble, leaves)
    except ValueError as error:
        raise _refused(node, str(error)) from error


def _refused(node: Node, why: str) -> UnsupportedError:
    return UnsupportedError(node.step, f"step `{node.step}`: {node.kind} is not supported for native: {why}")


def _u32(values: Iterable[int]) -> bytes:
    return np.array(tuple(values), dtype="<u4").tobytes()


def _f32(values: Any) -> bytes:  # noqa: ANN401 - whatever numpy takes
    return np.asarray(values, dtype=np.float64).astype("<f4").tobytes()


def _f64(values: Any) -> bytes:  # noqa: ANN401 - as above
    return np.asarray(values, dtype="<f8").tobytes()


def _ragged(parts: Iterable[Iterable[float]], encode: Callable[[Any], bytes]) -> bytes:
    rows = [tuple(part) for part in parts]
    return _u32(len(row) for row in rows) + encode([number for row in rows for number in row])


def _linear(operation: Linear, *, int8: bool) -> bytes:
    bias = _f64(operation.bias)
    if int8 and operation.weights.shape[0] <= MOST_INT8_INPUTS:
        scales = np.max(np.abs(operation.weights), axis=0) / _INT8_MAX
        scales = np.where(scales > 0, scales, 1.0).astype(np.float32)
        stored = np.clip(np.round(operation.weights / scales.astype(np.float64)), -_INT8_MAX, _INT8_MAX)
        return _u32([_INT8]) + bias + _f32(scales) + stored.T.astype(np.int8).tobytes()
    if operation.weights.size <= FEW_WEIGHTS:
        return _u32([_FLOAT64]) + bias + _f64(operation.weights)
    return _u32([_FLOAT32]) + bias + _f32(operation.weights)


def _lookup(operation: Lookup) -> bytes:
    numbers = (operation.default, *operation.keys, *operation.values)
    return _u32([len(operation.keys)]) + _f32(numbers)


def _kernel(operation: Kernel) -> bytes:
    kind = _u32([_KERNELS.index(operation.kind), operation.degree])
    return kind + _f64([operation.gamma, operation.coef0]) + _f32(operation.vectors)


def _interpolate(operation: Interpolate) -> bytes:
    xs = [x for column in operation.xs for x in column.tolist()]
    ys = [y for column in operation.ys for y in column.tolist()]
    return _u32(len(column) for column in operation.xs) + _f64(xs) + _f64(ys)


# What stands in each record behind its sources.
_PAYLOADS: Final[Mapping[type[Any], Callable[[Any], bytes]]] = {
    Columns: lambda o: _u32(o.places),
    Fill: lambda o: _f32([o.marker, *o.values]),
    Flags: lambda o: _f32([o.marker]),
    Scale: lambda o: _f64(o.means) + _f64(o.scales),
    Affine: lambda o: _f64(o.factors) + _f64(o.offsets),
    Clip: lambda o: _f32(o.low) + _f32(o.high),
    Curve: lambda o: _u32([_CURVES.index(o.kind)]),
    OneHot: lambda o: _ragged(o.groups, _f32),
    Lookup: _lookup,
    Bins: lambda o: _ragged(o.edges, _f32),
    Kernel: _kernel,
    Average: lambda o: _f64(o.weights),
    Normalise: lambda o: _u32([_NORMS.index(o.norm)]),
    Interpolate: _interpolate,
}
# Their sources say everything.
_WITHOUT_PARTS: Final = (Row, Join, Softmax, Complement, Proportions, Product, ArgMax, OvrOfOvo, Coupling)
