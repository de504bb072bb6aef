"""Reads ONNX's tree ensembles: ``TreeEnsembleClassifier`` and ``-Regressor`` of ai.onnx.ml 1-3, ``TreeEnsemble`` of 5.

What the specification leaves open is read as ONNX Runtime does it. A comparison of any kind becomes ``<=``: by the
float32 just below a threshold, and by changing the children. Tests for being equal, or one of several, become columns
of 0 and 1 beside the others.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.programs.ensemble import LEAF, NUMERIC, TreeEnsemble
from exporter.programs.float32 import Float32s, below, not_above
from exporter.programs.planting import Nodes, plant
from exporter.programs.program import Columns, Complement, Join, Linear, OneHot, Softmax, Trees
from exporter.reading.onnx_branches import LEAF_MODE, Branches, integers, named_branches, numbers_of, tabled_branches
from exporter.reading.onnx_values import GraphReading, Operator, Value, Vector

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_AGGREGATES: Final = ("AVERAGE", "SUM", "MIN", "MAX")
# Above the threshold it is true.
_ABOVE: Final = ("BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_MEMBER")
# ``<`` and ``>=`` part the numbers just below the threshold from it.
_BELOW: Final = ("BRANCH_LT", "BRANCH_GTE")
_SETS: Final = ("BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
_PAIR: Final = 2


def _regressor(reading: GraphReading) -> Value:
    n_targets = int(reading.attribute("n_targets", 1))
    branches = named_branches(reading, "target", n_targets)
    scores = _scores(reading, branches, _text(reading, "aggregate_function", "SUM"), _base(reading, n_targets))
    return _transformed(reading, scores, _text(reading, "post_transform", "NONE"))


def _classifier(reading: GraphReading) -> Value:
    n_classes = len(reading.attribute("classlabels_int64s", [])) or len(reading.attribute("classlabels_strings", []))
    branches, post = named_branches(reading, "class", n_classes), _text(reading, "post_transform", "NONE")
    if n_classes != _PAIR:
        return _transformed(reading, _scores(reading, branches, "SUM", _base(reading, n_classes)), post)
    base = numbers_of(reading, "base_values")
    if not (integers(reading, "class_ids") == 0).all():
        if len(base):  # ONNX Runtime adds them to other scores than one would think
            raise reading.refuse("of two classes with base values")
        return _transformed(reading, _scores(reading, branches, "SUM", np.zeros(_PAIR)), post)
    # One score for two classes: the signs of the weights say whether it is a probability.
    if len(base) > 1 or post not in ("NONE", "LOGISTIC", "SOFTMAX"):
        raise reading.refuse(f"of one score for two classes, {len(base)} base values and {post}")
    one = replace(branches, values=branches.values[:, :1])
    scores = _scores(reading, one, "SUM", base if len(base) else np.zeros(1))
    if post == "LOGISTIC" or (branches.values >= 0).all():
        positive = reading.curve(scores, "logistic") if post == "LOGISTIC" else scores
        return reading.add(Complement(positive.place), (_PAIR,))
    return reading.add(Linear(scores.place, np.array([[-1.0, 1.0]]), np.zeros(_PAIR)), (_PAIR,))


def _ensemble(reading: GraphReading) -> Value:
    branches, post = tabled_branches(reading), int(reading.attribute("post_transform", 0))
    if post != 0:  # 1 is SOFTMAX by the specification and LOGISTIC to ONNX Runtime, 2 the other way round
        raise reading.refuse(f"with the transformation {post}, which is not read alike everywhere,")
    aggregate = int(reading.attribute("aggregate_function", 1))
    if not 0 <= aggregate < len(_AGGREGATES):
        raise reading.refuse(f"with the number {aggregate} for one of {', '.join(_AGGREGATES)}")
    return _scores(reading, branches, _AGGREGATES[aggregate], np.zeros(branches.values.shape[1]))


def _scores(reading: GraphReading, branches: Branches, aggregate: str, base: Floats) -> Vector:
    """Add the sum or the mean over the trees."""
    if aggregate not in ("SUM", "AVERAGE") and len(branches.roots) > 1:
        raise reading.refuse(f"that takes the {aggregate} over {len(branches.roots)} trees")
    row = reading.flat()
    is_branch = branches.modes != LEAF_MODE
    if (branches.feature[is_branch] < 0).any() or (branches.feature[is_branch] >= row.width).any():
        raise reading.refuse(f"that looks at a column outside of {row.width}")
    sets, feature = _set_columns(branches)
    places = [row.place, *(_one_hot(reading, row.place, *key) for key in sets)]
    place = places[0] if len(places) == 1 else reading.builder.add(Join(tuple(places)))
    try:
        ensemble = _planted(branches, feature, row.width + len(sets), base, aggregate)
    except ValueError as error:
        raise reading.refuse(f"({error})") from error
    return reading.add(Trees(place, ensemble), (len(base),))


def _set_columns(branches: Branches) -> tuple[dict[tuple[int, tuple[float, ...]], int], Ints]:
    """Return the sets that are asked for, by column, and the nodes' columns with those of the sets behind the row's."""
    sets: dict[tuple[int, tuple[float, ...]], int] = {}
    place_of: dict[int, int] = {}
    for node in np.flatnonzero(np.isin(branches.modes, _SETS)).tolist():
        asked = branches.members.get(node, (float(branches.threshold[node]),))
        # What float32 does not hold, no number of a row equals.
        members = tuple(sorted({value for value in asked if float(np.float32(value)) == value}))
        if branches.missing_true[node] and branches.modes[node] != "BRANCH_NEQ":
            members = (*members, float("nan"))
        if members:
            place_of[node] = sets.setdefault((int(branches.feature[node]), members), len(sets))
    feature = branches.feature.copy()
    for node, place in place_of.items():
        feature[node] = ~place  # until the row's width is known
    return sets, feature


def _one_hot(reading: GraphReading, row: int, column: int, members: tuple[float, ...]) -> int:
    return reading.builder.add(OneHot(reading.builder.add(Columns(row, (column,))), (members,)))


def _planted(branches: Branches, feature: Ints, n_columns: int, base: Floats, aggregate: str) -> TreeEnsemble:
    is_leaf, is_set = branches.modes == LEAF_MODE, feature < 0
    # Equal to what no float32 is: never, and so all that is compared goes one way.
    is_never = np.isin(branches.modes, _SETS) & ~is_set
    is_above, is_below = np.isin(branches.modes, _ABOVE), np.isin(branches.modes, _BELOW)
    n_sets = int(is_set.any()) and int((~feature[is_set]).max()) + 1
    threshold = np.where(is_below, _just_below(branches.threshold), not_above(branches.threshold))
    # NaN: no comparison is true of it; it is not equal to anything. A column of a set never misses.
    missing_true = branches.missing_true | (branches.modes == "BRANCH_NEQ")
    values, outputs = _narrowed(branches)
    nodes = Nodes(
        roots=branches.roots,
        feature=np.where(is_leaf, LEAF, np.where(is_set, n_columns - n_sets + ~feature, feature)),
        threshold=np.where(is_set, np.float32(0.5), np.where(is_never, np.float32(np.inf), threshold)),
        left=np.where(is_above, branches.false, branches.true),
        right=np.where(is_above, branches.true, branches.false),
        missing_left=missing_true ^ is_above,
        category=np.full(len(is_leaf), NUMERIC),
        values=values,
    )
    divisor = len(branches.roots) if aggregate == "AVERAGE" else 1
    return plant(nodes, n_columns, base, outputs=outputs, divisor=divisor)


def _just_below(thresholds: Floats) -> Float32s:
    """Return the greatest float32 below each threshold, which float32 may not hold itself."""
    found = not_above(thresholds)
    return np.where(found.astype(np.float64) == thresholds, below(found), found)


def _narrowed(branches: Branches) -> tuple[Floats, list[int] | None]:
    """Return leaves of one number, with the output of each tree, where no tree adds to two outputs."""
    tree_of = _trees_of(branches)
    adds = np.zeros((len(branches.roots), branches.values.shape[1]), dtype=bool)
    np.logical_or.at(adds, tree_of, branches.values != 0)
    if branches.values.shape[1] == 1 or (adds.sum(axis=1) > 1).any():
        return branches.values, None
    outputs = np.argmax(adds, axis=1)
    return branches.values[np.arange(len(tree_of)), outputs[tree_of]][:, np.newaxis], outputs.tolist()


def _trees_of(branches: Branches) -> Ints:
    """Return the tree of each node; raise ValueError when the nodes make no trees, or some belong to none."""
    tree_of = np.full(len(branches.modes), -1)
    level, trees = branches.roots, np.arange(len(branches.roots))
    while len(level):
        if (tree_of[level] >= 0).any() or len(np.unique(level)) != len(level):
            raise ValueError("a node has two parents")
        tree_of[level] = trees
        is_branch = branches.modes[level] != LEAF_MODE
        level, trees = level[is_branch], trees[is_branch]
        children = np.concatenate([branches.true[level], branches.false[level]])
        if (children < 0).any() or (children >= len(tree_of)).any():
            raise ValueError(f"a child outside of {len(tree_of)} nodes")
        level, trees = children, np.concatenate([trees, trees])
    if (tree_of < 0).any():
        raise ValueError("no root leads to some nodes")
    return tree_of


def _transformed(reading: GraphReading, scores: Vector, post: str) -> Value:
    if post == "NONE":
        return scores
    # One score ONNX Runtime leaves as it is, whatever the specification says.
    if post == "LOGISTIC" and scores.width > 1:
        return reading.curve(scores, "logistic")
    if post == "SOFTMAX" and scores.width > 1:
        return reading.add(Softmax(scores.place), scores.shape)
    raise reading.refuse(f"with {post} of {scores.width} scores")


def _base(reading: GraphReading, n_outputs: int) -> Floats:
    base = numbers_of(reading, "base_values")
    if len(base) not in (0, n_outputs):
        raise reading.refuse(f"of {n_outputs} answers with {len(base)} base values")
    return base if len(base) else np.zeros(n_outputs)


def _text(reading: GraphReading, name: str, default: str) -> str:
    found = reading.attribute(name, default.encode())
    return found.decode(errors="replace") if isinstance(found, bytes) else str(found)


OPERATORS: Final[Mapping[str, Operator]] = {
    "TreeEnsembleRegressor": _regressor,
    "TreeEnsembleClassifier": _classifier,
    "TreeEnsemble": _ensemble,
}
