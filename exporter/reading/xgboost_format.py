"""Takes XGBoost's model files apart: JSON, and the same in Universal Binary JSON.

A file is untrusted input: what contradicts itself is refused with the place, and nothing of it is run.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exporter.errors import ModelError
from exporter.reading.ubjson import parse_ubjson

Floats = NDArray[np.float64]
Float32s = NDArray[np.float32]
Ints = NDArray[np.int64]

# Categories are small numbers: a file that names larger ones would make us allocate for them.
_MAX_CATEGORY: Final = 1 << 24


@dataclass(frozen=True, slots=True, eq=False)
class XgBoostTree:
    """One tree; a leaf has no left child (-1), and its value as condition.

    Attributes:
        feature, condition, left, right, default_left, is_category: ``(n_nodes,)``.
        categories: by category node, what goes right.
    """

    feature: Ints
    condition: Float32s
    left: Ints
    right: Ints
    default_left: NDArray[np.bool_]
    is_category: NDArray[np.bool_]
    categories: Mapping[int, frozenset[int]]


@dataclass(frozen=True, slots=True, eq=False)
class XgBoostModel:
    """A model file.

    Attributes:
        objective: its name.
        n_outputs: classes, or 1.
        base_score: ``(1,)`` or ``(n_outputs,)``: what the answer is before the first tree, behind the link.
        trees: in the order in which they are added.
        outputs: the output that each tree adds to.
        weights: what each tree's leaves are multiplied by (dart), else 1.
        linear: ``(n_features + 1, n_outputs)`` of a linear booster, the last row its bias; None for trees.
        best_iteration: the last one that scikit-learn's interface uses, where training stopped early.
        has_texts: whether it was trained on a data frame whose categories are texts.
        is_from_sklearn: whether scikit-learn's interface saved it.
    """

    objective: str
    n_features: int
    n_outputs: int
    base_score: Float32s
    trees: tuple[XgBoostTree, ...] = field(repr=False)
    outputs: Ints
    weights: Float32s
    iteration_starts: Ints
    linear: Floats | None
    best_iteration: int | None
    has_texts: bool
    is_from_sklearn: bool


def parse_model(data: bytes, where: str) -> XgBoostModel:
    """Take a model file apart.

    Raises:
        ModelError: it is none, contradicts itself, or has trees of several targets.
    """
    try:
        # JSON's first key stands in quotes, that of the binary form behind its length.
        is_text = data.lstrip()[:1] == b"{" and data.lstrip()[1:].lstrip()[:1] in (b'"', b"}")
        content = json.loads(data) if is_text else parse_ubjson(data)
        model = _model_of(content["learner"], where)
        for problem in _problems_of(model):
            raise ModelError(f"{where}: {problem}")
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, IndexError, RecursionError) as error:
        raise ModelError(f"{where}: not a model file of XGBoost ({type(error).__name__}: {error})") from error
    return model


def _model_of(learner: Mapping[str, Any], where: str) -> XgBoostModel:
    parameters, booster = learner["learner_model_param"], learner["gradient_booster"]
    attributes = learner.get("attributes", {})
    if int(parameters.get("num_target", "1")) > 1:
        raise ModelError(f"{where}: answers {parameters['num_target']} targets at once, which is not supported")
    n_features, n_outputs = int(parameters["num_feature"]), max(int(parameters["num_class"]), 1)
    name = booster["name"]
    body = booster["gbtree"] if name == "dart" else booster
    linear = None
    if name == "gblinear":
        linear = np.array(body["model"]["weights"], dtype=np.float64).reshape(n_features + 1, n_outputs)
        trees, outputs, starts = [], np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    else:
        trees = [_tree_of(tree, f"{where}: tree {i}") for i, tree in enumerate(body["model"]["trees"])]
        outputs = np.array(body["model"]["tree_info"], dtype=np.int64)
        starts = _starts_of(body["model"], len(trees), n_outputs)
    dropped = booster.get("weight_drop") if name == "dart" else None
    encodings = body["model"].get("cats", {}).get("enc", []) if name != "gblinear" else []
    best = attributes.get("best_iteration")
    return XgBoostModel(
        objective=str(learner["objective"]["name"]),
        n_features=n_features,
        n_outputs=n_outputs,
        base_score=np.array(str(parameters["base_score"]).strip("[]").split(","), dtype=np.float32),
        trees=tuple(trees),
        outputs=outputs,
        weights=np.array(np.ones(len(trees)) if dropped is None else dropped, dtype=np.float32),
        iteration_starts=starts,
        linear=linear,
        best_iteration=None if best is None else int(best),
        has_texts=any(len(encoding.get("values", ())) > 0 for encoding in encodings),
        is_from_sklearn="scikit_learn" in attributes,
    )


def _starts_of(model: Mapping[str, Any], n_trees: int, n_outputs: int) -> Ints:
    """Return the first tree of each iteration, and the number of trees; files before version 2 do not say it."""
    starts = model.get("iteration_indptr")
    if starts is None:
        size = max(int(model["gbtree_model_param"].get("num_parallel_tree", "1")), 1) * n_outputs
        starts = [*range(0, n_trees, size), n_trees]
    return np.array(starts, dtype=np.int64)


def _tree_of(tree: Mapping[str, Any], where: str) -> XgBoostTree:
    if int(tree["tree_param"].get("size_leaf_vector", "1") or "1") > 1:
        raise ModelError(f"{where}: has leaves of several targets, which is not supported")
    nodes, starts, sizes = (np.array(tree.get(f"categories_{name}", []), dtype=np.int64) for name in _CATEGORY_PARTS)
    members = np.array(tree.get("categories", []), dtype=np.int64)
    if len({len(nodes), len(starts), len(sizes)}) > 1 or (
        len(sizes) and (min(starts.min(), sizes.min()) < 0 or (starts + sizes).max() > len(members))
    ):
        raise ModelError(f"{where}: its lists of categories do not fit each other")
    if len(members) and (members.min() < 0 or members.max() > _MAX_CATEGORY):
        raise ModelError(f"{where}: holds a category outside of 0 to {_MAX_CATEGORY}")
    left = np.array(tree["left_children"], dtype=np.int64)
    split_type = np.array(tree.get("split_type", np.zeros(len(left))), dtype=np.int64)
    return XgBoostTree(
        feature=np.array(tree["split_indices"], dtype=np.int64),
        condition=np.array(tree["split_conditions"], dtype=np.float32),
        left=left,
        right=np.array(tree["right_children"], dtype=np.int64),
        default_left=np.array(tree["default_left"], dtype=np.int64).astype(bool),
        is_category=(split_type == 1) & (left >= 0),
        categories={
            node: frozenset(members[start : start + size].tolist())
            for node, start, size in zip(nodes.tolist(), starts.tolist(), sizes.tolist(), strict=True)
        },
    )


_CATEGORY_PARTS: Final = ("nodes", "segments", "sizes")


def _problems_of(model: XgBoostModel) -> Iterator[str]:
    n_trees, starts = len(model.trees), model.iteration_starts
    if model.n_features < 1 or len(model.base_score) not in (1, model.n_outputs):
        yield f"{len(model.base_score)} base scores of {model.n_outputs} outputs over {model.n_features} columns"
    if not np.isfinite(model.base_score).all():
        yield "a base score is no number"
    if len(model.outputs) != n_trees or len(model.weights) != n_trees:
        yield f"{n_trees} trees, {len(model.outputs)} outputs and {len(model.weights)} weights of them"
    elif n_trees and (model.outputs.min() < 0 or model.outputs.max() >= model.n_outputs):
        yield f"a tree adds to an output outside of {model.n_outputs}"
    if len(starts) == 0 or starts[0] != 0 or starts[-1] != n_trees or (np.diff(starts) < 0).any():
        yield f"its iterations do not cover its {n_trees} trees"
    for i, tree in enumerate(model.trees):
        yield from (f"tree {i} {problem}" for problem in _problems_of_tree(tree, model.n_features))


def _problems_of_tree(tree: XgBoostTree, n_features: int) -> Iterator[str]:
    parts = (tree.feature, tree.condition, tree.right, tree.default_left, tree.is_category)
    if len(tree.left) == 0 or any(len(part) != len(tree.left) for part in parts):
        yield "has parts of different lengths"
    elif ((tree.feature < 0) | (tree.feature >= n_features))[tree.left >= 0].any():
        yield f"looks at a column outside of {n_features}"
    elif np.isnan(tree.condition[~tree.is_category]).any():
        yield "holds what is no number"
    elif any(node not in tree.categories for node in np.flatnonzero(tree.is_category).tolist()):
        yield "has a category node without categories"
