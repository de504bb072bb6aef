"""Mends what sklearn-onnx gets wrong about trees: thresholds between two float32 numbers, and missing values."""

import copy
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from exporter.model import Estimator
from exporter.steps import parts_of

_BOOSTING: Final = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_FORESTS: Final = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
_TREES: Final = (DecisionTreeClassifier, DecisionTreeRegressor)
_MISSING: Final = "nodes_missing_value_tracks_true"


def round_down(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the greatest float32 not above each threshold.

    For a float32 ``x``, ``x <= t`` holds exactly if ``x <= round_down(t)``; the nearest float32 may lie above ``t`` and
    let a row pass that scikit-learn sends the other way. Missing thresholds (infinite) stay.
    """
    rounded = thresholds.astype(np.float32)
    above = np.isfinite(thresholds) & (rounded.astype(np.float64) > thresholds)
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded.astype(np.float64)


def with_float32_thresholds(estimator: Estimator) -> Estimator:
    """Return the estimator, or a copy whose gradient boosted trees compare with thresholds rounded down to float32.

    sklearn-onnx does this by itself for scikit-learn's other trees; without it 2 % of diabetes' rows differed.
    """
    if not any(isinstance(part, _BOOSTING) for part in parts_of(estimator)):
        return estimator
    copied = copy.deepcopy(estimator)
    for part in parts_of(copied):
        if isinstance(part, _BOOSTING):
            _round_boosting(part)
    return copied


def _round_boosting(boosting: Any) -> None:  # noqa: ANN401 - scikit-learn ships no types
    # The one place of the trees: scikit-learn gives no public way to them.
    for stage in boosting._predictors:  # noqa: SLF001 - see above
        for tree in stage:
            tree.nodes["num_threshold"] = round_down(tree.nodes["num_threshold"])


def send_missing_as_trained(proto: onnx.ModelProto, estimator: Estimator) -> None:
    """Let missing values take the branch that scikit-learn's trees give them; sklearn-onnx sends them all right.

    Changes ``proto`` where it holds one ensemble that is the estimator's, node by node; what cannot be matched stays,
    and the parity gate judges it.
    """
    ensembles = [node for node in proto.graph.node if node.op_type.startswith("TreeEnsemble")]
    forests = [part for part in parts_of(estimator) if isinstance(part, (*_FORESTS, *_TREES))]
    if len(ensembles) != 1 or len(forests) != 1:
        return
    trees = [member.tree_ for member in getattr(forests[0], "estimators_", forests)]
    attributes = {attribute.name: attribute for attribute in ensembles[0].attribute}
    places = list(zip(attributes["nodes_treeids"].ints, attributes["nodes_nodeids"].ints, strict=True))
    is_branch = [mode != b"LEAF" for mode in attributes["nodes_modes"].strings]
    features = attributes["nodes_featureids"].ints
    for (tree, node), branch, feature in zip(places, is_branch, features, strict=True):
        if tree >= len(trees) or node >= trees[tree].node_count or (branch and trees[tree].feature[node] != feature):
            return
    attributes[_MISSING].ints[:] = [
        int(branch and trees[tree].missing_go_to_left[node])
        for (tree, node), branch in zip(places, is_branch, strict=True)
    ]
