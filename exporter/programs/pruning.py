"""Takes out of trees what can never matter: branches that no number reaches, and questions whose answers agree.

No row's answer changes by a single bit: it comes to an equal leaf by fewer questions. Rounding thresholds to float32
and moving them before an imputer make such nodes, and so do the libraries themselves.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from exporter.programs.ensemble import LEAF, NUMERIC
from exporter.programs.float32 import LAST_ORDINAL, ordinals_of
from exporter.programs.planting import Nodes, levels_of

Places = NDArray[np.int64]
Bools = NDArray[np.bool_]


def without_dead_nodes(nodes: Nodes) -> Nodes:
    """Return the nodes, in which no pointer leads to a node that asks in vain any more; plant them to be rid of them.

    Raises:
        ValueError: the nodes make no trees.
    """
    levels = levels_of(nodes)
    instead = _undecided(nodes, levels)
    nodes = _led_past(nodes, instead)
    return _led_past(nodes, _equal_subtrees(nodes, levels_of(nodes)))


def _undecided(nodes: Nodes, levels: list[Places]) -> Places:
    """Return for each node itself, or its child to which every number goes that can come to the node at all."""
    n_nodes = len(nodes.feature)
    parent = np.full(n_nodes, -1)
    is_left_child = np.zeros(n_nodes, dtype=bool)
    branches = np.concatenate([level[nodes.feature[level] != LEAF] for level in levels])
    parent[nodes.left[branches]] = branches
    parent[nodes.right[branches]] = branches
    is_left_child[nodes.left[branches]] = True

    threshold = ordinals_of(nodes.threshold)
    # What may still come to a node in its column: ordinals in (low, high], and NaN.
    low, high = np.full(n_nodes, -LAST_ORDINAL - 1), np.full(n_nodes, LAST_ORDINAL)
    may_miss = np.ones(n_nodes, dtype=bool)
    here, above = branches, branches
    while len(here):
        was_left = is_left_child[above]
        above = parent[above]
        is_inside = above >= 0
        here, above, was_left = here[is_inside], above[is_inside], was_left[is_inside]
        is_same = nodes.feature[above] == nodes.feature[here]
        node, asked, left = here[is_same], above[is_same], was_left[is_same]
        may_miss[node] &= nodes.missing_left[asked] == left
        is_numeric = nodes.category[asked] == NUMERIC
        went_left, went_right = is_numeric & left, is_numeric & ~left
        high[node[went_left]] = np.minimum(high[node[went_left]], threshold[asked[went_left]])
        low[node[went_right]] = np.maximum(low[node[went_right]], threshold[asked[went_right]])

    instead = np.arange(n_nodes)
    numeric = branches[nodes.category[branches] == NUMERIC]
    none_right, none_left = high[numeric] <= threshold[numeric], low[numeric] >= threshold[numeric]
    missing_left = nodes.missing_left[numeric]
    all_left = none_right & (~may_miss[numeric] | missing_left)
    all_right = none_left & ~all_left & (~may_miss[numeric] | ~missing_left)
    instead[numeric[all_left]] = nodes.left[numeric[all_left]]
    instead[numeric[all_right]] = nodes.right[numeric[all_right]]
    return instead


def _equal_subtrees(nodes: Nodes, levels: list[Places]) -> Places:
    """Return for each node itself, or its left child where both children hold the same subtree."""
    instead = np.arange(len(nodes.feature))
    values = np.ascontiguousarray(nodes.values + 0.0)
    # Equal subtrees get equal names, from the leaves up.
    names = np.zeros(len(nodes.feature), dtype=np.int64)
    reached = np.concatenate(levels)
    leaves = reached[nodes.feature[reached] == LEAF]
    names[leaves] = np.unique(values[leaves], axis=0, return_inverse=True)[1].reshape(-1)
    known: dict[tuple[object, ...], int] = {}
    left, right = nodes.left.tolist(), nodes.right.tolist()
    feature, threshold = nodes.feature.tolist(), nodes.threshold.tolist()
    missing_left, category = nodes.missing_left.tolist(), nodes.category.tolist()
    name = names.tolist()
    for level in reversed(levels):
        for node in level[nodes.feature[level] != LEAF].tolist():
            below = name[left[node]], name[right[node]]
            if below[0] == below[1]:
                instead[node], name[node] = left[node], below[0]
                continue
            test = threshold[node] if category[node] == NUMERIC else nodes.tests[category[node]]
            key = (feature[node], test, missing_left[node], *below)
            name[node] = known.setdefault(key, len(leaves) + len(known))
    return instead


def _led_past(nodes: Nodes, instead: Places) -> Nodes:
    """Return the nodes with every pointer led to what stands in a node's place."""
    while not np.array_equal(instead[instead], instead):
        instead = instead[instead]
    is_branch = nodes.feature != LEAF
    children = [np.where(is_branch, instead[np.where(is_branch, side, 0)], side) for side in (nodes.left, nodes.right)]
    return replace(nodes, roots=instead[nodes.roots], left=children[0], right=children[1])
