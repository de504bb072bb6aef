"""Takes apart how ONNX writes the nodes of trees: named by tree and number (ai.onnx.ml 1-3), or in tables (5).

A file is untrusted input: every list's length, every child, leaf and answer is checked before it is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exporter.reading.onnx_values import GraphReading

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEAF_MODE: Final = "LEAF"
# By the numbers of `TreeEnsemble`.
MODES: Final = tuple(f"BRANCH_{name}" for name in ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ", "MEMBER"))


@dataclass(frozen=True, slots=True, eq=False)
class Branches:
    """Nodes as ONNX writes them, leaves too.

    Attributes:
        roots: ``(n_trees,)``.
        modes: ``(n_nodes,)``: what is asked, or `LEAF_MODE`.
        true, false: ``(n_nodes,)``: children; anything at a leaf.
        missing_true: ``(n_nodes,)``: whether NaN is sent to the true child whatever is asked.
        members: by node that asks for one of several, which.
        values: ``(n_nodes, n_outputs)``: what leaves add.
    """

    roots: Ints
    modes: NDArray[Any]
    feature: Ints
    threshold: Floats
    true: Ints
    false: Ints
    missing_true: Bools
    members: Mapping[int, tuple[float, ...]]
    values: Floats


def named_branches(reading: GraphReading, kind: str, n_outputs: int) -> Branches:
    """Read nodes that are named by tree and number."""
    trees, numbers = integers(reading, "nodes_treeids"), integers(reading, "nodes_nodeids")
    modes = np.array([mode.decode(errors="replace") for mode in reading.attribute("nodes_modes", [])], dtype=object)
    n_nodes = len(modes)
    place_of = {key: place for place, key in enumerate(zip(trees.tolist(), numbers.tolist(), strict=False))}
    if n_outputs < 1 or n_nodes == 0 or len(place_of) != n_nodes or not np.isin(modes, (*MODES[:-1], LEAF_MODE)).all():
        raise reading.refuse(f"of {len(place_of)} different nodes, {n_nodes} modes and {n_outputs} answers")
    is_branch = modes != LEAF_MODE
    children = []
    for name in ("nodes_truenodeids", "nodes_falsenodeids"):
        found = _sized(reading, name, integers(reading, name), n_nodes)
        keys = zip(trees[is_branch].tolist(), found[is_branch].tolist(), strict=True)
        placed = np.zeros(n_nodes, dtype=np.int64)
        placed[is_branch] = [place_of.get(key, -1) for key in keys]
        children.append(placed)
    is_child = np.zeros(n_nodes, dtype=bool)
    is_child[np.concatenate([side[is_branch & (side >= 0)] for side in children])] = True
    if not np.array_equal(np.sort(trees[~is_child]), np.unique(trees)):
        raise reading.refuse("with a tree that has not one root")
    missing = integers(reading, "nodes_missing_value_tracks_true")
    return Branches(
        roots=np.flatnonzero(~is_child),
        modes=modes,
        feature=_sized(reading, "nodes_featureids", integers(reading, "nodes_featureids"), n_nodes),
        threshold=_sized(reading, "nodes_values", numbers_of(reading, "nodes_values"), n_nodes),
        true=children[0],
        false=children[1],
        missing_true=_sized(reading, "missing tracks", missing, n_nodes) != 0 if len(missing) else ~is_branch & False,
        members={},
        values=_old_values(reading, kind, place_of, (n_nodes, n_outputs)),
    )


def _old_values(
    reading: GraphReading, kind: str, place_of: Mapping[tuple[int, int], int], shape: tuple[int, int]
) -> Floats:
    weights = numbers_of(reading, f"{kind}_weights")
    ids, trees, numbers = (
        _sized(reading, f"{kind}_{name}", integers(reading, f"{kind}_{name}"), len(weights))
        for name in ("ids", "treeids", "nodeids")
    )
    places = np.array([place_of.get(key, -1) for key in zip(trees.tolist(), numbers.tolist(), strict=True)])
    if len(weights) == 0 or places.min() < 0 or ids.min() < 0 or ids.max() >= shape[1]:
        raise reading.refuse("with weights of leaves or answers that are not there")
    values = np.zeros(shape)
    np.add.at(values, (places, ids), weights)
    return values


def tabled_branches(reading: GraphReading) -> Branches:
    """Read nodes in one table, and leaves in another; the leaves are put behind the nodes."""
    feature, splits = integers(reading, "nodes_featureids"), numbers_of(reading, "nodes_splits")
    n_nodes = len(feature)
    leaf_ids, weights = integers(reading, "leaf_targetids"), numbers_of(reading, "leaf_weights")
    n_targets, n_leaves = int(reading.attribute("n_targets", 1)), len(leaf_ids)
    kinds = _sized(reading, "nodes_modes", integers(reading, "nodes_modes"), n_nodes)
    if n_nodes == 0 or n_leaves == 0 or n_targets < 1 or kinds.min() < 0 or kinds.max() >= len(MODES):
        raise reading.refuse(f"of {n_nodes} nodes, {n_leaves} leaves and {n_targets} answers")
    roots = integers(reading, "tree_roots")
    if len(roots) == 0 or roots.min() < 0 or roots.max() >= n_nodes:
        raise reading.refuse(f"with a root outside of {n_nodes} nodes")
    if leaf_ids.min() < 0 or leaf_ids.max() >= n_targets:
        raise reading.refuse(f"with a leaf of an answer outside of {n_targets}")
    modes = np.array([MODES[kind] for kind in kinds.tolist()] + [LEAF_MODE] * n_leaves, dtype=object)
    children = []
    for side in ("true", "false"):
        ids = _sized(reading, f"nodes_{side}nodeids", integers(reading, f"nodes_{side}nodeids"), n_nodes)
        is_leaf = _sized(reading, f"nodes_{side}leafs", integers(reading, f"nodes_{side}leafs"), n_nodes) != 0
        if ids.min() < 0 or (ids >= np.where(is_leaf, n_leaves, n_nodes)).any():
            raise reading.refuse(f"with a child outside of {n_nodes} nodes and {n_leaves} leaves")
        children.append(np.where(is_leaf, n_nodes + ids, ids))
    values = np.zeros((n_nodes + n_leaves, n_targets))
    values[n_nodes + np.arange(n_leaves), leaf_ids] = _sized(reading, "leaf_weights", weights, n_leaves)
    missing = integers(reading, "nodes_missing_value_tracks_true")
    missing = _sized(reading, "missing tracks", missing, n_nodes) if len(missing) else np.zeros(n_nodes, np.int64)
    behind = np.zeros(n_leaves, dtype=np.int64)
    found = Branches(
        roots=roots,
        modes=modes,
        feature=np.concatenate([feature, behind]),
        threshold=np.concatenate([_sized(reading, "nodes_splits", splits, n_nodes), np.zeros(n_leaves)]),
        true=np.concatenate([children[0], behind]),
        false=np.concatenate([children[1], behind]),
        missing_true=np.concatenate([missing, behind]) != 0,
        members=_members(reading, np.flatnonzero(kinds == MODES.index("BRANCH_MEMBER"))),
        values=values,
    )
    return _with_own_leaves(found, n_nodes)


def _with_own_leaves(branches: Branches, n_nodes: int) -> Branches:
    """Return nodes whose leaves have one parent each: a file may share them."""
    leaves = np.concatenate([side[:n_nodes] for side in (branches.true, branches.false)])
    is_leaf = leaves >= n_nodes
    chosen = leaves[is_leaf]
    kept = np.concatenate([np.arange(n_nodes), chosen])
    renamed = leaves.copy()
    renamed[is_leaf] = n_nodes + np.arange(len(chosen))
    behind = np.zeros(len(chosen), dtype=np.int64)
    return replace(
        branches,
        modes=branches.modes[kept],
        feature=branches.feature[kept],
        threshold=branches.threshold[kept],
        true=np.concatenate([renamed[:n_nodes], behind]),
        false=np.concatenate([renamed[n_nodes:], behind]),
        missing_true=branches.missing_true[kept],
        values=branches.values[kept],
    )


def _members(reading: GraphReading, nodes: Ints) -> dict[int, tuple[float, ...]]:
    """Return the set of each node that asks for one: they stand one behind the other, NaN between them."""
    sets: list[list[float]] = [[]]
    for number in numbers_of(reading, "membership_values").tolist():
        if np.isnan(number):
            sets.append([])
        else:
            sets[-1].append(number)
    if len(nodes) > len(sets):
        raise reading.refuse(f"with {len(sets)} sets for {len(nodes)} nodes")
    return {node: tuple(members) for node, members in zip(nodes.tolist(), sets, strict=False)}


def integers(reading: GraphReading, name: str) -> Ints:
    return np.asarray(reading.attribute(name, []), dtype=np.int64).reshape(-1)


def numbers_of(reading: GraphReading, name: str) -> Floats:
    """Return numbers of a list, or of the tensor of the same name, which may be of float64."""
    found = reading.attribute(f"{name}_as_tensor", None)
    return np.asarray(reading.attribute(name, []) if found is None else found, dtype=np.float64).reshape(-1)


def _sized(reading: GraphReading, name: str, found: NDArray[Any], count: int) -> Any:
    if len(found) != count:
        raise reading.refuse(f"with {len(found)} {name} where {count} are expected")
    return found
