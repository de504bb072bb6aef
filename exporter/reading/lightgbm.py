"""Reads LightGBM's models, fitted or from a file; the package is needed only to score a file.

LightGBM compares float64 numbers, takes what lies within ±1e-35 for zero before it looks at a tree, and sums in
float64, tree by tree. Its categories are whole numbers: what lies between two of them is not looked at here.
"""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import Feature
from exporter.errors import ModelError
from exporter.models.answers import Outputs
from exporter.models.model import Rows
from exporter.programs.ensemble import NUMERIC, CategoryTest
from exporter.programs.float32 import Float32s, not_above
from exporter.programs.interpreter import run_program
from exporter.programs.planting import Nodes, joined, plant
from exporter.programs.program import Affine, Average, Bins, Complement, Curve, Lookup, Product, Softmax, Trees
from exporter.reading.encoding import keys_of
from exporter.reading.lightgbm_format import (
    CATEGORY,
    DEFAULT_LEFT,
    MISSING_NAN,
    MISSING_SHIFT,
    MISSING_ZERO,
    LightGbmModel,
    LightGbmTree,
    parse_dump,
    parse_text,
)
from exporter.reading.model_files import ModelFile, read_bytes
from exporter.reading.reading import Reader, Readers, Reading, Response

Bools = NDArray[np.bool_]

# kZeroThreshold of LightGBM's meta.h, a float32.
_ZERO: Final = np.float32(1e-35)
_AFTER_ZERO: Final = np.nextafter(_ZERO, np.float32(1))
_LINEAR: Final = ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg")
_EXPONENTIAL: Final = ("poisson", "gamma", "tweedie")
_CLASSIFIERS: Final = ("binary", "multiclass", "multiclassova")


class LightGbmFile(ModelFile[LightGbmModel]):
    """A model file as an estimator: LightGBM scores a text file; a JSON dump, which it cannot load, our own reading."""


def load_model_file(path: Path) -> LightGbmFile:
    """Load a model file of LightGBM, text or JSON, as an estimator.

    Raises:
        ModelError: it cannot be read, is none, or LightGBM is not installed to score it.
    """
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: no model file of LightGBM: it is no text") from error
    is_dump = text.lstrip().startswith("{")
    model = parse_dump(text, str(path)) if is_dump else parse_text(text, str(path))
    try:
        # Before LightGBM sees the file: it would follow a cycle for ever.
        own_score = _own_score(model)
    except ValueError as error:
        raise ModelError(f"{path}: not a model of LightGBM: {error}") from error
    if is_dump:
        return LightGbmFile(model, own_score, is_classifier=_is_classifier(model))
    try:
        lightgbm = importlib.import_module("lightgbm")
    except ImportError as error:
        raise ModelError(f"{path}: LightGBM is needed to score it: pip install 'fieldloop[lightgbm]'") from error
    try:
        booster = lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise ModelError(f"{path}: LightGBM does not load it: {error}") from error
    return LightGbmFile(model, booster.predict, is_classifier=_is_classifier(model))


def _own_score(model: LightGbmModel) -> Callable[[Rows], Any]:
    reading = Reading(tuple(Feature(f"f{i}") for i in range(model.n_features)), {})
    scores = _add_scores(reading, model, 0)
    is_classifier = _is_classifier(model)
    place = _add_link(reading, model, model, scores, "probabilities" if is_classifier else "value")
    program = reading.builder.build(place)

    def score(rows: Rows) -> Outputs:
        answers = run_program(program, rows).astype(np.float64)
        return answers if is_classifier else answers[:, 0]

    return score


def _model_of(estimator: Any) -> LightGbmModel:
    if isinstance(estimator, LightGbmFile):
        return estimator.model
    booster = getattr(estimator, "booster_", estimator)
    # As predict does: up to the best iteration, where there is one.
    return parse_text(booster.model_to_string(), type(estimator).__name__)


def _reader(response: Response) -> Reader:
    def read(reading: Reading, estimator: Any, place: int) -> int:
        model = _model_of(estimator)
        reading.verify_width(estimator, model.n_features, place)
        place = _add_codes(reading, estimator, model, place)
        return _add_link(reading, estimator, model, _add_scores(reading, model, place), response)

    return read


def _add_codes(reading: Reading, estimator: Any, model: LightGbmModel, place: int) -> int:
    """Add what makes LightGBM's codes of a data frame's categories out of those of the row."""
    if not any(isinstance(category, str) for column in model.frame_categories for category in column):
        return place
    texts = reading.texts(place)
    columns = [column for column, names in enumerate(texts) if names is not None]
    if len(columns) != len(model.frame_categories):
        known = len(model.frame_categories)
        raise reading.refuse(estimator, f"trained on {known} columns of texts, given {len(columns)},")
    coded: dict[int, int] = {}
    for column, categories in zip(columns, model.frame_categories, strict=True):
        keys = keys_of(reading, estimator, categories, texts[column])
        if keys != list(range(len(keys))):
            codes = tuple(float(code) for code in range(len(keys)))
            # A text that LightGBM never met is missing to it.
            taken = reading.columns(place, [column])
            coded[column] = reading.builder.add(Lookup(taken, tuple(keys), codes, float("nan")))
    if not coded:
        return place
    return reading.join([coded.get(column) or reading.columns(place, [column]) for column in range(len(texts))])


def _objective_of(model: LightGbmModel) -> tuple[str, dict[str, str]]:
    """Return the name of an objective, and its options: ``binary sigmoid:1``, ``regression sqrt``."""
    name, *options = model.objective.split() or [""]
    return name, {key: value for key, _, value in (option.partition(":") for option in options)}


def _is_classifier(model: LightGbmModel) -> bool:
    return _objective_of(model)[0] in _CLASSIFIERS


def _add_scores(reading: Reading, model: LightGbmModel, place: int) -> int:
    marked: dict[int, int] = {}
    trees = [_nodes_of(tree, model.n_features, marked) for tree in model.trees]
    n_iterations = len(trees) // model.n_outputs
    columns = [_without_zero(reading, reading.columns(place, [column])) for column in marked]
    ensemble = plant(
        joined(trees),
        model.n_features + len(columns),
        np.zeros(model.n_outputs),
        outputs=np.tile(np.arange(model.n_outputs), n_iterations).tolist(),
        divisor=n_iterations if model.is_averaged else 1,
    )
    return reading.builder.add(Trees(reading.join([place, *columns]), ensemble))


def _without_zero(reading: Reading, column: int) -> int:
    """Add a column in which what LightGBM takes for zero is missing."""
    part = reading.builder.add(Bins(column, ((float(-_ZERO), float(_AFTER_ZERO)),)))
    gap = reading.builder.add(Lookup(part, (1.0,), (float("nan"),), 0.0))
    return reading.builder.add(Average((column, gap), (1.0, 1.0)))


def _nodes_of(tree: LightGbmTree, n_features: int, marked: dict[int, int]) -> Nodes:
    """Return the nodes of a tree; `marked` collects the columns that it needs without their zeros."""
    n_nodes, n_leaves = len(tree.feature), len(tree.leaf_value)
    is_category = tree.decision_type & CATEGORY != 0
    missing = (tree.decision_type >> MISSING_SHIFT) & 3
    default_left = tree.decision_type & DEFAULT_LEFT != 0
    zero_left = tree.threshold >= 0
    # Where no value is missing to LightGBM, NaN is zero. Missing categories go right.
    missing_left = np.where((missing == MISSING_NAN) | (missing == MISSING_ZERO), default_left, zero_left)
    feature = tree.feature.copy()
    for node in np.flatnonzero(~is_category & (missing == MISSING_ZERO) & (default_left != zero_left)).tolist():
        column = int(tree.feature[node])
        feature[node] = n_features + marked.setdefault(column, len(marked))
    tests = tuple(CategoryTest(members, frozenset(), other_left=False) for members in tree.categories)
    leaves = np.full(n_leaves, -1)

    def children(side: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.concatenate([np.where(side < 0, n_nodes + ~side, side), leaves])

    return Nodes(
        roots=np.zeros(1, dtype=np.int64),
        feature=np.r_[feature, leaves],
        threshold=np.r_[_thresholds(np.where(is_category, 0.0, tree.threshold)), np.zeros(n_leaves, np.float32)],
        left=children(tree.left),
        right=children(tree.right),
        missing_left=np.r_[missing_left & ~is_category, np.zeros(n_leaves, dtype=bool)],
        category=np.r_[np.where(is_category, tree.threshold, NUMERIC), np.full(n_leaves, NUMERIC)].astype(np.int64),
        values=np.r_[np.zeros(n_nodes), tree.leaf_value][:, np.newaxis],
        tests=tests,
    )


def _thresholds(thresholds: NDArray[np.float64]) -> Float32s:
    """Return float32 thresholds; one among the numbers that LightGBM takes for zero moves to their end."""
    zero = float(_ZERO)
    found = not_above(thresholds)
    found = np.where((thresholds >= -zero) & (thresholds < 0), -_AFTER_ZERO, found)
    return np.asarray(np.where((thresholds >= 0) & (thresholds < zero), _ZERO, found), dtype=np.float32)


def _add_link(reading: Reading, estimator: Any, model: LightGbmModel, scores: int, response: Response) -> int:
    name, options = _objective_of(model)
    add = reading.builder.add
    if response == "probabilities" and name == "multiclass":
        return add(Softmax(scores))
    if response == "probabilities" and name in ("binary", "multiclassova", "cross_entropy"):
        slope = float(options.get("sigmoid", 1.0))
        if slope != 1.0:
            scores = add(Affine(scores, np.full(model.n_outputs, slope), np.zeros(model.n_outputs)))
        shares = add(Curve(scores, "logistic"))
        # One against the rest: as LightGBM, the shares are not made to sum to 1.
        return shares if name == "multiclassova" else add(Complement(shares))
    if response == "value" and name in _EXPONENTIAL:
        return add(Curve(scores, "exp"))
    if response == "value" and name == "cross_entropy":
        return add(Curve(scores, "logistic"))
    if response == "value" and name in _LINEAR:
        return add(Product((scores, add(Curve(scores, "abs"))))) if "sqrt" in options else scores
    raise reading.refuse(estimator, f"with the objective {name or 'of your own'!r}, asked for {response},")


_FILE: Final[Mapping[Response, Reader]] = {"probabilities": _reader("probabilities"), "value": _reader("value")}
READERS: Final[Readers] = {
    "lightgbm.sklearn.LGBMClassifier": {"probabilities": _reader("probabilities")},
    "lightgbm.sklearn.LGBMRegressor": {"value": _reader("value")},
    "lightgbm.sklearn.LGBMRanker": {"value": _reader("value")},
    "lightgbm.basic.Booster": _FILE,
    LightGbmFile: _FILE,
}
