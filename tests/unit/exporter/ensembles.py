"""Random tree ensembles, for tests that compare a target with what an ensemble means."""

from typing import Any

import numpy as np

from exporter.programs.ensemble import ALL_OUTPUTS, LEAF, NUMERIC, CategoryTest, TreeEnsemble


class Planter:
    """Grows random trees into the columns of one ensemble."""

    def __init__(self, rng: np.random.Generator, n_features: int, leaf, categories: tuple[int, ...] = ()):
        self.rng, self.n_features, self.leaf_of, self.categories = rng, n_features, leaf, categories
        self.nodes: list[list[Any]] = []
        self.leaves: list[Any] = []
        self.tests: list[CategoryTest] = []

    def grow(self, depth: int) -> int:
        """Grow a tree; return its root."""
        place = len(self.nodes)
        node = [LEAF, 0.0, 0, 0, False, NUMERIC, -1]
        self.nodes.append(node)
        if depth == 0 or self.rng.random() < 0.15:
            node[6] = len(self.leaves)
            self.leaves.append(self.leaf_of())
            return place
        node[0], node[4] = int(self.rng.integers(self.n_features)), bool(self.rng.random() < 0.5)
        if node[0] in self.categories:
            members = self.rng.permutation(50).tolist()
            left, right = np.sort(self.rng.integers(0, 50, 2))
            test = CategoryTest(
                frozenset(members[:left]), frozenset(members[left:right]), bool(self.rng.random() < 0.5)
            )
            node[5] = len(self.tests)
            self.tests.append(test)
        else:
            node[1] = float(self.rng.choice([np.inf, *np.round(self.rng.normal(size=20), 1)]))
        node[2] = self.grow(depth - 1)
        node[3] = self.grow(depth - 1)
        return place


def random_ensemble(
    seed: int,
    n_trees: int,
    leaf,
    *,
    n_outputs: int = 1,
    all_outputs: bool = False,
    depths: tuple[int, ...] = (5,),
    categories: tuple[int, ...] = (),
    divisor: float = 1.0,
    has_base: bool = True,
) -> TreeEnsemble:
    """Return an ensemble over 5 columns; tree t has depth ``depths[t % len(depths)]`` at most."""
    rng = np.random.default_rng(seed)
    planter = Planter(rng, 5, lambda: leaf(rng), categories)
    roots = [planter.grow(depths[tree % len(depths)]) for tree in range(n_trees)]
    feature, threshold, left, right, missing_left, category, leaf_of = zip(*planter.nodes, strict=True)
    return TreeEnsemble(
        roots=np.array(roots, np.int32),
        outputs=np.array([ALL_OUTPUTS if all_outputs else tree % n_outputs for tree in range(n_trees)], np.int32),
        feature=np.array(feature, np.int32),
        threshold=np.array(threshold, np.float32),
        left=np.array(left, np.int32),
        right=np.array(right, np.int32),
        missing_left=np.array(missing_left),
        category=np.array(category, np.int32),
        leaf=np.array(leaf_of, np.int32),
        leaves=np.array(planter.leaves, np.float64),
        tests=tuple(planter.tests),
        base=rng.normal(size=n_outputs) if has_base else np.zeros(n_outputs),
        divisor=divisor,
        n_features=5,
    )


def rows_on_thresholds(seed: int, n_rows: int = 2000) -> np.ndarray:
    """Return rows of 5 columns on the thresholds, missing values, infinities; column 0 also holds categories."""
    rng = np.random.default_rng(seed)
    rows = np.round(rng.normal(size=(n_rows, 5)), 1).astype(np.float32)
    rows[:, 0] = rng.integers(-2, 55, n_rows) + rng.choice([0, 0.5, 0.9], n_rows)
    rows[n_rows // 2 :] = np.nextafter(rows[n_rows // 2 :], np.float32(np.inf))
    rows[rng.random(rows.shape) < 0.1] = np.nan
    rows[:4] = np.array([[np.inf], [-np.inf], [1e30], [-0.0]])
    return rows
