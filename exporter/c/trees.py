"""Writes a tree ensemble as C tables and a walk of a few lines: the tables take five bytes a node where they can.

A node's left child stands right behind it, so that only the right one is stored, as a distance. Thresholds lie in one
list of distinct numbers and are compared as float32, as the library does.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.c.text import floats, integers
from exporter.programs.ensemble import ALL_OUTPUTS, LEAF, NUMERIC, TreeEnsemble

Ints = NDArray[np.int64]
# A category above takes no bits of its own: it is among the others.
_MAX_CATEGORY: Final = 1 << 16


def trees_function(name: str, trees: TreeEnsemble) -> str:
    """Return the tables and the function ``void name(const float *x, float *y)`` of an ensemble."""
    order, distance = _left_first(trees)
    tables = [_node_tables(name, trees, order, distance)]
    has_categories = bool((trees.category[order] != NUMERIC).any())
    has_missing = bool(trees.missing_left[order].any())
    if has_missing:
        tables.append(integers(f"{name}_missing_left", np.packbits(trees.missing_left[order], bitorder="little")))
    if has_categories:
        tables.append(_category_tables(name, trees))
    tables.append(_leaf_tables(name, trees))
    walk = _walk(name, trees, has_categories=has_categories, has_missing=has_missing)
    return "\n".join([*tables, walk])


def _left_first(trees: TreeEnsemble) -> tuple[Ints, Ints]:
    """Return the nodes in the order root, left subtree, right subtree, and each one's distance to its right child."""
    order: list[int] = []
    place_of: dict[int, int] = {}
    for root in trees.roots.tolist():
        waiting = [root]
        while waiting:
            node = waiting.pop()
            place_of[node] = len(order)
            order.append(node)
            if trees.feature[node] != LEAF:
                waiting += [int(trees.right[node]), int(trees.left[node])]
    distance = [0 if trees.feature[n] == LEAF else place_of[int(trees.right[n])] - place_of[n] for n in order]
    return np.array(order, dtype=np.int64), np.array(distance, dtype=np.int64)


def _node_tables(name: str, trees: TreeEnsemble, order: Ints, distance: Ints) -> str:
    feature, category = trees.feature[order], trees.category[order]
    is_leaf, is_numeric = feature == LEAF, (feature != LEAF) & (category == NUMERIC)
    thresholds = np.unique(trees.threshold[order][is_numeric]) if is_numeric.any() else np.zeros(1, dtype=np.float32)
    # One column, three meanings: a leaf's values, a threshold, or (behind the thresholds) a category test.
    meaning = np.where(is_leaf, trees.leaf[order], len(thresholds) + category).astype(np.int64)
    meaning[is_numeric] = np.searchsorted(thresholds, trees.threshold[order][is_numeric])
    # A leaf's feature is the first number that is none.
    features = np.where(is_leaf, trees.n_features, feature)
    place_of = {node: place for place, node in enumerate(order.tolist())}
    roots = [place_of[root] for root in trees.roots.tolist()]
    return "\n".join(
        (
            floats(f"{name}_thresholds", thresholds),
            integers(f"{name}_feature", features),
            integers(f"{name}_value", meaning),
            integers(f"{name}_right", distance),
            integers(f"{name}_roots", roots),
        )
    )


def _category_tables(name: str, trees: TreeEnsemble) -> str:
    starts, sizes, others = [], [], []
    bits: list[bool] = []
    for test in trees.tests:
        size = min(max((*test.left, *test.right), default=-1) + 1, _MAX_CATEGORY)
        starts.append(len(bits))
        sizes.append(size)
        others.append(int(test.other_left))
        bits += [c in test.left or (test.other_left and c not in test.right) for c in range(size)]
    return "\n".join(
        (
            integers(f"{name}_test_start", starts),
            integers(f"{name}_test_size", sizes),
            integers(f"{name}_test_other", others),
            integers(f"{name}_test_bits", np.packbits(np.array([*bits, False]), bitorder="little")),
        )
    )


def _leaf_tables(name: str, trees: TreeEnsemble) -> str:
    tables = [floats(f"{name}_leaves", trees.leaves), floats(f"{name}_base", trees.base)]
    if (trees.outputs != ALL_OUTPUTS).any():
        tables.append(integers(f"{name}_outputs", np.where(trees.outputs == ALL_OUTPUTS, 0, trees.outputs)))
    return "\n".join(tables)


def _walk(name: str, trees: TreeEnsemble, *, has_categories: bool, has_missing: bool) -> str:
    n_outputs, n_thresholds = trees.n_outputs, f"(sizeof {name}_thresholds / sizeof {name}_thresholds[0])"
    missing = f"(({name}_missing_left[node >> 3] >> (node & 7)) & 1) != 0" if has_missing else "0"
    lines = [
        f"static void {name}(const float *x, float *y) {{",
        f"  for (uint32_t j = 0; j < {n_outputs}u; j++) y[j] = 0.0f;",
        f"  for (uint32_t tree = 0; tree < {trees.n_trees}u; tree++) {{",
        f"    uint32_t node = {name}_roots[tree];",
        f"    while ({name}_feature[node] != {trees.n_features}u) {{",
        f"      const float value = x[{name}_feature[node]];",
        f"      const uint32_t what = {name}_value[node];",
        "      int left;",
        f"      if (value != value) left = {missing};",
    ]
    if has_categories:
        lines += [
            f"      else if (what >= {n_thresholds}) {{",
            f"        const uint32_t test = what - (uint32_t){n_thresholds};",
            f"        if (value >= 0.0f && value < (float){name}_test_size[test]) {{",
            f"          const uint32_t bit = {name}_test_start[test] + (uint32_t)value;",
            f"          left = ({name}_test_bits[bit >> 3] >> (bit & 7)) & 1;",
            f"        }} else left = {name}_test_other[test];",
            "      }",
        ]
    lines += [
        f"      else left = value <= {name}_thresholds[what];",
        f"      node += left ? 1u : {name}_right[node];",
        "    }",
    ]
    add = f"{name}_leaves[{name}_value[node]"
    if (trees.outputs == ALL_OUTPUTS).any():
        lines.append(f"    for (uint32_t j = 0; j < {n_outputs}u; j++) y[j] += {add} * {n_outputs}u + j];")
    else:
        lines.append(f"    y[{name}_outputs[tree]] += {add}];")
    lines += [
        "  }",
        f"  for (uint32_t j = 0; j < {n_outputs}u; j++) y[j] = {name}_base[j] + y[j] / {float(trees.divisor).hex()}f;",
        "}",
    ]
    return "\n".join(lines)
