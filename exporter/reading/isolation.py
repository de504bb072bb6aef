"""Reads isolation forests: the decision, negative for what is abnormal."""

import math
from dataclasses import replace
from typing import Any, Final

import numpy as np
from sklearn.ensemble import IsolationForest

from exporter.programs.planting import Nodes, joined, plant
from exporter.programs.program import Affine, Curve, Trees
from exporter.reading.reading import Readers, Reading
from exporter.reading.trees import nodes_of_tree

_LN2: Final = math.log(2)
_EULER_GAMMA: Final = float(np.euler_gamma)


def _read_decision(reading: Reading, estimator: Any, place: int) -> int:
    """``-(2 ** -(sum of the depths / their expectation)) - offset``: Liu, Ting and Zhou, Isolation Forest (ICDM 2008).

    The depths are scikit-learn's own; a tree's leaf holds ``-ln 2`` times its depth, so that the rest is one ``exp``.
    """
    # scikit-learn has no public names for these depths.
    decision_paths = estimator._decision_path_lengths
    average_paths = estimator._average_path_length_per_tree
    trees = []
    for tree, columns, path, average in zip(
        estimator.estimators_, estimator.estimators_features_, decision_paths, average_paths, strict=True
    ):
        depths = np.asarray(path, dtype=np.float64) + average - 1.0
        trees.append(_on_columns(nodes_of_tree(tree.tree_, -_LN2 * depths[:, np.newaxis]), columns))
    nodes = joined(trees)
    divisor = len(trees) * _expected_depth(estimator._max_samples)
    if divisor == 0:  # every tree saw one row, and its depth is 0: scikit-learn answers as for a depth as expected
        nodes, divisor = _constant(nodes, -_LN2), len(trees)
    ensemble = plant(nodes, estimator.n_features_in_, np.zeros(1), divisor=divisor)
    powers = reading.builder.add(Curve(reading.builder.add(Trees(place, ensemble)), "exp"))
    return reading.builder.add(Affine(powers, np.array([-1.0]), np.array([-estimator.offset_])))


def _expected_depth(n_rows: int) -> float:
    """Return the mean depth at which a search tree of ``n_rows`` ends without success."""
    if n_rows <= 1:
        return 0.0
    return 1.0 if n_rows == 2 else 2.0 * (math.log(n_rows - 1.0) + _EULER_GAMMA) - 2.0 * (n_rows - 1.0) / n_rows  # noqa: PLR2004


def _on_columns(nodes: Nodes, columns: Any) -> Nodes:
    """Return the nodes of a tree that saw some columns, by their places in the row."""
    feature = np.where(nodes.feature < 0, -1, np.asarray(columns)[nodes.feature])
    return replace(nodes, feature=feature)


def _constant(nodes: Nodes, value: float) -> Nodes:
    return replace(nodes, values=np.full_like(nodes.values, value))


READERS: Final[Readers] = {IsolationForest: {"decision": _read_decision}}
