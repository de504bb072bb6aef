"""Reads XGBoost's models, fitted or from a file; the package is needed only to score a file.

XGBoost compares float32 numbers by ``<``. It sums leaves in float32, where the program sums in float64: its own answers
are off by the rounding of each step, some 1e-7 of the sum.
"""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exporter.errors import ModelError
from exporter.models.model import Rows
from exporter.programs.ensemble import NUMERIC, CategoryTest
from exporter.programs.float32 import below
from exporter.programs.planting import Nodes, joined, plant
from exporter.programs.program import Complement, Curve, Fill, Linear, Softmax, Trees
from exporter.reading.model_files import ModelFile, read_bytes
from exporter.reading.reading import Reader, Readers, Reading, Response
from exporter.reading.xgboost_format import XgBoostModel, XgBoostTree, parse_model

_LOGISTIC: Final = ("binary:logistic", "reg:logistic")
_LOG: Final = ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft")
_MULTICLASS: Final = ("multi:softprob", "multi:softmax")
_LINEAR: Final = (
    "reg:squarederror",
    "reg:linear",
    "reg:squaredlogerror",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:quantileerror",
    "rank:pairwise",
    "rank:ndcg",
    "rank:map",
    "binary:logitraw",
)


class XgBoostFile(ModelFile[XgBoostModel]):
    """A model file as an estimator, scored by XGBoost.

    A file that scikit-learn's interface saved ends at its best iteration, as that interface does; any other holds all.
    """


def load_model_file(path: Path) -> XgBoostFile:
    """Load a model file of XGBoost, JSON or UBJSON, as an estimator.

    Raises:
        ModelError: it cannot be read, is none, or XGBoost is not installed to score it.
    """
    data = read_bytes(path)
    model = parse_model(data, str(path))
    try:
        # Before XGBoost sees the file: it would follow a cycle for ever.
        for tree in model.trees:
            plant(_nodes_of(tree, np.float32(1)), model.n_features, np.zeros(1))
    except ValueError as error:
        raise ModelError(f"{path}: not a model of XGBoost: {error}") from error
    try:
        xgboost = importlib.import_module("xgboost")
    except ImportError as error:
        raise ModelError(f"{path}: XGBoost is needed to score it: pip install 'fieldloop[xgboost]'") from error
    try:
        booster = xgboost.Booster(model_file=bytearray(data))
    except xgboost.core.XGBoostError as error:
        raise ModelError(f"{path}: XGBoost does not load it: {str(error).splitlines()[0]}") from error
    if model.objective == "multi:softmax":
        booster.set_param({"objective": "multi:softprob"})
    best = _best_of(model)
    stop = 0 if best is None or model.linear is not None else best + 1

    def score(rows: Rows) -> Any:
        names, types = booster.feature_names, booster.feature_types
        matrix = xgboost.DMatrix(rows, feature_names=names, feature_types=types, enable_categorical=True)
        return booster.predict(matrix, iteration_range=(0, stop))

    is_classifier = model.objective == "binary:logistic" or model.objective in _MULTICLASS
    return XgBoostFile(model, score, is_classifier=is_classifier)


def _best_of(model: XgBoostModel) -> int | None:
    return model.best_iteration if model.is_from_sklearn else None


def _reader(response: Response) -> Reader:
    def read(reading: Reading, estimator: Any, place: int) -> int:
        if isinstance(estimator, XgBoostFile):
            model, best = estimator.model, _best_of(estimator.model)
        else:
            booster = estimator.get_booster() if hasattr(estimator, "get_booster") else estimator
            model = parse_model(bytes(booster.save_raw("ubj")), type(estimator).__name__)
            # A booster of its own answers with all iterations, scikit-learn's interface up to the best.
            best = None if booster is estimator else model.best_iteration
        reading.verify_width(estimator, model.n_features, place)
        if model.has_texts:
            raise reading.refuse(estimator, "trained on texts of categories (train it on their indices)")
        gap = getattr(estimator, "missing", None)
        if gap is not None and not np.isnan(gap):
            place = reading.builder.add(Fill(place, float(gap), np.full(model.n_features, np.nan)))
        scores = _add_scores(reading, estimator, model if best is None else _first(model, best + 1), place)
        return _add_link(reading, estimator, model, scores, response)

    return read


def _first(model: XgBoostModel, n_iterations: int) -> XgBoostModel:
    n_trees = int(model.iteration_starts[min(n_iterations, len(model.iteration_starts) - 1)])
    return replace(model, trees=model.trees[:n_trees], outputs=model.outputs[:n_trees], weights=model.weights[:n_trees])


def _add_scores(reading: Reading, estimator: Any, model: XgBoostModel, place: int) -> int:
    base = _start_of(model)
    if model.linear is not None:
        # A missing value adds nothing, and the linear booster takes the first base score for all outputs.
        known = reading.builder.add(Fill(place, float("nan"), np.zeros(model.n_features)))
        return reading.builder.add(Linear(known, model.linear[:-1], model.linear[-1] + base[0]))
    if not model.trees:
        raise reading.refuse(estimator, "without a single tree")
    trees = [_nodes_of(tree, weight) for tree, weight in zip(model.trees, model.weights, strict=True)]
    return reading.builder.add(
        Trees(place, plant(joined(trees), model.n_features, base, outputs=model.outputs.tolist()))
    )


def _start_of(model: XgBoostModel) -> NDArray[np.float64]:
    """Return the sum before the first tree: the base score, taken back through the link in float32 as XGBoost does."""
    base = np.broadcast_to(model.base_score, model.n_outputs).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        if model.objective in _LOGISTIC or model.objective == "binary:logitraw":
            base = -np.log(np.float32(1) / base - np.float32(1))
        elif model.objective in _LOG:
            base = np.log(base)
    return base.astype(np.float64)


def _nodes_of(tree: XgBoostTree, weight: np.float32) -> Nodes:
    is_leaf = tree.left < 0
    category = np.full(len(tree.left), NUMERIC)
    tests: list[CategoryTest] = []
    for node in np.flatnonzero(tree.is_category).tolist():
        category[node] = len(tests)
        # What is listed goes right, all others left.
        tests.append(CategoryTest(frozenset(), tree.categories[node], other_left=True))
    return Nodes(
        roots=np.zeros(1, dtype=np.int64),
        feature=np.where(is_leaf, -1, tree.feature),
        threshold=below(np.where(is_leaf | tree.is_category, np.float32(0), tree.condition)),
        left=tree.left,
        right=tree.right,
        missing_left=tree.default_left,
        category=category,
        values=np.where(is_leaf, weight * tree.condition, 0).astype(np.float64)[:, np.newaxis],
        tests=tuple(tests),
    )


def _add_link(reading: Reading, estimator: Any, model: XgBoostModel, scores: int, response: Response) -> int:
    name, add = model.objective, reading.builder.add
    if response == "probabilities" and name in _MULTICLASS:
        return add(Softmax(scores))
    if response == "probabilities" and name == "binary:logistic":
        return add(Complement(add(Curve(scores, "logistic"))))
    if response == "value" and name in _LOGISTIC:
        return add(Curve(scores, "logistic"))
    if response == "value" and name in _LOG:
        return add(Curve(scores, "exp"))
    if response == "value" and name in _LINEAR:
        return scores
    raise reading.refuse(estimator, f"with the objective {name!r}, asked for {response},")


_CLASSIFIER: Final[Mapping[Response, Reader]] = {"probabilities": _reader("probabilities")}
_REGRESSOR: Final[Mapping[Response, Reader]] = {"value": _reader("value")}
_FILE: Final[Mapping[Response, Reader]] = {**_CLASSIFIER, **_REGRESSOR}
READERS: Final[Readers] = {
    "xgboost.sklearn.XGBClassifier": _CLASSIFIER,
    "xgboost.sklearn.XGBRFClassifier": _CLASSIFIER,
    "xgboost.sklearn.XGBRegressor": _REGRESSOR,
    "xgboost.sklearn.XGBRFRegressor": _REGRESSOR,
    "xgboost.sklearn.XGBRanker": _REGRESSOR,
    "xgboost.core.Booster": _FILE,
    XgBoostFile: _FILE,
}
