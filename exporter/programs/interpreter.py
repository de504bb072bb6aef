"""Runs a program with numpy: what each operation means. Targets are compared with it, int8 is calibrated by it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exporter.models.model import Rows
from exporter.programs.program import (
    LEAST_NORM,
    Affine,
    ArgMax,
    Average,
    Bins,
    Clip,
    Columns,
    Complement,
    Coupling,
    Curve,
    CurveName,
    Fill,
    Flags,
    Interpolate,
    Join,
    Kernel,
    Linear,
    Lookup,
    Normalise,
    OneHot,
    Operation,
    OvrOfOvo,
    Product,
    Program,
    Proportions,
    Row,
    Scale,
    Softmax,
    Trees,
    sources_of,
)

Floats = NDArray[np.float64]

# libsvm's numbers (svm.cpp, multiclass_probability).
COUPLING_LEAST_PAIR: Final = 1e-7
COUPLING_LEAST_ROUNDS: Final = 100
COUPLING_ERROR: Final = 0.005

CURVES: Final[Mapping[CurveName, Callable[[Floats], Floats]]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "tanh": np.tanh,
    "logistic": lambda x: 1.0 / (1.0 + np.exp(-np.clip(x, -700.0, 700.0))),
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "square": np.square,
    "abs": np.abs,
    "reciprocal": np.reciprocal,
    "log1p": np.log1p,
    "expm1": np.expm1,
}


def run_program(program: Program, rows: Rows) -> Rows:
    """Score rows ``(n, n_features) float32``; returns ``(n, n_outputs) float32``."""
    return trace_program(program, rows)[program.output]


def trace_program(program: Program, rows: Rows) -> tuple[Rows, ...]:
    """Return the vector of every operation, ``(n, width) float32``, in the order of the program."""
    traced: list[Rows] = []
    with np.errstate(all="ignore"):  # NaN and infinities are answers here as on a device
        for node in program.nodes:
            operation = node.operation
            if isinstance(operation, Row):
                traced.append(np.ascontiguousarray(rows, dtype=np.float32))
                continue
            traced.append(apply_operation(operation, *(traced[place] for place in sources_of(operation))))
    return tuple(traced)


def apply_operation(operation: Operation, *vectors: Rows) -> Rows:
    """Return the vector ``(n, width) float32`` that an operation other than the row makes of its sources' vectors."""
    return np.asarray(_MEANINGS[type(operation)](operation, *vectors), dtype=np.float32)


def _is(values: Rows, marker: float) -> NDArray[np.bool_]:
    return np.isnan(values) if np.isnan(marker) else values == np.float32(marker)


def _scale(operation: Scale, values: Rows) -> Floats:
    centred = (values.astype(np.float64) - operation.means).astype(np.float32)
    scaled: Floats = centred.astype(np.float64) / operation.scales
    return scaled


def _affine(operation: Affine, values: Rows) -> Floats:
    multiplied = (values.astype(np.float64) * operation.factors).astype(np.float32)
    shifted: Floats = multiplied.astype(np.float64) + operation.offsets
    return shifted


def _one_hot(operation: OneHot, values: Rows) -> Floats:
    groups = [np.any([_is(values[:, 0], key) for key in group], axis=0) for group in operation.groups]
    return np.stack(groups, axis=1).astype(np.float64)


def _lookup(operation: Lookup, values: Rows) -> Floats:
    found = np.full(values.shape, operation.default)
    for key, value in zip(operation.keys, operation.values, strict=True):
        found[_is(values, key)] = value
    return found


def _bins(operation: Bins, values: Rows) -> Floats:
    columns = zip(operation.edges, values.T, strict=True)
    # NaN sorts behind every edge.
    found = [np.searchsorted(np.array(edges, dtype=np.float32), column, side="right") for edges, column in columns]
    return np.stack(found, axis=1).astype(np.float64)


def _kernel(operation: Kernel, values: Rows) -> Floats:
    exact, vectors = values.astype(np.float64), operation.vectors
    if operation.kind == "rbf":
        squares = np.square(exact[:, np.newaxis, :] - vectors).sum(axis=2)
        return np.asarray(np.exp(-operation.gamma * squares))
    products: Floats = exact @ vectors.T
    if operation.kind == "linear":
        return products
    inner = operation.gamma * products + operation.coef0
    return np.asarray(inner**operation.degree if operation.kind == "poly" else np.tanh(inner))


def _softmax(_: Softmax, values: Rows) -> Floats:
    powers = np.exp(values.astype(np.float64) - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _proportions(_: Proportions, values: Rows) -> Floats:
    exact = values.astype(np.float64)
    sums = exact.sum(axis=1, keepdims=True)
    return np.where(sums == 0, 1.0 / values.shape[1], exact / np.where(sums == 0, 1.0, sums))


def _normalise(operation: Normalise, values: Rows) -> Floats:
    exact = values.astype(np.float64)
    norms = {
        "l1": lambda: np.abs(exact).sum(axis=1),
        "l2": lambda: np.sqrt(np.square(exact).sum(axis=1)),
        "max": lambda: np.abs(exact).max(axis=1),
    }[operation.norm]()
    return np.asarray(exact / np.where(norms < LEAST_NORM, 1.0, norms)[:, np.newaxis])


def _interpolate(operation: Interpolate, values: Rows) -> Floats:
    columns = zip(values.T, operation.xs, operation.ys, strict=True)
    return np.stack([np.interp(column.astype(np.float64), xs, ys) for column, xs, ys in columns], axis=1)


def _arg_max(_: ArgMax, values: Rows) -> Floats:
    chosen: Floats = np.eye(values.shape[1])[np.argmax(values, axis=1)]
    return chosen


def _ovr_of_ovo(operation: OvrOfOvo, values: Rows) -> Floats:
    votes = np.zeros((len(values), operation.n_classes))
    confidence = np.zeros_like(votes)
    for pair, (first, second) in enumerate(pairs_of(operation.n_classes)):
        decision = values[:, pair].astype(np.float64)
        confidence[:, first] -= decision
        confidence[:, second] += decision
        votes[:, first] += decision <= 0
        votes[:, second] += decision > 0
    return np.asarray(votes + confidence / (3 * (np.abs(confidence) + 1)))


def _coupling(operation: Coupling, values: Rows) -> Floats:
    return np.array([_couple(operation.n_classes, row) for row in values.astype(np.float64)])


def _couple(n_classes: int, pairs: Floats) -> Floats:
    r = np.zeros((n_classes, n_classes))
    for value, (i, j) in zip(
        np.clip(pairs, COUPLING_LEAST_PAIR, 1 - COUPLING_LEAST_PAIR), pairs_of(n_classes), strict=True
    ):
        r[i, j], r[j, i] = value, 1 - value
    q = -r.T * r
    np.fill_diagonal(q, np.square(r).sum(axis=0))
    p = np.full(n_classes, 1.0 / n_classes)
    for _ in range(max(COUPLING_LEAST_ROUNDS, n_classes)):
        qp = q @ p
        pqp = float(p @ qp)
        if np.max(np.abs(qp - pqp)) < COUPLING_ERROR / n_classes:
            break
        for t in range(n_classes):
            step = (-qp[t] + pqp) / q[t, t]
            p[t] += step
            pqp = (pqp + step * (step * q[t, t] + 2 * qp[t])) / (1 + step) ** 2
            qp = (qp + step * q[t]) / (1 + step)
            p /= 1 + step
    return p


def pairs_of(n_classes: int) -> tuple[tuple[int, int], ...]:
    """Return the pairs of classes, (0, 1), (0, 2), …, (1, 2), …."""
    return tuple((i, j) for i in range(n_classes) for j in range(i + 1, n_classes))


# Operations by type: a program is data, and a new operation is one line here and one in each target.
_MEANINGS: Final[Mapping[type[Any], Callable[..., Any]]] = {
    Columns: lambda operation, values: values[:, list(operation.places)],
    Join: lambda _, *vectors: np.concatenate(vectors, axis=1),
    Fill: lambda operation, values: np.where(_is(values, operation.marker), operation.values, values),
    Flags: lambda operation, values: _is(values, operation.marker),
    Scale: _scale,
    Affine: _affine,
    Clip: lambda operation, values: np.clip(values, operation.low, operation.high),
    Curve: lambda operation, values: CURVES[operation.kind](values.astype(np.float64)),
    OneHot: _one_hot,
    Lookup: _lookup,
    Bins: _bins,
    Linear: lambda operation, values: values.astype(np.float64) @ operation.weights + operation.bias,
    Kernel: _kernel,
    Trees: lambda operation, values: operation.ensemble.score(values),
    Softmax: _softmax,
    Complement: lambda _, values: np.concatenate([1 - values.astype(np.float64), values], axis=1),
    Proportions: _proportions,
    Average: lambda operation, *vectors: sum(
        w * v.astype(np.float64) for w, v in zip(operation.weights, vectors, strict=True)
    ),
    Product: lambda _, first, second: first.astype(np.float64) * second,
    Normalise: _normalise,
    Interpolate: _interpolate,
    ArgMax: _arg_max,
    OvrOfOvo: _ovr_of_ovo,
    Coupling: _coupling,
}
