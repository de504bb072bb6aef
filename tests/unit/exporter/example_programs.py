"""Small programs for every operation, with rows that hit its edges: what each target must express alike."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from exporter.models.model import Rows
from exporter.programs.ensemble import ALL_OUTPUTS, LEAF, NUMERIC, CategoryTest, TreeEnsemble
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
    CurveName,
    Fill,
    Flags,
    Interpolate,
    Join,
    Kernel,
    KernelName,
    Linear,
    Lookup,
    Normalise,
    NormName,
    OneHot,
    Operation,
    OvrOfOvo,
    Product,
    Program,
    ProgramBuilder,
    Proportions,
    Scale,
    Softmax,
    Trees,
)

NAN: Final = float("nan")
WIDTH: Final = 4


def chain(n_features: int, *operations: Callable[[int], Operation]) -> Program:
    """Return a program of operations one behind the other; each is made from the place of its source."""
    builder = ProgramBuilder(n_features)
    place = 0
    for make in operations:
        place = builder.add(make(place))
    return builder.build(place)


def joined(*makes: Callable[[int], Operation]) -> Program:
    """Return a program that joins several operations on the row."""
    builder = ProgramBuilder(WIDTH)
    return builder.build(builder.add(Join(tuple(builder.add(make(0)) for make in makes))))


def plain_rows(n: int = 60, width: int = WIDTH, seed: int = 0) -> Rows:
    """Return normal rows, some zeros, ones and a row of equals among them; nothing is missing."""
    rows = np.random.default_rng(seed).normal(0, 2, size=(n, width)).astype(np.float32)
    rows[0], rows[1], rows[2] = 0.0, 1.0, -1.0
    return rows


def rows_with_missing(n: int = 60, width: int = WIDTH, seed: int = 1) -> Rows:
    """Return rows of which a fifth of the values is missing, and one row is missing altogether."""
    rows = plain_rows(n, width, seed)
    rows[np.random.default_rng(seed + 1).random(rows.shape) < 0.2] = np.nan
    rows[3] = np.nan
    return rows


def category_rows(n: int = 60) -> Rows:
    """Return small integers from -1 on, and missing values."""
    rows = np.random.default_rng(5).integers(-1, 9, size=(n, WIDTH)).astype(np.float32)
    rows[::7, 0] = np.nan
    return rows


def forest_ensemble(*, n_trees: int = 9, depth: int = 5) -> TreeEnsemble:
    """Return scikit-learn's trees of three classes, whose leaves are vectors."""
    rows = plain_rows(300, seed=11)
    truth = (rows[:, 0] + rows[:, 1] > 0).astype(int) + (rows[:, 2] > 1).astype(int)
    forest = RandomForestClassifier(n_trees, max_depth=depth, random_state=0).fit(rows, truth)
    parts = [tree.tree_ for tree in forest.estimators_]
    starts = np.cumsum([0, *(part.node_count for part in parts)])[:-1]
    is_leaf = np.concatenate([part.children_left < 0 for part in parts])
    left = np.concatenate(
        [np.where(p.children_left < 0, 0, p.children_left + s) for p, s in zip(parts, starts, strict=True)]
    )
    right = np.concatenate(
        [np.where(p.children_left < 0, 0, p.children_right + s) for p, s in zip(parts, starts, strict=True)]
    )
    thresholds = np.concatenate([part.threshold for part in parts])
    leaf = np.full(len(is_leaf), -1)
    leaf[is_leaf] = np.arange(int(is_leaf.sum()))
    values = np.concatenate([part.value[:, 0, :] for part in parts])[is_leaf]
    n_nodes = len(is_leaf)
    return TreeEnsemble(
        roots=starts.astype(np.int32),
        outputs=np.full(len(parts), ALL_OUTPUTS, dtype=np.int32),
        feature=np.where(is_leaf, LEAF, np.concatenate([part.feature for part in parts])).astype(np.int32),
        threshold=np.where(is_leaf, 0, thresholds).astype(np.float32),
        left=left.astype(np.int32),
        right=right.astype(np.int32),
        missing_left=np.random.default_rng(2).random(n_nodes) < 0.5,
        category=np.full(n_nodes, NUMERIC, dtype=np.int32),
        leaf=leaf.astype(np.int32),
        leaves=values / values.sum(axis=1, keepdims=True),
        tests=(),
        base=np.zeros(values.shape[1]),
        divisor=float(len(parts)),
        n_features=WIDTH,
    )


def category_ensemble() -> TreeEnsemble:
    """Return three trees that each add to one of two outputs; two of their nodes ask for categories."""
    return TreeEnsemble(
        roots=np.array([0, 3, 8], dtype=np.int32),
        outputs=np.array([0, 1, 1], dtype=np.int32),
        feature=np.array([0, LEAF, LEAF, 1, 0, LEAF, LEAF, LEAF, LEAF], dtype=np.int32),
        threshold=np.array([0, 0, 0, 2.5, 0, 0, 0, 0, 0], dtype=np.float32),
        left=np.array([1, 0, 0, 4, 5, 0, 0, 0, 0], dtype=np.int32),
        right=np.array([2, 0, 0, 7, 6, 0, 0, 0, 0], dtype=np.int32),
        missing_left=np.array([True, False, False, False, False, False, False, False, False]),
        category=np.array([0, NUMERIC, NUMERIC, NUMERIC, 1, *[NUMERIC] * 4], dtype=np.int32),
        leaf=np.array([-1, 0, 1, -1, -1, 2, 3, 4, 5], dtype=np.int32),
        leaves=np.array([[0.5], [-1.25], [3.0], [0.1], [7.5], [0.25]]),
        tests=(
            CategoryTest(frozenset({1, 3}), frozenset({0, 2, 4}), other_left=False),
            CategoryTest(frozenset(), frozenset({0, 5}), other_left=True),
        ),
        base=np.array([0.125, -2.0]),
        divisor=1.0,
        n_features=WIDTH,
    )


def far_rows() -> Rows:
    """Return numbers that differ by little of themselves, as a sensor of pressure sends them."""
    return plain_rows() + np.float32(101325)


def _curve(kind: CurveName) -> tuple[Program, Rows]:
    rows = np.abs(plain_rows()) + np.float32(0.1) if kind in ("log", "sqrt", "reciprocal", "log1p") else plain_rows()
    if kind in ("log1p", "expm1"):
        rows = np.concatenate([rows, rows * np.float32(1e-6)])
    return chain(WIDTH, lambda p: Curve(p, kind)), rows


def _kernel(kind: KernelName) -> tuple[Program, Rows]:
    vectors = np.random.default_rng(3).normal(size=(5, WIDTH))
    return chain(WIDTH, lambda p: Kernel(p, vectors, kind, 0.3, 0.5, 3)), plain_rows()


def _normalise(norm: NormName) -> tuple[Program, Rows]:
    return chain(WIDTH, lambda p: Normalise(p, norm)), np.concatenate([plain_rows(), plain_rows() * np.float32(1e-8)])


def _two_sources(first: Callable[[int], Operation], second: Callable[[int, int], Operation]) -> Program:
    """Return ``second`` of the row and of ``first`` of the row."""
    builder = ProgramBuilder(WIDTH)
    return builder.build(builder.add(second(0, builder.add(first(0)))))


_WEIGHTS: Final = np.random.default_rng(8).normal(size=(WIDTH, 6))
_ONES: Final = np.ones(WIDTH)

EXAMPLES: Final[Mapping[str, tuple[Program, Rows]]] = {
    "columns": (chain(WIDTH, lambda p: Columns(p, (3, 0, 0))), rows_with_missing()),
    "join": (joined(lambda p: Columns(p, (2,)), lambda p: Columns(p, (1, 0))), plain_rows()),
    "fill missing": (chain(WIDTH, lambda p: Fill(p, NAN, np.array([1.5, -2, 0, 9]))), rows_with_missing()),
    "fill a mark": (chain(WIDTH, lambda p: Fill(p, -1.0, np.array([1.5, -2, 0, 9]))), plain_rows()),
    "flags of missing": (chain(WIDTH, lambda p: Flags(p, NAN)), rows_with_missing()),
    "flags of a mark": (chain(WIDTH, lambda p: Flags(p, 1.0)), plain_rows()),
    "scale": (chain(WIDTH, lambda p: Scale(p, _ONES * 0.3, _ONES * 1.7)), plain_rows()),
    "scale far from zero": (chain(WIDTH, lambda p: Scale(p, _ONES * 101325.3, _ONES * 1.7)), far_rows()),
    "interpolate far from zero": (
        chain(
            WIDTH, lambda p: Interpolate(p, (np.array([101324.1, 101326.3]),) * WIDTH, (np.array([0.0, 1.0]),) * WIDTH)
        ),
        far_rows(),
    ),
    "affine": (chain(WIDTH, lambda p: Affine(p, _ONES * -0.7, _ONES * 0.1)), plain_rows()),
    "clip": (chain(WIDTH, lambda p: Clip(p, _ONES * -1, np.array([1, 2, np.inf, 0.5]))), plain_rows()),
    **{f"curve {kind}": _curve(kind) for kind in ("relu", "tanh", "logistic", "exp", "log", "sqrt", "square")},
    "curve abs": _curve("abs"),
    "curve reciprocal": _curve("reciprocal"),
    "curve log1p": _curve("log1p"),
    "curve expm1": _curve("expm1"),
    "one-hot": (
        chain(WIDTH, lambda p: Columns(p, (0,)), lambda p: OneHot(p, ((0.0,), (2.0, 3.0), (5.0,), (NAN,)))),
        category_rows(),
    ),
    "lookup": (
        chain(WIDTH, lambda p: Columns(p, (0,)), lambda p: Lookup(p, (0.0, 3.0, NAN), (2.5, -1.0, 7.0), -9.0)),
        category_rows(),
    ),
    "bins": (chain(WIDTH, lambda p: Bins(p, ((-1.0, 0.0, 1.0), (0.5,), (), (-2.0, 2.0)))), plain_rows()),
    "linear": (chain(WIDTH, lambda p: Linear(p, _WEIGHTS, np.arange(6.0))), plain_rows()),
    "dense network": (
        chain(
            WIDTH,
            lambda p: Scale(p, _ONES * 0.2, _ONES * 1.5),
            lambda p: Linear(p, _WEIGHTS, np.arange(6.0) / 5),
            lambda p: Curve(p, "relu"),
            lambda p: Linear(p, _WEIGHTS.T[:, :3], np.zeros(3)),
            Softmax,
        ),
        plain_rows(),
    ),
    **{f"kernel {kind}": _kernel(kind) for kind in ("linear", "rbf", "poly", "sigmoid")},
    "trees of vectors": (chain(WIDTH, lambda p: Trees(p, forest_ensemble())), rows_with_missing(400)),
    "trees with categories": (chain(WIDTH, lambda p: Trees(p, category_ensemble())), category_rows(200)),
    "trees behind a scaler": (
        chain(WIDTH, lambda p: Scale(p, _ONES * 0.1, _ONES * 0.9), lambda p: Trees(p, forest_ensemble()), Proportions),
        plain_rows(400),
    ),
    "softmax": (chain(WIDTH, Softmax), plain_rows()),
    "complement": (chain(WIDTH, lambda p: Columns(p, (1,)), Complement), plain_rows()),
    "proportions": (chain(WIDTH, lambda p: Curve(p, "abs"), Proportions), plain_rows()),
    "average": (
        _two_sources(lambda p: Curve(p, "tanh"), lambda p, q: Average((p, q), (0.25, 0.75))),
        plain_rows(),
    ),
    "product": (
        _two_sources(lambda p: Columns(p, (1, 1, 2, 0)), lambda p, q: Product((p, q))),
        plain_rows(),
    ),
    **{f"normalise {norm}": _normalise(norm) for norm in ("l1", "l2", "max")},
    "interpolate": (
        chain(
            WIDTH,
            lambda p: Interpolate(
                p,
                (np.array([-1.0, 0.0, 0.25]), np.array([0.0]), np.array([-2.0, 2.0]), np.array([0.0, 1.0])),
                (np.array([0.0, 0.5, 1.0]), np.array([4.0]), np.array([1.0, -1.0]), np.array([0.0, 1.0])),
            ),
        ),
        plain_rows(),
    ),
    "arg max": (chain(WIDTH, ArgMax), plain_rows()),
    "one against the rest": (chain(6, lambda p: OvrOfOvo(p, 4)), plain_rows(width=6)),
    "coupling": (chain(6, lambda p: Curve(p, "logistic"), lambda p: Coupling(p, 4)), plain_rows(width=6)),
    "the row itself": (ProgramBuilder(WIDTH).build(0), plain_rows()),
}
