"""Parses LightGBM's model files: its text form, which it loads itself, and the JSON that ``dump_model`` writes.

A file is untrusted input: what contradicts itself is refused with the place, and nothing of it is run.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exporter.errors import ModelError
from exporter.programs.ensemble import members_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Bits of a node's decision type (LightGBM's include/LightGBM/tree.h).
CATEGORY: Final = 1
DEFAULT_LEFT: Final = 2
MISSING_SHIFT: Final = 2
MISSING_ZERO: Final = 1
MISSING_NAN: Final = 2
_MISSING_NAMES: Final = ("None", "Zero", "NaN")
# Categories are small numbers: a file that names larger ones would make us allocate for them.
_MAX_CATEGORY: Final = 1 << 24


@dataclass(frozen=True, slots=True, eq=False)
class LightGbmTree:
    """One tree; a child below zero is the leaf ``~child``.

    Attributes:
        feature, threshold, decision_type, left, right: ``(n_leaves - 1,)``; the threshold of a category node is an
            index into `categories`.
        leaf_value: ``(n_leaves,)``.
        categories: what goes left at the category nodes.
    """

    feature: Ints
    threshold: Floats
    decision_type: Ints
    left: Ints
    right: Ints
    leaf_value: Floats
    categories: tuple[frozenset[int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class LightGbmModel:
    """A model file.

    Attributes:
        objective: name, then options as LightGBM writes them (``binary sigmoid:1``); empty for one of the user's own.
        n_outputs: trees of an iteration.
        is_averaged: whether the sum is divided by the number of iterations (random forest mode).
        frame_categories: of each category column of the data frame that it was trained on; empty for no frame.
    """

    objective: str
    n_features: int
    n_outputs: int
    is_averaged: bool
    trees: tuple[LightGbmTree, ...] = field(repr=False)
    frame_categories: tuple[tuple[Any, ...], ...] = ()


def parse_text(text: str, where: str) -> LightGbmModel:
    """Parse the text form.

    Raises:
        ModelError: it is no model of LightGBM, contradicts itself, or has linear models in its leaves.
    """
    head, trees = _sections(text)
    _, has_frame, frame = text.rpartition("\npandas_categorical:")
    try:
        if head.get("tree") != "":
            raise ModelError(f"{where}: no model file of LightGBM: it does not start with `tree`")
        parsed = tuple(_tree_of(section, f"{where}: tree {i}") for i, section in enumerate(trees))
        return _checked(
            LightGbmModel(
                objective=head.get("objective", ""),
                n_features=int(head["max_feature_idx"]) + 1,
                n_outputs=int(head["num_tree_per_iteration"]),
                is_averaged="average_output" in head,
                trees=parsed,
                frame_categories=_frame_categories(json.loads(frame.splitlines()[0]) if has_frame else None),
            ),
            where,
        )
    except (KeyError, ValueError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise ModelError(f"{where}: not a model file of LightGBM ({type(error).__name__}: {error})") from error


def parse_dump(text: str, where: str) -> LightGbmModel:
    """Parse what ``Booster.dump_model`` gives, as JSON.

    Raises:
        ModelError: as `parse_text` does.
    """
    try:
        dump = json.loads(text)
        parsed = tuple(
            _dumped_tree_of(tree["tree_structure"], f"{where}: tree {i}") for i, tree in enumerate(dump["tree_info"])
        )
        return _checked(
            LightGbmModel(
                objective=str(dump.get("objective", "")),
                n_features=int(dump["max_feature_idx"]) + 1,
                n_outputs=int(dump["num_tree_per_iteration"]),
                is_averaged=bool(dump.get("average_output", False)),
                trees=parsed,
                frame_categories=_frame_categories(dump.get("pandas_categorical")),
            ),
            where,
        )
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError(f"{where}: not a model dump of LightGBM ({type(error).__name__}: {error})") from error


def _frame_categories(found: Any) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(column) for column in found or ())


def _sections(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    head: dict[str, str] = {}
    trees: list[dict[str, str]] = []
    section = head
    for line in text.splitlines():
        if line == "end of trees":
            break
        key, _, value = line.partition("=")
        if key == "Tree":
            section = {}
            trees.append(section)
        elif key:
            section[key] = value
    return head, trees


def _tree_of(section: Mapping[str, str], where: str) -> LightGbmTree:
    if section.get("is_linear", "0") != "0":
        raise ModelError(f"{where}: has linear models in its leaves (linear_tree), which is not supported")
    n_leaves = int(section["num_leaves"])
    n_nodes = n_leaves - 1

    def numbers(name: str, count: int, kind: type) -> NDArray[Any]:
        found: NDArray[Any] = np.array(section.get(name, "").split(), dtype=kind)
        if len(found) != count:
            raise ModelError(f"{where}: {name} holds {len(found)} numbers, {count} were expected")
        return found

    n_tests = int(section.get("num_cat", "0"))
    categories: tuple[frozenset[int], ...] = ()
    if n_tests > 0:
        bounds = numbers("cat_boundaries", n_tests + 1, np.int64)
        words = np.array(section.get("cat_threshold", "").split(), dtype=np.uint32)
        if bounds[0] != 0 or (np.diff(bounds) < 0).any() or bounds[-1] != len(words):
            raise ModelError(f"{where}: cat_boundaries do not fit {len(words)} words of categories")
        pairs = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        categories = tuple(members_of(words[start:end]) for start, end in pairs)
    return LightGbmTree(
        feature=numbers("split_feature", n_nodes, np.int64),
        threshold=numbers("threshold", n_nodes, np.float64),
        decision_type=numbers("decision_type", n_nodes, np.int64),
        left=numbers("left_child", n_nodes, np.int64),
        right=numbers("right_child", n_nodes, np.int64),
        leaf_value=numbers("leaf_value", n_leaves, np.float64),
        categories=categories,
    )


def _dumped_tree_of(root: Mapping[str, Any], where: str) -> LightGbmTree:
    nodes: list[tuple[int, float, int]] = []
    children: list[list[int]] = []
    leaves: list[float] = []
    categories: list[frozenset[int]] = []
    waiting: list[tuple[Mapping[str, Any], int, int]] = [(root, -1, 0)]
    while waiting:
        node, parent, side = waiting.pop()
        if "leaf_value" in node:
            if "leaf_coeff" in node or "leaf_const" in node:
                raise ModelError(f"{where}: has linear models in its leaves (linear_tree), which is not supported")
            place = ~len(leaves)
            leaves.append(float(node["leaf_value"]))
        else:
            place = len(nodes)
            is_category = node["decision_type"] == "=="
            kind = _MISSING_NAMES.index(node["missing_type"]) << MISSING_SHIFT
            kind |= (DEFAULT_LEFT if node["default_left"] else 0) | (CATEGORY if is_category else 0)
            threshold = float(len(categories)) if is_category else float(node["threshold"])
            if is_category:
                categories.append(frozenset(int(category) for category in str(node["threshold"]).split("||")))
            nodes.append((int(node["split_feature"]), threshold, kind))
            children.append([0, 0])
            waiting += [(node["right_child"], place, 1), (node["left_child"], place, 0)]
        if parent >= 0:
            children[parent][side] = place
    table = np.array(nodes, dtype=np.float64).reshape(-1, 3)
    pointers = np.array(children, dtype=np.int64).reshape(-1, 2)
    return LightGbmTree(
        feature=table[:, 0].astype(np.int64),
        threshold=table[:, 1],
        decision_type=table[:, 2].astype(np.int64),
        left=pointers[:, 0],
        right=pointers[:, 1],
        leaf_value=np.array(leaves),
        categories=tuple(categories),
    )


def _checked(model: LightGbmModel, where: str) -> LightGbmModel:
    for problem in _problems_of(model):
        raise ModelError(f"{where}: {problem}")
    return model


def _problems_of(model: LightGbmModel) -> Iterator[str]:
    if model.n_features < 1 or model.n_outputs < 1 or not model.trees or len(model.trees) % model.n_outputs:
        yield f"{len(model.trees)} trees of {model.n_outputs} outputs over {model.n_features} columns"
    for i, tree in enumerate(model.trees):
        n_nodes, n_leaves = len(tree.feature), len(tree.leaf_value)
        children = np.r_[tree.left, tree.right]
        if ((children >= n_nodes) | (children < -n_leaves)).any():
            yield f"tree {i} has a child outside of {n_nodes} nodes and {n_leaves} leaves"
        if ((tree.feature < 0) | (tree.feature >= model.n_features)).any():
            yield f"tree {i} looks at a column outside of {model.n_features}"
        if np.isnan(tree.threshold).any() or not np.isfinite(tree.leaf_value).all():
            yield f"tree {i} holds what is no number"
        chosen = tree.threshold[tree.decision_type & CATEGORY != 0]
        if ((chosen < 0) | (chosen >= len(tree.categories))).any():
            yield f"tree {i} names categories that are not there"
        if any(min(members, default=0) < 0 or max(members, default=0) > _MAX_CATEGORY for members in tree.categories):
            yield f"tree {i} holds a category outside of 0 to {_MAX_CATEGORY}"
