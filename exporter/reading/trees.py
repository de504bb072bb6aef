"""Reads scikit-learn's trees, forests and gradient boosting.

scikit-learn compares a float32 number with a float64 threshold; `not_above` gives the float32 that decides the same.
It sums leaves in float64, tree by tree, and so does the ensemble; only the finished sum is rounded to float32.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from exporter.programs.ensemble import NUMERIC
from exporter.programs.float32 import not_above
from exporter.programs.planting import Nodes, joined, plant
from exporter.programs.program import Affine, Average, Complement, Curve, Softmax, Trees
from exporter.reading.reading import Readers, Reading

Floats = NDArray[np.float64]


def nodes_of_tree(tree: Any, values: Floats) -> Nodes:
    """Return the nodes of a ``tree_``, whose leaves hold ``values (n_nodes, width)``."""
    n_nodes = tree.node_count
    # scikit-learn marks a leaf by -2, and its children by -1.
    is_leaf = tree.children_left < 0
    return Nodes(
        roots=np.zeros(1, dtype=np.int64),
        feature=np.where(is_leaf, -1, tree.feature),
        threshold=not_above(tree.threshold),
        left=tree.children_left,
        right=tree.children_right,
        missing_left=tree.missing_go_to_left.astype(bool),
        category=np.full(n_nodes, NUMERIC),
        values=values,
    )


def _read_tree(reading: Reading, estimator: Any, place: int) -> int:
    return _read_mean(reading, estimator, [estimator], place)


def _read_forest(reading: Reading, estimator: Any, place: int) -> int:
    return _read_mean(reading, estimator, estimator.estimators_, place)


def _read_mean(reading: Reading, estimator: Any, trees: Sequence[Any], place: int) -> int:
    if estimator.n_outputs_ != 1:
        raise reading.refuse(estimator, f"with {estimator.n_outputs_} targets")
    # Leaves of classifiers hold the share of each class, those of regressors one value.
    nodes = joined([nodes_of_tree(tree.tree_, tree.tree_.value[:, 0, :]) for tree in trees])
    base = np.zeros(nodes.values.shape[1])
    return reading.builder.add(Trees(place, plant(nodes, estimator.n_features_in_, base, divisor=len(trees))))


def _read_stages(reading: Reading, estimator: Any, place: int) -> int:
    """Gradient boosting: the sum of the stages, before the link."""
    stages = estimator.estimators_
    trees = [
        nodes_of_tree(tree.tree_, estimator.learning_rate * tree.tree_.value[:, 0, :]) for tree in stages.reshape(-1)
    ]
    outputs = np.tile(np.arange(stages.shape[1]), len(stages))
    base = _constant_start(estimator)
    ensemble = plant(
        joined(trees),
        estimator.n_features_in_,
        np.zeros(stages.shape[1]) if base is None else base,
        outputs=outputs.tolist(),
    )
    scores = reading.builder.add(Trees(place, ensemble))
    if base is not None:
        return scores
    if hasattr(estimator, "classes_"):
        # scikit-learn takes the log-odds of its probabilities, which float32 probabilities near 1 no longer hold.
        raise reading.refuse(estimator, f"that starts from {type(estimator.init_).__name__} (init)")
    start = reading.read("init", estimator.init_, place, "value")
    return reading.builder.add(Average((start, scores), (1.0, 1.0)))


def _constant_start(estimator: Any) -> Floats | None:
    """Return what boosting starts from if that is the same for every row."""
    start = estimator.init_
    is_constant = isinstance(start, str) or (
        type(start) in (DummyClassifier, DummyRegressor) and start.get_params().get("strategy") != "stratified"
    )
    if not is_constant:
        return None
    # The one way to it: scikit-learn has no public name for the number before the first stage.
    rows = np.zeros((1, estimator.n_features_in_), dtype=np.float32)
    return np.asarray(estimator._raw_predict_init(rows)[0], dtype=np.float64)


def _read_boosted_probabilities(reading: Reading, estimator: Any, place: int) -> int:
    scores = _read_stages(reading, estimator, place)
    if estimator.loss == "exponential":  # its link is half the log-odds
        scores = reading.builder.add(Affine(scores, np.array([2.0]), np.array([0.0])))
    return probabilities_of(reading, scores)


def probabilities_of(reading: Reading, scores: int) -> int:
    """Add what makes probabilities of log-odds: one number for two classes, else one a class."""
    if reading.builder.width(scores) > 1:
        return reading.builder.add(Softmax(scores))
    return reading.builder.add(Complement(reading.builder.add(Curve(scores, "logistic"))))


READERS: Final[Readers] = {
    DecisionTreeClassifier: {"probabilities": _read_tree},
    DecisionTreeRegressor: {"value": _read_tree},
    ExtraTreeClassifier: {"probabilities": _read_tree},
    ExtraTreeRegressor: {"value": _read_tree},
    RandomForestClassifier: {"probabilities": _read_forest},
    RandomForestRegressor: {"value": _read_forest},
    ExtraTreesClassifier: {"probabilities": _read_forest},
    ExtraTreesRegressor: {"value": _read_forest},
    GradientBoostingClassifier: {"probabilities": _read_boosted_probabilities, "decision": _read_stages},
    GradientBoostingRegressor: {"value": _read_stages},
}
