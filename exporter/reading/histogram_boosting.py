"""Reads scikit-learn's histogram gradient boosting: numeric and category columns, missing and unknown values."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from exporter.programs.ensemble import NUMERIC, CategoryTest, members_of
from exporter.programs.float32 import not_above
from exporter.programs.planting import Nodes, joined, plant
from exporter.programs.program import Curve, Lookup, Trees
from exporter.reading.encoding import keys_of
from exporter.reading.reading import Readers, Reading
from exporter.reading.trees import probabilities_of


def _read_scores(reading: Reading, estimator: Any, place: int) -> int:
    place = _encode_categories(reading, estimator, place)
    # scikit-learn has no public way to these trees, nor to what they start from.
    stages, start = estimator._predictors, estimator._baseline_prediction
    known, row_of = estimator._bin_mapper.make_known_categories_bitsets()
    trees = [_nodes_of(tree, known, row_of) for stage in stages for tree in stage]
    base = np.asarray(start, dtype=np.float64).reshape(-1)
    outputs = np.tile(np.arange(len(base)), len(stages)).tolist()
    if not trees:
        raise reading.refuse(estimator, "without a single tree")
    return reading.builder.add(Trees(place, plant(joined(trees), estimator.n_features_in_, base, outputs=outputs)))


def _nodes_of(tree: Any, known: NDArray[np.uint32], row_of: NDArray[np.uint32]) -> Nodes:
    nodes = tree.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    is_category = nodes["is_categorical"].astype(bool) & ~is_leaf
    category = np.full(len(nodes), NUMERIC)
    tests: list[CategoryTest] = []
    for node in np.flatnonzero(is_category).tolist():
        left = members_of(tree.raw_left_cat_bitsets[nodes["bitset_idx"][node]])
        right = members_of(known[row_of[nodes["feature_idx"][node]]]) - left
        category[node] = len(tests)
        # Categories that training never saw are taken for missing.
        tests.append(CategoryTest(left, right, other_left=bool(nodes["missing_go_to_left"][node])))
    return Nodes(
        roots=np.zeros(1, dtype=np.int64),
        feature=np.where(is_leaf, -1, nodes["feature_idx"]),
        threshold=not_above(np.where(is_leaf | is_category, 0.0, nodes["num_threshold"])),
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        category=category,
        values=nodes["value"].astype(np.float64)[:, np.newaxis],
        tests=tuple(tests),
    )


def _encode_categories(reading: Reading, estimator: Any, place: int) -> int:
    """Add what scikit-learn does to category columns before the trees: ordinals, in front of the other columns."""
    preprocessor = estimator._preprocessor
    if preprocessor is None:
        return place
    is_category = np.asarray(estimator.is_categorical_, dtype=bool)
    parts = []
    encoder = preprocessor.named_transformers_["encoder"]
    for column, categories in zip(np.flatnonzero(is_category).tolist(), encoder.categories_, strict=True):
        taken = reading.columns(place, [column])
        keys = keys_of(reading, estimator, categories, reading.texts(taken)[0])
        # NaN is missing before and after; so is what training never saw.
        codes = [(key, float(code)) for code, key in enumerate(keys) if not np.isnan(key)]
        lookup = Lookup(taken, tuple(key for key, _ in codes), tuple(code for _, code in codes), float("nan"))
        parts.append(reading.builder.add(lookup))
    others = np.flatnonzero(~is_category).tolist()
    return reading.join([*parts, reading.columns(place, others)] if others else parts)


def _read_probabilities(reading: Reading, estimator: Any, place: int) -> int:
    return probabilities_of(reading, _read_scores(reading, estimator, place))


def _read_value(reading: Reading, estimator: Any, place: int) -> int:
    scores = _read_scores(reading, estimator, place)
    # gamma and poisson predict by the exponential of the sum; the other losses by the sum itself.
    if estimator.loss in ("gamma", "poisson"):
        return reading.builder.add(Curve(scores, "exp"))
    return scores


READERS: Final[Readers] = {
    HistGradientBoostingClassifier: {"probabilities": _read_probabilities, "decision": _read_scores},
    HistGradientBoostingRegressor: {"value": _read_value},
}
