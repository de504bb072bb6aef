"""Reads scikit-learn's histogram gradient boosting: numeric and category columns, missing and unknown values."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from exporter.ensemble import NUMERIC, CategoryTest
from exporter.float32 import not_above
from exporter.planting import Nodes, joined, plant
from exporter.program import Columns, Curve, Join, Lookup, Trees
from exporter.reading.encoding import keys_of
from exporter.reading.reading import Readers, Reading
from exporter.reading.trees import probabilities_of

_BITS: Final = 32


def _read_scores(reading: Reading, estimator: Any, place: int) -> int:  # noqa: ANN401 - scikit-learn ships no types
    place = _encode_categories(reading, estimator, place)
    # scikit-learn has no public way to these trees, nor to what they start from.
    stages, start = estimator._predictors, estimator._baseline_prediction  # noqa: SLF001 - see above
    known, row_of = estimator._bin_mapper.make_known_categories_bitsets()  # noqa: SLF001 - see above
    trees = [_nodes_of(tree, known, row_of) for stage in stages for tree in stage]
    base = np.asarray(start, dtype=np.float64).reshape(-1)
    outputs = np.tile(np.arange(len(base)), len(stages)).tolist()
    if not trees:
        raise reading.refuse(estimator, "without a single tree")
    return reading.builder.add(Trees(place, plant(joined(trees), estimator.n_features_in_, base, outputs=outputs)))


def _nodes_of(tree: Any, known: NDArray[np.uint32], row_of: NDArray[np.uint32]) -> Nodes:  # noqa: ANN401 - as above
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


def members_of(bitset: NDArray[np.uint32]) -> frozenset[int]:
    """Return the numbers whose bits are set, 32 bits a word, the lowest bit first."""
    words = np.ascontiguousarray(bitset, dtype="<u4")
    return frozenset(np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little")).tolist())


def _encode_categories(reading: Reading, estimator: Any, place: int) -> int:  # noqa: ANN401 - as above
    """Add what scikit-learn does to category columns before the trees: ordinals, in front of the other columns."""
    preprocessor = estimator._preprocessor  # noqa: SLF001 - no public way to it
    if preprocessor is None:
        return place
    is_category = np.asarray(estimator.is_categorical_, dtype=bool)
    columns = []
    encoder = preprocessor.named_transformers_["encoder"]
    for column, categories in zip(np.flatnonzero(is_category).tolist(), encoder.categories_, strict=True):
        taken = reading.columns(place, [column])
        if categories.dtype.kind in "iufb":
            numbers = categories.astype(np.float64).tolist()
        else:
            numbers = keys_of(reading, estimator, categories.tolist(), reading.texts(taken)[0])
        # What is no float32 can equal no number of a row; NaN is missing before and after.
        keys = [(key, float(i)) for i, key in enumerate(numbers) if np.isnan(key) or key == float(np.float32(key))]
        lookup = Lookup(taken, tuple(key for key, _ in keys), tuple(index for _, index in keys), float("nan"))
        columns.append(reading.builder.add(lookup))
    others = tuple(np.flatnonzero(~is_category).tolist())
    if others:
        columns.append(reading.builder.add(Columns(place, others)))
    return columns[0] if len(columns) == 1 else reading.builder.add(Join(tuple(columns)))


def _read_probabilities(reading: Reading, estimator: Any, place: int) -> int:  # noqa: ANN401 - as above
    return probabilities_of(reading, _read_scores(reading, estimator, place))


def _read_value(reading: Reading, estimator: Any, place: int) -> int:  # noqa: ANN401 - as above
    scores = _read_scores(reading, estimator, place)
    # gamma and poisson predict by the exponential of the sum; the other losses by the sum itself.
    if estimator.loss in ("gamma", "poisson"):
        return reading.builder.add(Curve(scores, "exp"))
    return scores


READERS: Final[Readers] = {
    HistGradientBoostingClassifier: {"probabilities": _read_probabilities, "decision": _read_scores},
    HistGradientBoostingRegressor: {"value": _read_value},
}
