"""Lays a tree ensemble out so that all its trees are walked at once, level by level; it knows no file format.

Every node becomes one question, ``value[column] > threshold``, whose answer, 0 or 1, is added to the place of its left
child; the right child stands behind it. To make this one question enough, the walk looks at prepared columns:

- a feature as it is: NaN is above nothing and goes left;
- a feature whose missing values go right: NaN becomes infinity;
- whether a feature is missing, for nodes that send all present values left and missing ones right;
- the answer of a category test, 1 for right;
- a column that is above nothing, for leaves: a walk that has arrived stays.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.programs.ensemble import ALL_OUTPUTS, LEAF, NUMERIC, CategoryTest, TreeEnsemble

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Between the two answers that a flag or a test can give.
_BETWEEN: Final = np.float32(0.5)


@dataclass(frozen=True, slots=True)
class CategoryTable:
    """The answers of tests on one feature, by intervals of its values.

    Attributes:
        feature: the column of the row.
        boundaries: ascending; interval i holds the values that i of them are not above.
        goes_right: ``(n_intervals + 1, n_tests)``: of each interval, and in the last line of a missing value.
    """

    feature: int
    boundaries: NDArray[np.float32]
    goes_right: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class WalkColumns:
    """The prepared columns, in their order: left, right, flags, the tests of each table, and last the one to stay at.

    Attributes:
        left, right, flags: features of the row.
        tables: of category tests.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    flags: tuple[int, ...]
    tables: tuple[CategoryTable, ...]

    @property
    def stay(self) -> int:
        """Place of the column that is above nothing."""
        n_tests = sum(int(table.goes_right.shape[1]) for table in self.tables)
        return len(self.left) + len(self.right) + len(self.flags) + n_tests


@dataclass(frozen=True, slots=True)
class TreeWalk:
    """Nodes of all trees in one table, tree by tree, each in breadth-first order; the last node is a leaf of zeros.

    Attributes:
        columns: what the nodes look at.
        column: ``(n_nodes,)``: place among the prepared columns; that to stay at for a leaf.
        threshold: ``(n_nodes,) float32``; 0 at a leaf.
        step: ``(n_nodes,)``: from a node to its left child; 0 at a leaf.
        leaf: ``(n_nodes,)``: row of `leaves`; -1 at a branch.
        leaves: ``(n, width)``: distinct leaves; the last one is all zeros.
        roots: ``(n_outputs, n)`` where each tree adds to one output, else ``(1, n)``; filled up with the last node.
        depth: levels to go down.
    """

    columns: WalkColumns
    column: Ints
    threshold: NDArray[np.float32]
    step: Ints
    leaf: Ints
    leaves: Floats
    roots: Ints
    depth: int


def lay_out(trees: TreeEnsemble) -> TreeWalk:
    """Return the walk of an ensemble."""
    nodes, owner, steps, depth = _breadth_first(trees)
    columns, column, threshold = _questions(trees, nodes)
    leaves, leaf = _distinct_leaves(trees, nodes, owner)
    starts = np.searchsorted(owner, np.arange(trees.n_trees))
    return TreeWalk(
        columns=columns,
        column=np.append(column, columns.stay),
        threshold=np.append(threshold, np.float32(0)),
        step=np.append(steps, 0),
        leaf=np.append(leaf, len(leaves) - 1),
        leaves=leaves,
        roots=_grid_of_roots(trees, starts, len(nodes)),
        depth=depth,
    )


def _breadth_first(trees: TreeEnsemble) -> tuple[Ints, Ints, Ints, int]:
    """Return the nodes tree by tree, the tree of each, its step to its left child, and the depth."""
    level, tree_of = trees.roots.astype(np.int64), np.arange(trees.n_trees)
    levels, owners, firsts = [], [], []
    while len(level):
        is_branch = trees.feature[level] != LEAF
        levels.append(level)
        owners.append(tree_of)
        # Two children for each branch before this one, in the same level: where its own begin.
        firsts.append(np.where(is_branch, 2 * (np.cumsum(is_branch) - 1), -1))
        branches = level[is_branch]
        level = np.stack([trees.left[branches], trees.right[branches]], axis=1).astype(np.int64).reshape(-1)
        tree_of = np.repeat(tree_of[is_branch], 2)
    nodes, owner = np.concatenate(levels), np.concatenate(owners)
    ends = np.cumsum([len(one) for one in levels])
    left = np.concatenate([np.where(first < 0, -1, first + end) for first, end in zip(firsts, ends, strict=True)])
    order = np.argsort(owner, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    steps = np.where(left < 0, 0, place[left] - place)[order]
    return nodes[order], owner[order], steps, len(levels) - 1


def _questions(trees: TreeEnsemble, nodes: Ints) -> tuple[WalkColumns, Ints, NDArray[np.float32]]:
    """Return the prepared columns, and the column and threshold of each node."""
    feature, category = trees.feature[nodes], trees.category[nodes]
    threshold, missing_left = trees.threshold[nodes].copy(), trees.missing_left[nodes]
    is_branch = feature != LEAF
    is_test = is_branch & (category != NUMERIC)
    is_number = is_branch & (category == NUMERIC)
    is_flag = is_number & ~missing_left & (threshold == np.inf)
    masks = {"left": is_number & missing_left, "right": is_number & ~missing_left & ~is_flag, "flag": is_flag}
    # A test with its rule for missing values and its feature is one question.
    tests = np.stack([feature, category, missing_left], axis=1)[is_test]
    wanted, test_of = np.unique(tests, axis=0, return_inverse=True)
    tables = _category_tables(trees.tests, wanted)
    features = {kind: np.unique(feature[mask]) for kind, mask in masks.items()}
    left, right, flags = (tuple(of_kind.tolist()) for of_kind in features.values())
    columns = WalkColumns(left, right, flags, tables)
    column = np.full(len(nodes), columns.stay)
    before = 0
    for kind, mask in masks.items():
        column[mask] = before + np.searchsorted(features[kind], feature[mask])
        before += len(features[kind])
    column[is_test] = before + test_of.reshape(-1)
    threshold[is_flag | is_test] = _BETWEEN
    threshold[~is_branch] = 0
    return columns, column, threshold


def _category_tables(tests: tuple[CategoryTest, ...], wanted: NDArray[np.int32]) -> tuple[CategoryTable, ...]:
    """Return a table for each feature; ``wanted (n, 3)``: feature, test, whether missing goes left, ascending."""
    tables = []
    for feature in np.unique(wanted[:, 0]).tolist():
        asked = [(tests[test], bool(missing_left)) for of, test, missing_left in wanted.tolist() if of == feature]
        known = sorted(frozenset().union(*(test.left | test.right for test, _ in asked)))
        # A category is the numbers from itself up to the next one; all between two categories is "other".
        boundaries = sorted({float(bound) for category in known for bound in (category, category + 1)})
        lines = [[not test.other_left for test, _ in asked]]
        lines += [[_goes_right(test, int(start)) for test, _ in asked] for start in boundaries]
        lines.append([not missing_left for _, missing_left in asked])
        # Neighbours that every test treats alike are one interval.
        kept = [i for i in range(len(boundaries)) if lines[i + 1] != lines[i]]
        table = np.array([lines[0], *(lines[i + 1] for i in kept), lines[-1]], dtype=np.uint8)
        tables.append(CategoryTable(feature, np.array(boundaries, dtype=np.float32)[kept], table))
    return tuple(tables)


def _goes_right(test: CategoryTest, category: int) -> bool:
    return category not in test.left and (category in test.right or not test.other_left)


def _distinct_leaves(trees: TreeEnsemble, nodes: Ints, owner: Ints) -> tuple[Floats, Ints]:
    """Return the distinct leaves and a leaf of zeros, and where that of each node is among them, -1 for a branch."""
    is_leaf = trees.feature[nodes] == LEAF
    leaf, places = np.full(len(nodes), -1), trees.leaf[nodes[is_leaf]]
    output = trees.outputs[owner[is_leaf]]
    values, of_one = trees.leaves[places], output != ALL_OUTPUTS
    if values.shape[1] > 1 and of_one.any():
        # Some trees answer all outputs: a tree of one output answers 0 for the others.
        values[of_one] = values[of_one, :1] * np.eye(trees.n_outputs)[output[of_one]]
    distinct, where = np.unique(values, axis=0, return_inverse=True)
    leaf[is_leaf] = where.reshape(-1)
    return np.concatenate([distinct, np.zeros((1, distinct.shape[1]))]), leaf


def _grid_of_roots(trees: TreeEnsemble, starts: Ints, nothing: int) -> Ints:
    """Return the roots by output, filled up with the root ``nothing``."""
    if trees.n_outputs == 1 or (trees.outputs == ALL_OUTPUTS).any():
        return starts[np.newaxis]
    groups = [starts[trees.outputs == output] for output in range(trees.n_outputs)]
    longest = max(len(group) for group in groups)
    return np.stack([np.pad(group, (0, longest - len(group)), constant_values=nothing) for group in groups])
