"""Takes out of trees what can never matter: branches that no number reaches, and questions whose answers agree.

No row's answer changes by a single bit: it comes to an equal leaf by fewer questions. Rounding thresholds to float32
and moving them before an imputer make such nodes, and so do the libraries themselves.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from exporter.programs.ensemble import LEAF, NUMERIC, CategoryTest
from exporter.programs.float32 import LAST_ORDINAL, ordinals_of
from exporter.programs.planting import Nodes, distinct, levels_of

Places = NDArray[np.int64]
Bools = NDArray[np.bool_]
Digests = NDArray[np.uint64]


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
    reached = np.concatenate(levels)
    leaves = reached[nodes.feature[reached] == LEAF]
    leaf = np.full(len(nodes.feature), -1)
    leaf[leaves] = distinct(nodes.values[leaves])[1]
    test = _tests_of(nodes)
    digests = leaf.astype(np.uint64)
    for level in reversed(levels):
        branches = level[nodes.feature[level] != LEAF]
        left, right = nodes.left[branches], nodes.right[branches]
        mixed = np.zeros(len(branches), dtype=np.uint64)
        for part in (test[branches], digests[left], digests[right]):
            mixed = _mix(mixed, part.astype(np.uint64))
        digests[branches] = mixed
        # Equal digests only suggest equal subtrees.
        for node in branches[digests[left] == digests[right]].tolist():
            below = int(nodes.left[node]), int(nodes.right[node])
            if _are_equal(*below, nodes, instead, test, leaf):
                instead[node], digests[node] = below[0], digests[below[0]]
    return instead


def _tests_of(nodes: Nodes) -> Places:
    """Return a number for what each node asks: equal numbers, equal questions."""
    known: dict[CategoryTest, int] = {}
    renamed = np.array([known.setdefault(test, len(known)) for test in nodes.tests] + [NUMERIC], dtype=np.int64)
    threshold = np.where(nodes.category == NUMERIC, nodes.threshold, np.float32(0)).view(np.int32)
    parts = (nodes.feature, renamed[nodes.category], threshold, nodes.missing_left)
    return distinct(np.stack([np.asarray(part, dtype=np.int64) for part in parts], axis=1))[1]


def _mix(digests: Digests, part: Digests) -> Digests:
    """Return digests of a sequence with one more part (the finalizer of SplitMix64)."""
    mixed = (digests ^ part) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)


def _are_equal(first: int, second: int, nodes: Nodes, instead: Places, test: Places, leaf: Places) -> bool:
    waiting = [(first, second)]
    while waiting:
        one, other = (int(instead[node]) for node in waiting.pop())
        if one == other:
            continue
        if leaf[one] != leaf[other] or (leaf[one] < 0 and test[one] != test[other]):
            return False
        if leaf[one] < 0:
            waiting += [
                (int(nodes.left[one]), int(nodes.left[other])),
                (int(nodes.right[one]), int(nodes.right[other])),
            ]
    return True


def _led_past(nodes: Nodes, instead: Places) -> Nodes:
    """Return the nodes with every pointer led to what stands in a node's place."""
    while not np.array_equal(instead[instead], instead):
        instead = instead[instead]
    is_branch = nodes.feature != LEAF
    children = [np.where(is_branch, instead[np.where(is_branch, side, 0)], side) for side in (nodes.left, nodes.right)]
    return replace(nodes, roots=instead[nodes.roots], left=children[0], right=children[1])
