"""A tree ensemble as a value: binary trees over float32 columns, as every library's trees can be written.

A row goes from a tree's root down to a leaf. At a node it looks at one column:

- NaN goes where `missing_left` says;
- a numeric node sends ``x <= threshold`` left, compared in float32, so that all runtimes take the library's way;
- a category node sends ``trunc(x)`` where its `CategoryTest` says.

The answer is ``base + sum of the leaves / divisor``, in float64.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

LEAF = -1
# In `TreeEnsemble.category`: the node compares with a threshold.
NUMERIC = -1
# In `TreeEnsemble.outputs`: the leaves of the tree hold one number for each output.
ALL_OUTPUTS = -1


@dataclass(frozen=True, slots=True)
class CategoryTest:
    """Where a category goes; the libraries differ in what they do with one that training never saw.

    Attributes:
        left, right: categories, from 0 on, that go there; no category is in both.
        other_left: whether all others (negative ones too) go left. Missing values go by the node's `missing_left`.
    """

    left: frozenset[int]
    right: frozenset[int]
    other_left: bool

    def goes_left(self, values: NDArray[np.float32]) -> Bools:
        """Return whether each number ``(n,)`` goes left; what NaN gets here is for the node to replace."""
        with np.errstate(invalid="ignore"):
            categories = np.where(np.isfinite(values) & (values >= 0), np.trunc(values), -1.0)
        is_left = np.isin(categories, np.fromiter(self.left, dtype=np.float64))
        is_right = np.isin(categories, np.fromiter(self.right, dtype=np.float64))
        return np.where(is_left, True, np.where(is_right, False, self.other_left))  # noqa: FBT003 - numpy's argument


@dataclass(frozen=True, slots=True, eq=False)
class TreeEnsemble:
    """Trees whose nodes lie in one table; a child always stands behind its parent, so that no walk can be endless.

    Attributes:
        roots: ``(n_trees,)``: node of each tree's root.
        outputs: ``(n_trees,)``: the output that a tree adds to, or `ALL_OUTPUTS`.
        feature: ``(n_nodes,)``: the column that a node looks at; `LEAF` at a leaf.
        threshold: ``(n_nodes,) float32``; ``inf``: all that is not missing goes left.
        left, right: ``(n_nodes,)``: children; 0 at a leaf.
        missing_left: ``(n_nodes,)``: whether NaN goes left.
        category: ``(n_nodes,)``: index into `tests`, or `NUMERIC`.
        leaf: ``(n_nodes,)``: index into `leaves`; -1 at a node that is none.
        leaves: ``(n_leaves, width)``; width 1, or n_outputs when trees answer all outputs.
        tests: of the category nodes.
        base: ``(n_outputs,)``: added once.
        divisor: what the sum of the leaves is divided by: the number of trees for a mean.
        n_features: columns that a row has.

    Raises:
        ValueError: the parts contradict each other.
    """

    roots: Ints
    outputs: Ints
    feature: Ints
    threshold: NDArray[np.float32]
    left: Ints
    right: Ints
    missing_left: Bools
    category: Ints
    leaf: Ints
    leaves: Floats
    tests: tuple[CategoryTest, ...]
    base: Floats
    divisor: float
    n_features: int

    def __post_init__(self) -> None:
        for problem in _problems_of(self):
            raise ValueError(f"tree ensemble: {problem}")

    @property
    def n_trees(self) -> int:
        """How many trees there are."""
        return len(self.roots)

    @property
    def n_outputs(self) -> int:
        """How many numbers the ensemble answers for one row."""
        return len(self.base)

    def score(self, rows: NDArray[np.float32]) -> Floats:
        """Score rows ``(n, n_features) float32``, one tree after the other; returns ``(n, n_outputs) float64``."""
        # Libraries that do not divide start from the base; the last bit of a sum depends on it.
        starts_from_base = self.divisor == 1
        total = np.tile(self.base if starts_from_base else np.zeros(self.n_outputs), (len(rows), 1))
        for root, output in zip(self.roots.tolist(), self.outputs.tolist(), strict=True):
            reached = self.leaves[self.leaf[self.leaf_nodes(root, rows)]]
            if output == ALL_OUTPUTS:
                total += reached
            else:
                total[:, output] += reached[:, 0]
        answer: Floats = total if starts_from_base else self.base + total / self.divisor
        return answer

    def leaf_nodes(self, root: int, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the leaf node, ``(n,)``, that each row reaches in the tree of ``root``."""
        nodes = np.full(len(rows), root, dtype=np.int64)
        for places, at in self.walk(root, rows):
            nodes[places] = at
        return nodes

    def walk(self, root: int, rows: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield, depth by depth, the rows still under way from ``root`` and the node that each has come to."""
        places, at = np.arange(len(rows)), np.full(len(rows), root, dtype=np.int64)
        while len(places):
            yield places, at
            is_under_way = self.feature[at] != LEAF
            places, at = places[is_under_way], at[is_under_way]
            goes_left = self._goes_left(at, rows[places, self.feature[at]])
            at = np.where(goes_left, self.left[at], self.right[at]).astype(np.int64)

    def thresholds(self) -> tuple[NDArray[np.float32], ...]:
        """Return the distinct finite thresholds of each column, ascending."""
        numeric = (self.feature != LEAF) & (self.category == NUMERIC) & np.isfinite(self.threshold)
        return tuple(np.unique(self.threshold[numeric & (self.feature == column)]) for column in range(self.n_features))

    def _goes_left(self, at: NDArray[np.int64], values: NDArray[np.float32]) -> Bools:
        is_missing = np.isnan(values)
        goes_left: Bools = values <= self.threshold[at]
        for test in np.unique(self.category[at][self.category[at] != NUMERIC]).tolist():
            chosen = self.category[at] == test
            goes_left[chosen] = self.tests[test].goes_left(values[chosen])
        return np.where(is_missing, self.missing_left[at], goes_left)


def members_of(bitset: NDArray[np.uint32]) -> frozenset[int]:
    """Return the numbers whose bits are set, 32 bits a word, the lowest bit first."""
    words = np.ascontiguousarray(bitset, dtype="<u4")
    return frozenset(np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little")).tolist())


def _problems_of(trees: TreeEnsemble) -> Iterator[str]:  # noqa: C901 - one line a rule
    n_nodes = len(trees.feature)
    columns = (trees.threshold, trees.left, trees.right, trees.missing_left, trees.category, trees.leaf)
    if any(len(column) != n_nodes for column in columns):
        yield f"columns of {n_nodes} nodes differ in length"
        return
    if len(trees.roots) == 0 or len(trees.roots) != len(trees.outputs):
        yield f"{len(trees.roots)} roots and {len(trees.outputs)} outputs"
        return
    if trees.roots.min() < 0 or trees.roots.max() >= n_nodes:
        yield f"a root outside of {n_nodes} nodes"
    if trees.outputs.min() < ALL_OUTPUTS or trees.outputs.max() >= trees.n_outputs:
        yield f"a tree adds to an output outside of {trees.n_outputs}"
    width = trees.n_outputs if (trees.outputs == ALL_OUTPUTS).any() else 1
    if trees.leaves.ndim != 2 or trees.leaves.shape[1] != width:  # noqa: PLR2004 - a table
        yield f"leaves of shape {trees.leaves.shape}, each needs {width} numbers"
    is_leaf = trees.feature == LEAF
    branches, places = np.flatnonzero(~is_leaf), np.arange(n_nodes)
    if trees.feature.min() < LEAF or trees.feature.max() >= trees.n_features:
        yield f"a node looks at a column outside of {trees.n_features}"
    for children in (trees.left[branches], trees.right[branches]):
        if (children <= places[branches]).any() or (children >= n_nodes).any():
            yield "a child does not stand behind its parent"
    if (trees.leaf[is_leaf] < 0).any() or (trees.leaf[is_leaf] >= len(trees.leaves)).any():
        yield "a leaf has no values"
    if trees.category.min() < NUMERIC or trees.category.max() >= len(trees.tests):
        yield "a node names a category test that is not there"
    if np.isnan(trees.threshold[~is_leaf & (trees.category == NUMERIC)]).any():
        yield "a threshold is no number"
    if not np.isfinite(trees.leaves).all() or not np.isfinite(trees.base).all():
        yield "a leaf or the base is no number"
