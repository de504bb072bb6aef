"""A model as a value: the few operations that every form of it is written from.

A *program* is a list of operations over vectors. Operation 0 is the row as a device encodes it (NaN where missing, a
category as its index); each other one takes vectors that stand before it and gives one vector. Vectors are float32;
inside an operation an implementation may compute with more.

`exporter.reading` writes programs from fitted models; the targets (ONNX, TFLite, native, C) write files from programs,
and refuse by the name of its step what they cannot express. `exporter.programs.interpreter` runs one with numpy: the
meaning of every operation, written down once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exporter.programs.ensemble import TreeEnsemble

Floats = NDArray[np.float64]
CurveName = Literal["relu", "tanh", "logistic", "exp", "log", "sqrt", "square", "abs", "reciprocal", "log1p", "expm1"]
KernelName = Literal["linear", "rbf", "poly", "sigmoid"]
NormName = Literal["l1", "l2", "max"]

LEAST_NORM: Final = 10.0 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True)
class Row:
    """The row itself; only operation 0."""

    n_features: int


@dataclass(frozen=True, slots=True)
class Columns:
    """Some columns of a vector, in the order of ``places``; a column may come twice."""

    of: int
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Join:
    """Vectors one behind the other."""

    of: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Fill:
    """``values (w,)`` where ``x`` is ``marker``; a marker of NaN stands for missing values."""

    of: int
    marker: float
    values: Floats


@dataclass(frozen=True, slots=True)
class Flags:
    """1 where ``x`` is ``marker`` (NaN: missing), else 0."""

    of: int
    marker: float


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """``(x - means) / scales``, both ``(w,)``: each step in float64, then rounded to float32, as scikit-learn does."""

    of: int
    means: Floats
    scales: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """``x * factors + offsets``, both ``(w,)``: each of the two steps in float64, rounded to float32."""

    of: int
    factors: Floats
    offsets: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """``x`` within ``low`` and ``high``, both ``(w,)``, which may be infinite; NaN stays NaN."""

    of: int
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class Curve:
    """A function of each number; ``log``, ``log1p`` and ``sqrt`` of what they are not defined for give NaN."""

    of: int
    kind: CurveName


@dataclass(frozen=True, slots=True)
class OneHot:
    """Of a vector of one column: output i is 1 where ``x`` is one of ``groups[i]`` (NaN may be one), else 0."""

    of: int
    groups: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Lookup:
    """Of a vector of one column: ``values[i]`` where ``x`` is ``keys[i]`` (NaN may be one), else ``default``."""

    of: int
    keys: tuple[float, ...]
    values: tuple[float, ...]
    default: float


@dataclass(frozen=True, slots=True)
class Bins:
    """For each column, how many of its ``edges`` (ascending, exact in float32) are not above ``x``; NaN: all."""

    of: int
    edges: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """``x @ weights + bias``; weights ``(n_in, n_out)``, bias ``(n_out,)``."""

    of: int
    weights: Floats
    bias: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """The kernel between ``x`` and each of ``vectors (m, w)``, as in scikit-learn.

    linear ``x·v``; rbf ``exp(-gamma |x - v|²)``; poly ``(gamma x·v + coef0) ** degree``; sigmoid ``tanh(gamma x·v +
    coef0)``.
    """

    of: int
    vectors: Floats
    kind: KernelName
    gamma: float
    coef0: float
    degree: int


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """A tree ensemble."""

    of: int
    ensemble: TreeEnsemble


@dataclass(frozen=True, slots=True)
class Softmax:
    """``exp(x) / sum(exp(x))``."""

    of: int


@dataclass(frozen=True, slots=True)
class Complement:
    """Of one column: ``(1 - x, x)``."""

    of: int


@dataclass(frozen=True, slots=True)
class Proportions:
    """``x / sum(x)``; ``1 / w`` each where the sum is 0."""

    of: int


@dataclass(frozen=True, slots=True)
class Average:
    """``sum(weights[i] * vector i)`` over vectors of one width."""

    of: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """Two vectors of one width, multiplied number by number."""

    of: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Normalise:
    """``x`` by its norm: l1 ``sum(|x|)``, l2 ``sqrt(sum(x²))``, max ``max(|x|)``.

    A vector whose norm is below `LEAST_NORM` stays: scikit-learn takes it for zero, in rows of float32.
    """

    of: int
    norm: NormName


@dataclass(frozen=True, slots=True, eq=False)
class Interpolate:
    """Column by column: linear between the knots ``(xs[c], ys[c])``, constant outside; xs ascend strictly."""

    of: int
    xs: tuple[Floats, ...]
    ys: tuple[Floats, ...]


@dataclass(frozen=True, slots=True)
class ArgMax:
    """1 for the greatest number, the first of equals; else 0."""

    of: int


@dataclass(frozen=True, slots=True)
class OvrOfOvo:
    """One score a class from one decision a pair of classes, as scikit-learn's ``_ovr_decision_function``.

    The pairs are (0, 1), (0, 2), …, (1, 2), …; a decision above 0 is a vote for the *second* class of its pair.
    """

    of: int
    n_classes: int


@dataclass(frozen=True, slots=True)
class Coupling:
    """Probabilities of the classes from probabilities of pairs, by the iteration of libsvm.

    The input is, for each pair (i, j) in the order of `OvrOfOvo`, the probability of i against j. The method is the
    second of Wu, Lin and Weng, Probability Estimates for Multi-class Classification by Pairwise Coupling (JMLR 5,
    2004), with libsvm's bounds: pairs clipped to [1e-7, 1 - 1e-7], at most max(100, n_classes) rounds, until no error
    is above 0.005 / n_classes.
    """

    of: int
    n_classes: int


Operation: TypeAlias = (
    Row
    | Columns
    | Join
    | Fill
    | Flags
    | Scale
    | Affine
    | Clip
    | Curve
    | OneHot
    | Lookup
    | Bins
    | Linear
    | Kernel
    | Trees
    | Softmax
    | Complement
    | Proportions
    | Average
    | Product
    | Normalise
    | Interpolate
    | ArgMax
    | OvrOfOvo
    | Coupling
)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation of a program.

    Attributes:
        width: numbers in its vector.
        step: name of the pipeline's step that it comes from.
        kind: class of that step, for messages.
    """

    operation: Operation
    width: int
    step: str
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Operations in the order in which they run; the answer is the vector of `output`."""

    nodes: tuple[Node, ...]
    output: int

    @property
    def n_features(self) -> int:
        """Columns of a row."""
        return self.nodes[0].width

    @property
    def n_outputs(self) -> int:
        """Numbers that the program answers for a row."""
        return self.nodes[self.output].width


class ProgramBuilder:
    """Writes a program, operation by operation; a vector is named by its place."""

    def __init__(self, n_features: int) -> None:
        self._nodes = [Node(Row(n_features), n_features, "row", "Row")]
        self._step, self._kind = "model", "model"

    @contextmanager
    def step(self, name: str, kind: str) -> Iterator[None]:
        """Name the step of the pipeline that the next operations come from."""
        before = self._step, self._kind
        self._step, self._kind = name, kind
        try:
            yield
        finally:
            self._step, self._kind = before

    def add(self, operation: Operation) -> int:
        """Add an operation and return its place.

        Raises:
            ValueError: it takes vectors that are not there, or whose widths do not fit it.
        """
        if any(not 0 <= place < len(self._nodes) for place in sources_of(operation)):
            raise ValueError(f"{type(operation).__name__} takes {sources_of(operation)} of {len(self._nodes)} vectors")
        widths = [self._nodes[place].width for place in sources_of(operation)]
        self._nodes.append(Node(operation, _width_of(operation, widths), self._step, self._kind))
        return len(self._nodes) - 1

    def width(self, place: int) -> int:
        """Return the width of a vector."""
        return self._nodes[place].width

    def operation(self, place: int) -> Operation:
        """Return the operation that gives a vector."""
        return self._nodes[place].operation

    def build(self, output: int) -> Program:
        """Return the program that answers the vector ``output``, without operations that it does not need."""
        return pruned(Program(tuple(self._nodes), output))


def sources_of(operation: Operation) -> tuple[int, ...]:
    """Return the places of the vectors that an operation takes."""
    if isinstance(operation, Row):
        return ()
    return operation.of if isinstance(operation.of, tuple) else (operation.of,)


def moved(operation: Operation, places: dict[int, int]) -> Operation:
    """Return the operation with its sources renamed."""
    if isinstance(operation, Row):
        return operation
    of = operation.of
    renamed: Any = tuple(places[place] for place in of) if isinstance(of, tuple) else places[of]
    return replace(operation, of=renamed)


def pruned(program: Program) -> Program:
    """Return the program without operations that its answer does not need."""
    wanted = {0, program.output}
    for place in range(len(program.nodes) - 1, 0, -1):
        if place in wanted:
            wanted.update(sources_of(program.nodes[place].operation))
    places = {old: new for new, old in enumerate(sorted(wanted))}
    nodes = [program.nodes[old] for old in sorted(wanted)]
    return Program(
        tuple(Node(moved(node.operation, places), node.width, node.step, node.kind) for node in nodes),
        places[program.output],
    )


def _width_of(operation: Operation, widths: list[int]) -> int:  # noqa: C901, PLR0911, PLR0912 - one line an operation
    """Return the width of an operation's vector; raise ValueError when its parts do not fit its sources."""

    def expect(*found: int) -> None:
        if any(width != widths[0] for width in (*found, *widths)):
            raise ValueError(f"{type(operation).__name__} of widths {widths} has parts of widths {list(found)}")

    match operation:
        case Row(n_features):
            return n_features
        case Columns(_, places):
            if not places or min(places) < 0 or max(places) >= widths[0]:
                raise ValueError(f"Columns takes {places} of {widths[0]}")
            return len(places)
        case Join():
            return sum(widths)
        case Fill():
            expect(len(operation.values))
        case Scale():
            expect(len(operation.means), len(operation.scales))
        case Affine():
            expect(len(operation.factors), len(operation.offsets))
        case Clip():
            expect(len(operation.low), len(operation.high))
        case Bins():
            expect(len(operation.edges))
        case Interpolate():
            expect(len(operation.xs), len(operation.ys))
        case OneHot(_, groups):
            expect(1)
            return len(groups)
        case Lookup() | Complement():
            expect(1)
            return 2 if isinstance(operation, Complement) else 1
        case Linear():
            expect(operation.weights.shape[0])
            if operation.bias.shape != operation.weights.shape[1:]:
                raise ValueError(f"Linear with weights {operation.weights.shape} and bias {operation.bias.shape}")
            return len(operation.bias)
        case Kernel():
            expect(operation.vectors.shape[1])
            return len(operation.vectors)
        case Trees():
            expect(operation.ensemble.n_features)
            return operation.ensemble.n_outputs
        case Average() | Product():
            expect()
        case OvrOfOvo(_, n_classes) | Coupling(_, n_classes):
            expect(n_classes * (n_classes - 1) // 2)
            return n_classes
        case _:
            pass
    return widths[0]
