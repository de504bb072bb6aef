"""Tree ensembles that no library would grow: all kinds of nodes, rows on and next to every threshold."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from exporter.programs.ensemble import ALL_OUTPUTS, LEAF, NUMERIC, CategoryTest, TreeEnsemble

Missing = Literal["left", "right", "both"]
ODD_NUMBERS = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 1e-38, 3.4e38, -3.4e38, 0.5, -0.5, 1.0, 2.0, 2.999, 7.0, 64.0],
    dtype=np.float32,
)
TESTS = (
    CategoryTest(frozenset({0, 3, 9}), frozenset({1, 2}), other_left=False),
    CategoryTest(frozenset({1}), frozenset({0, 70}), other_left=True),
    CategoryTest(frozenset(), frozenset({2}), other_left=True),
    CategoryTest(frozenset({64}), frozenset(), other_left=False),
)


@dataclass(frozen=True)
class Shape:
    """What the ensemble is like; `one_output`: a tree adds to one output, else to all."""

    n_trees: int = 20
    n_features: int = 8
    most_leaves: int = 20
    n_outputs: int = 3
    one_output: bool = True
    missing: Missing = "both"
    n_thresholds: int = 30
    category_share: float = 0.2
    balanced: bool = False


def grow(shape: Shape, seed: int = 0) -> TreeEnsemble:
    """Grow trees by splitting leaves at random."""
    rng = np.random.default_rng(seed)
    pool = np.unique(rng.normal(size=(shape.n_features, shape.n_thresholds)).astype(np.float32), axis=1)
    pool[:, 0], pool[:, -1] = np.float32(-0.0), np.float32(np.inf)
    columns: dict[str, list[float]] = {
        name: [] for name in ("feature", "threshold", "left", "right", "missing", "category", "leaf")
    }
    roots = []

    def add(feature: int, threshold: float, category: int, leaf: int) -> int:
        goes_left = {"left": True, "right": False, "both": bool(rng.integers(2))}[shape.missing]
        for name, value in zip(columns, (feature, threshold, 0, 0, goes_left, category, leaf), strict=True):
            columns[name].append(value)
        return len(columns["feature"]) - 1

    n_leaves = 0
    for _ in range(shape.n_trees):
        n_splits = int(rng.integers(shape.most_leaves)) if not shape.balanced else shape.most_leaves - 1
        open_leaves = [add(LEAF, 0.0, NUMERIC, 0)]
        roots.append(open_leaves[0])
        for _ in range(n_splits):
            node = open_leaves.pop(0 if shape.balanced else int(rng.integers(len(open_leaves))))
            column = int(rng.integers(shape.n_features))
            columns["feature"][node] = column
            columns["leaf"][node] = -1
            if rng.random() < shape.category_share:
                columns["category"][node] = int(rng.integers(len(TESTS)))
            else:
                columns["threshold"][node] = float(rng.choice(pool[column]))
            for side in ("left", "right"):
                columns[side][node] = add(LEAF, 0.0, NUMERIC, 0)
                open_leaves.append(int(columns[side][node]))
        for node in open_leaves:
            columns["leaf"][node] = n_leaves
            n_leaves += 1
    width = 1 if shape.one_output else shape.n_outputs
    leaves = rng.normal(size=(n_leaves, width)).astype(np.float32).astype(np.float64)
    outputs = rng.integers(shape.n_outputs, size=shape.n_trees) if shape.one_output else [ALL_OUTPUTS] * shape.n_trees
    return TreeEnsemble(
        roots=np.array(roots, dtype=np.int32),
        outputs=np.array(outputs, dtype=np.int32),
        feature=np.array(columns["feature"], dtype=np.int32),
        threshold=np.array(columns["threshold"], dtype=np.float32),
        left=np.array(columns["left"], dtype=np.int32),
        right=np.array(columns["right"], dtype=np.int32),
        missing_left=np.array(columns["missing"], dtype=np.bool_),
        category=np.array(columns["category"], dtype=np.int32),
        leaf=np.array(columns["leaf"], dtype=np.int32),
        leaves=leaves,
        tests=TESTS,
        base=rng.normal(size=shape.n_outputs),
        divisor=3.0,
        n_features=shape.n_features,
    )


def rows_for(ensemble: TreeEnsemble, n_rows: int = 400, seed: int = 1) -> NDArray[np.float32]:
    """Return rows of numbers on thresholds, next to them, and of all odd kinds."""
    rng = np.random.default_rng(seed)
    rows = np.empty((n_rows, ensemble.n_features), dtype=np.float32)
    for column, thresholds in enumerate(ensemble.thresholds()):
        near = [np.nextafter(thresholds, np.float32(side), dtype=np.float32) for side in (-np.inf, np.inf)]
        choices = np.concatenate([thresholds, *near, ODD_NUMBERS])
        rows[:, column] = rng.choice(choices, size=n_rows)
    return rows
