"""Tree ensembles as ``TreeEnsemble`` of ai.onnx.ml 5, the only operator of trees that ONNX has today.

Its leaves hold one number for one output, and its sums are float32. So there are three ways to write an ensemble:

- *direct*: each leaf adds to one output at most (boosting, pure leaves, one value): the operator does it all;
- *pair*: leaves of two probabilities: the operator sums the second, the first is the rest;
- *indexed*: any leaves: the operator finds the number of each tree's leaf; a table holds them, summed in float64.

Category tests become columns of their own: a table says for each category which tests send it left. The operator's own
sets (``BRANCH_MEMBER``) answer wrongly in ONNX Runtime 1.21 and 1.22 for category 0 and categories above 31.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from exporter.graphs.nodes import ML, Arithmetic, Floats, OnnxNodes
from exporter.programs.ensemble import ALL_OUTPUTS, LEAF, NUMERIC, CategoryTest, TreeEnsemble
from exporter.programs.program import Trees

Ints = NDArray[np.int64]

# Between "does not go left" and "goes left".
_HALF: Final = 0.5
# Leaves of two probabilities sum to 1, up to the rounding of their division.
_ONE_ERROR: Final = 1e-12


@dataclass(frozen=True, slots=True)
class _Leaves:
    """What the operator answers: of each tree and leaf (tree by tree), one number for one of `n_targets`."""

    targets: Ints
    weights: Floats
    n_targets: int


@dataclass(frozen=True, slots=True)
class _Sides:
    """Number of the branch or leaf on each side of each branch."""

    left: Ints
    right: Ints
    left_is_leaf: NDArray[np.bool_]
    right_is_leaf: NDArray[np.bool_]


def write_trees(arithmetic: Arithmetic, operation: Trees, x: str) -> str:
    """Add an ensemble; return the name of its answer, ``(n, n_outputs) float32``."""
    nodes, trees = arithmetic.nodes, operation.ensemble
    tree_of, places = _trees_and_leaves(trees)
    values = _values_of(trees, tree_of, places)
    if not arithmetic.is_wide and _is_pair(trees, values):
        leaves = _Leaves(np.zeros(len(places), np.int64), values[:, 1], 1)
        return _pair(nodes, trees, _ensemble(nodes, trees, x, leaves))
    if not arithmetic.is_wide and (np.count_nonzero(values, axis=1) <= 1).all():
        targets = np.argmax(values != 0, axis=1)
        leaves = _Leaves(targets, values[np.arange(len(values)), targets], trees.n_outputs)
        return _direct(nodes, trees, _ensemble(nodes, trees, x, leaves))
    table, numbers = np.unique(values, axis=0, return_inverse=True)
    leaves = _Leaves(tree_of, numbers.astype(np.float64).reshape(-1), trees.n_trees)
    return _indexed(arithmetic, trees, _ensemble(nodes, trees, x, leaves), table)


def _is_pair(trees: TreeEnsemble, values: Floats) -> bool:
    is_mean = trees.n_outputs == 2 and trees.divisor == trees.n_trees and not trees.base.any()  # noqa: PLR2004 - a pair
    return is_mean and bool((np.abs(values.sum(axis=1) - 1) < _ONE_ERROR).all())


def _pair(nodes: OnnxNodes, trees: TreeEnsemble, sums: str) -> str:
    second = sums if trees.divisor == 1 else nodes.node("Div", sums, nodes.constant([trees.divisor]))
    return nodes.node("Concat", nodes.node("Sub", nodes.constant([1.0]), second), second, axis=1)


def _direct(nodes: OnnxNodes, trees: TreeEnsemble, sums: str) -> str:
    if trees.divisor != 1:
        sums = nodes.node("Div", sums, nodes.constant([trees.divisor]))
    return nodes.node("Add", sums, nodes.constant(trees.base)) if trees.base.any() else sums


def _indexed(arithmetic: Arithmetic, trees: TreeEnsemble, numbers: str, table: Floats) -> str:
    nodes, wide = arithmetic.nodes, arithmetic.widened()
    leaves = arithmetic.constant(table)
    reached = wide.take(nodes.node("Gather", leaves, nodes.index(numbers)))
    sums = nodes.node("ReduceSum", reached, nodes.constant([1], np.int64), keepdims=0)
    if trees.divisor != 1:
        sums = nodes.node("Div", sums, wide.constant([trees.divisor]))
    if trees.base.any():
        sums = nodes.node("Add", sums, wide.constant(trees.base))
    return wide.give(sums)


def _trees_and_leaves(trees: TreeEnsemble) -> tuple[Ints, Ints]:
    """Return for each leaf node, ascending, the number of its tree, and its row of `leaves`."""
    tree_of = np.full(len(trees.feature), -1, np.int64)
    tree_of[trees.roots] = np.arange(trees.n_trees)
    # Children stand behind their parents.
    for node in np.flatnonzero(trees.feature != LEAF).tolist():
        tree_of[trees.left[node]] = tree_of[trees.right[node]] = tree_of[node]
    is_leaf = trees.feature == LEAF
    return tree_of[is_leaf], trees.leaf[is_leaf].astype(np.int64)


def _values_of(trees: TreeEnsemble, tree_of: Ints, places: Ints) -> Floats:
    """Return what each leaf node adds, ``(n_leaf_nodes, n_outputs)``."""
    outputs, reached = trees.outputs[tree_of], trees.leaves[places]
    if (outputs == ALL_OUTPUTS).all():
        return reached
    values = np.zeros((len(places), trees.n_outputs))
    single = np.flatnonzero(outputs != ALL_OUTPUTS)
    values[single, outputs[single]] = reached[single, 0]
    values[outputs == ALL_OUTPUTS] = reached[outputs == ALL_OUTPUTS]
    return values


def _ensemble(nodes: OnnxNodes, trees: TreeEnsemble, x: str, leaves: _Leaves) -> str:
    """Add the operator itself; equal leaves are stored once."""
    pairs = np.stack([leaves.targets.astype(np.float64), leaves.weights.astype(np.float32)], axis=1)
    distinct, leaf_numbers = np.unique(pairs, axis=0, return_inverse=True)
    is_leaf = trees.feature == LEAF
    branches = np.flatnonzero(~is_leaf)
    place = np.zeros(len(trees.feature), np.int64)
    place[is_leaf], place[branches] = leaf_numbers.reshape(-1), np.arange(len(branches))
    # A tree that is one leaf becomes a branch with that leaf on both sides.
    lone = trees.roots[is_leaf[trees.roots]].astype(np.int64)
    roots = place[trees.roots]
    roots[is_leaf[trees.roots]] = len(branches) + np.arange(len(lone))
    x, features, splits = _columns_of(nodes, trees, x, branches)
    left, right = (np.append(side[branches], lone) for side in (trees.left, trees.right))
    sides = _Sides(place[left], place[right], is_leaf[left], is_leaf[right])
    distinct = _tell_sides_apart(sides, roots, distinct)
    padding = np.zeros(len(lone))
    missing = np.append(trees.missing_left[branches], padding)
    attributes = {"nodes_missing_value_tracks_true": _ints(missing)} if missing.any() else {}
    return nodes.node(
        "TreeEnsemble",
        x,
        domain=ML,
        n_targets=leaves.n_targets,
        tree_roots=_ints(roots),
        nodes_featureids=_ints(np.append(features, padding)),
        nodes_modes=numpy_helper.from_array(np.zeros(len(left), np.uint8), "modes"),
        nodes_splits=numpy_helper.from_array(np.append(splits, padding).astype(np.float32), "splits"),
        nodes_truenodeids=_ints(sides.left),
        nodes_falsenodeids=_ints(sides.right),
        nodes_trueleafs=_ints(sides.left_is_leaf),
        nodes_falseleafs=_ints(sides.right_is_leaf),
        leaf_targetids=_ints(distinct[:, 0]),
        leaf_weights=numpy_helper.from_array(distinct[:, 1].astype(np.float32), "weights"),
        **attributes,
    )


def _tell_sides_apart(sides: _Sides, roots: Ints, leaves: Floats) -> Floats:
    """Give the leaf beside a root another number where both sides of the root have the same; return the leaves.

    ONNX Runtime up to 1.23 takes a root whose sides have equal numbers for a tree of one leaf, even where one is the
    number of a branch and the other that of a leaf; and it takes the root's number for the leaf's.
    """
    for root in roots.tolist():
        side = sides.right if sides.right_is_leaf[root] else sides.left
        while sides.left[root] == sides.right[root]:
            leaves = np.append(leaves, leaves[[side[root]]], axis=0)
            side[root] = len(leaves) - 1
    return leaves


def _ints(values: NDArray[Any]) -> list[int]:
    numbers: list[int] = values.astype(np.int64).tolist()
    return numbers


def _columns_of(nodes: OnnxNodes, trees: TreeEnsemble, x: str, branches: Ints) -> tuple[str, Ints, Floats]:
    """Return the operator's input, and the column and threshold of each branch; category tests get columns."""
    features, splits = trees.feature[branches].astype(np.int64), trees.threshold[branches].astype(np.float64)
    by_category = np.flatnonzero(trees.category[branches] != NUMERIC)
    if len(by_category) == 0:
        return x, features, splits
    chosen = branches[by_category]
    keys = np.stack([trees.feature[chosen], trees.category[chosen], trees.missing_left[chosen]], axis=1)
    distinct, which = np.unique(keys, axis=0, return_inverse=True)
    parts = [x]
    for feature in np.unique(distinct[:, 0]).tolist():
        own = distinct[distinct[:, 0] == feature]
        parts.append(_sides(nodes, x, feature, [(trees.tests[test], bool(missing)) for _, test, missing in own]))
    features[by_category] = trees.n_features + which.reshape(-1)
    # The column is 0 where the test sends its category left.
    splits[by_category] = _HALF
    return nodes.node("Concat", *parts, axis=1), features, splits


def _sides(nodes: OnnxNodes, x: str, feature: int, tests: list[tuple[CategoryTest, bool]]) -> str:
    """Return ``(n, len(tests))``: 0 where a test sends the row's category left, else 1."""
    n_known = max(max(test.left | test.right, default=-1) for test, _ in tests) + 1
    table = np.ones((n_known + 2, len(tests)), np.uint8)
    for place, (test, missing_left) in enumerate(tests):
        table[n_known, place], table[n_known + 1, place] = not test.other_left, not missing_left
        table[:n_known, place] = not test.other_left
        table[sorted(test.left), place], table[sorted(test.right), place] = 0, 1
    column = nodes.node("Gather", x, nodes.constant(feature, np.int64), axis=1)
    is_missing = nodes.node("IsNaN", column)
    is_known = nodes.node(
        "And",
        nodes.node("GreaterOrEqual", column, nodes.constant(0.0)),
        nodes.node("Less", column, nodes.constant(float(n_known))),
    )
    row = nodes.node("Where", is_known, column, nodes.constant(float(n_known)))
    row = nodes.node("Where", is_missing, nodes.constant(float(n_known + 1)), row)
    # The cast to int64 cuts the fraction off, as the libraries do.
    return nodes.narrow(nodes.node("Gather", nodes.constant(table, np.uint8), nodes.index(row)))
