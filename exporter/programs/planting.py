"""Puts the nodes of any library's trees into one ensemble: each tree in preorder, equal leaves once.

Nodes may come in any order, and from untrusted files: a child that is not there, two parents of one node, a cycle are
refused before anything is built.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.programs.ensemble import ALL_OUTPUTS, LEAF, NUMERIC, CategoryTest, TreeEnsemble

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Nodes of one or more trees, in any order.

    Attributes:
        roots: ``(n_trees,)``: node of each tree's root.
        feature: ``(n_nodes,)``: the column that a node looks at; `LEAF` at a leaf.
        threshold: ``(n_nodes,) float32``: not above it goes left.
        left, right: ``(n_nodes,)``: children; anything at a leaf.
        missing_left: ``(n_nodes,)``: whether NaN goes left.
        category: ``(n_nodes,)``: index into `tests`, or `NUMERIC`.
        values: ``(n_nodes, width) float64``: what a leaf adds; anything at other nodes.
        tests: of the category nodes.
    """

    roots: Places
    feature: NDArray[Any]
    threshold: NDArray[np.float32]
    left: NDArray[Any]
    right: NDArray[Any]
    missing_left: NDArray[np.bool_]
    category: NDArray[Any]
    values: NDArray[np.float64]
    tests: tuple[CategoryTest, ...] = ()


def joined(parts: Sequence[Nodes]) -> Nodes:
    """Return the nodes of all parts in one table, in the order of the parts."""
    shifts = np.cumsum([0, *(len(part.feature) for part in parts)])[:-1]
    test_shifts = np.cumsum([0, *(len(part.tests) for part in parts)])[:-1]
    categories = [
        np.where(part.category == NUMERIC, NUMERIC, part.category + shift)
        for part, shift in zip(parts, test_shifts, strict=True)
    ]
    return Nodes(
        np.concatenate([part.roots + shift for part, shift in zip(parts, shifts, strict=True)]),
        np.concatenate([part.feature for part in parts]),
        np.concatenate([part.threshold for part in parts]),
        np.concatenate([part.left + shift for part, shift in zip(parts, shifts, strict=True)]),
        np.concatenate([part.right + shift for part, shift in zip(parts, shifts, strict=True)]),
        np.concatenate([part.missing_left for part in parts]),
        np.concatenate(categories),
        np.concatenate([part.values for part in parts]),
        tuple(test for part in parts for test in part.tests),
    )


def plant(
    nodes: Nodes,
    n_features: int,
    base: NDArray[np.float64],
    *,
    outputs: Sequence[int] | None = None,
    divisor: float = 1,
) -> TreeEnsemble:
    """Return an ensemble of the trees.

    Args:
        nodes: what no root leads to is left out.
        n_features: columns that a row has.
        base: ``(n_outputs,)``: added once.
        outputs: the output that each tree adds to; None: the leaves hold one number for each output.
        divisor: what the sum of the leaves is divided by.

    Raises:
        ValueError: the nodes make no trees.
    """
    order, places = _preorder(nodes)
    is_leaf = nodes.feature[order] == LEAF
    leaf = np.full(len(order), -1)
    leaves, leaf[is_leaf] = distinct(nodes.values[order[is_leaf]])
    is_numeric = nodes.category[order] == NUMERIC
    category, tests = _distinct_tests(np.where(is_leaf | is_numeric, NUMERIC, nodes.category[order]), nodes.tests)
    return TreeEnsemble(
        roots=places[nodes.roots].astype(np.int32),
        outputs=np.asarray([ALL_OUTPUTS] * len(nodes.roots) if outputs is None else outputs, dtype=np.int32),
        feature=nodes.feature[order].astype(np.int32),
        threshold=np.where(is_leaf | ~is_numeric, np.float32(0), nodes.threshold[order] + np.float32(0)),
        left=np.where(is_leaf, 0, places[np.where(is_leaf, 0, nodes.left[order])]).astype(np.int32),
        right=np.where(is_leaf, 0, places[np.where(is_leaf, 0, nodes.right[order])]).astype(np.int32),
        missing_left=~is_leaf & nodes.missing_left[order].astype(bool),
        category=category.astype(np.int32),
        leaf=leaf.astype(np.int32),
        leaves=leaves,
        tests=tests,
        base=np.asarray(base, dtype=np.float64),
        divisor=float(divisor),
        n_features=n_features,
    )


def nodes_of(ensemble: TreeEnsemble) -> Nodes:
    """Return the nodes of an ensemble, to be changed and planted again."""
    return Nodes(
        ensemble.roots.astype(np.int64),
        ensemble.feature,
        ensemble.threshold,
        ensemble.left,
        ensemble.right,
        ensemble.missing_left,
        ensemble.category,
        ensemble.leaves[np.maximum(ensemble.leaf, 0)],
        ensemble.tests,
    )


def levels_of(nodes: Nodes) -> list[Places]:
    """Return the nodes that roots lead to, depth by depth; raise ValueError when they make no trees."""
    n_nodes = len(nodes.feature)
    if len(nodes.roots) == 0 or nodes.roots.min() < 0 or nodes.roots.max() >= n_nodes:
        raise ValueError(f"{len(nodes.roots)} trees in {n_nodes} nodes")
    # Which node of its level each node is: of one that is there twice, the last would be.
    place = np.full(n_nodes, -1)
    levels = [nodes.roots.astype(np.int64)]
    while len(levels[-1]):
        level = levels[-1]
        is_seen = (place[level] >= 0).any()
        place[level] = np.arange(len(level))
        if is_seen or (place[level] != np.arange(len(level))).any():
            raise ValueError("a node has two parents")
        branches = level[nodes.feature[level] != LEAF]
        children = np.concatenate([nodes.left[branches], nodes.right[branches]]).astype(np.int64)
        if len(children) and (children.min() < 0 or children.max() >= n_nodes):
            raise ValueError(f"a child outside of {n_nodes} nodes")
        levels.append(children)
    return levels[:-1]


def distinct(table: NDArray[Any]) -> tuple[NDArray[Any], Places]:
    """Return the different rows of a table, ascending, and which of them each row is; a zero has no sign.

    A sum that starts with 0.0 never sees the sign of a zero.
    """
    unsigned = np.ascontiguousarray(table + 0)
    if table.shape[1] == 1:  # so much faster that a large forest takes seconds less
        rows, which = np.unique(unsigned[:, 0], return_inverse=True)
        return rows[:, np.newaxis], which.reshape(-1)
    if len(table) == 0:
        return unsigned, np.zeros(0, dtype=np.int64)
    order = np.lexsort(unsigned.T[::-1])
    is_new = np.ones(len(table), dtype=bool)
    is_new[1:] = (unsigned[order[1:]] != unsigned[order[:-1]]).any(axis=1)
    which = np.empty(len(table), dtype=np.int64)
    which[order] = np.cumsum(is_new) - 1
    return unsigned[order[is_new]], which


def _preorder(nodes: Nodes) -> tuple[Places, Places]:
    """Return the nodes in preorder, tree by tree, and the place of each node in that order."""
    levels = levels_of(nodes)
    sizes = np.ones(len(nodes.feature), dtype=np.int64)
    for level in reversed(levels):
        branches = level[nodes.feature[level] != LEAF]
        sizes[branches] += sizes[nodes.left[branches]] + sizes[nodes.right[branches]]
    places = np.zeros(len(nodes.feature), dtype=np.int64)
    places[nodes.roots] = np.cumsum(sizes[nodes.roots]) - sizes[nodes.roots]
    for level in levels:
        branches = level[nodes.feature[level] != LEAF]
        places[nodes.left[branches]] = places[branches] + 1
        places[nodes.right[branches]] = places[branches] + 1 + sizes[nodes.left[branches]]
    reached = np.concatenate(levels)
    order = np.empty(len(reached), dtype=np.int64)
    order[places[reached]] = reached
    return order, places


def _distinct_tests(
    category: NDArray[Any], tests: tuple[CategoryTest, ...]
) -> tuple[NDArray[Any], tuple[CategoryTest, ...]]:
    used = np.unique(category[category != NUMERIC])
    if len(used) and (used.min() < 0 or used.max() >= len(tests)):
        raise ValueError(f"a node names a category test outside of {len(tests)}")
    distinct: dict[CategoryTest, int] = {}
    renamed = np.full(len(tests) + 1, NUMERIC)
    for old in used.tolist():
        renamed[old] = distinct.setdefault(tests[old], len(distinct))
    return renamed[category], tuple(distinct)
