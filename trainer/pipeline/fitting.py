"""Fits one candidate, and asks it for outputs. The only place that wires scikit-learn pipelines."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_outlier_detector
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import IsolationForest
from sklearn.ensemble._forest import BaseForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from edge_agent.bundle import Feature, Task
from exporter.models.answers import answers
from exporter.threads import one_thread
from trainer.errors import DataError
from trainer.pipeline.candidates import Circumstances, Family, Parameters
from trainer.pipeline.rounds import Part, has_rounds, with_rounds


def fit(
    family: Family,
    parameters: Parameters,
    circumstances: Circumstances,
    features: Sequence[Feature],
    rows: NDArray[np.float32],
    truth: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    judging: NDArray[np.bool_] | None = None,
) -> Any:  # noqa: ANN401 - scikit-learn ships no types
    """Return a fitted estimator: the bare model, or a pipeline that ends with it.

    The same arguments give the same model: chance comes from the seed, and sums are made by one thread. A detector of
    anomalies is fitted on the rows that are not known to be some.

    Args:
        family: what is fitted.
        parameters: of the family.
        circumstances: what it is built for.
        features: columns of the rows.
        rows: ``(n, n_features) float32``.
        truth: ``(n,) float64``.
        weights: ``(n,)``; None: all alike.
        judging: ``(n,) bool``: rows by which the number of rounds is found first; None: as many as the parameters say.

    Raises:
        DataError: a classifier would see one label only, or a detector nothing but anomalies.
    """
    is_classification = circumstances.task == "classification"
    if circumstances.task == "anomaly":
        usual = truth == 0
        if not usual.any():
            msg = (
                f"every one of {len(truth)} training rows is an anomaly; is the usual label the first of target.labels?"
            )
            raise DataError(msg)
        rows, truth, weights = rows[usual], truth[usual], None if weights is None else weights[usual]
    target: NDArray[Any] = truth.astype(np.int64) if is_classification else truth
    if is_classification and len(np.unique(target)) < 2:  # noqa: PLR2004 - two classes at least
        msg = (
            f"only one label occurs in {len(target)} training rows; are the rows ordered by label? "
            "Order them by time (data.timestamp), lower training.blocks or take more rows"
        )
        raise DataError(msg)
    model = family.build(parameters, circumstances)
    if isinstance(model, BaseForest | IsolationForest):
        # Each tree has its own seed: threads change nothing but the time.
        model.set_params(n_jobs=os.cpu_count() or 1)
    shift, scale = 0.0, 1.0
    if isinstance(model, MLPRegressor):
        # A network learns values around zero; its last layer, which is linear, undoes this below.
        shift, scale = float(target.mean()), float(target.std()) or 1.0
        target = (target - shift) / scale
    with one_thread("blas"), warnings.catch_warnings():
        # A fixed number of epochs is a choice of the search, not a failure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if judging is not None and has_rounds(model) and _can_judge(target, judging, is_labels=is_classification):
            model = _counted(model, family, features, rows, target, weights, judging)
        estimator, prefix = _with_preparation(model, family, features)
        weighted = weights is not None and family.takes_weights and circumstances.task != "anomaly"
        keywords = {f"{prefix}{_last_of(model)}sample_weight": weights} if weighted else {}
        if circumstances.task == "anomaly":
            estimator.fit(rows)
        else:
            estimator.fit(rows, target, **keywords)
    if isinstance(model, MLPRegressor):
        model.coefs_[-1] = model.coefs_[-1] * scale
        model.intercepts_[-1] = model.intercepts_[-1] * scale + shift
    _forget_training(model)
    return estimator


def outputs_of(estimator: Any, rows: NDArray[np.float32], n_labels: int) -> NDArray[np.float64]:  # noqa: ANN401
    """Return what a fitted estimator answers, ``(n_rows, n_labels or 1) float64``.

    It is what its exported forms answer (`exporter.models.answers`). A label that did not occur in training has
    probability 0.
    """
    if not len(rows):
        return np.zeros((0, n_labels or 1))
    with one_thread("blas"), warnings.catch_warnings():
        # LightGBM names columns of its own accord, and then misses the names.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        if not n_labels:
            is_detector = hasattr(estimator, "__sklearn_tags__") and is_outlier_detector(estimator)
            task: Task = "anomaly" if is_detector else "regression"
            return np.asarray(answers(estimator, task, rows), dtype=np.float64).reshape(-1, 1)
        outputs = np.zeros((len(rows), n_labels))
        known = np.asarray(estimator.classes_, dtype=np.int64)
        outputs[:, known] = np.asarray(answers(estimator, "classification", rows)).reshape(len(rows), len(known))
    return outputs


def _can_judge(target: NDArray[Any], judging: NDArray[np.bool_], *, is_labels: bool) -> bool:
    """Tell whether rows on both sides are enough to find a number of rounds: no label may occur on one side alone."""
    if not judging.any() or judging.all():
        return False
    return not is_labels or set(target[judging]) == set(target[~judging])


def _counted(
    model: Any,  # noqa: ANN401
    family: Family,
    features: Sequence[Feature],
    rows: NDArray[np.float32],
    target: NDArray[Any],
    weights: NDArray[np.float64] | None,
    judging: NDArray[np.bool_],
) -> Any:  # noqa: ANN401
    """Return the model with the number of rounds that was best on the judging rows."""
    estimator, prefix = _with_preparation(model, family, features)
    fitted = ~judging
    given = rows[fitted], rows[judging]
    if prefix:
        preparation = estimator[:-1].fit(given[0])
        given = preparation.transform(given[0]), preparation.transform(given[1])
    heavy = (None, None) if weights is None else (weights[fitted], weights[judging])
    return with_rounds(model, Part(given[0], target[fitted], heavy[0]), Part(given[1], target[judging], heavy[1]))


def _last_of(model: Any) -> str:  # noqa: ANN401
    """Return the prefix of the last step of a pipeline, which is the one that learns."""
    steps = getattr(model, "steps", None)
    return f"{steps[-1][0]}__" if steps else ""


def _with_preparation(model: Any, family: Family, features: Sequence[Feature]) -> tuple[Any, str]:  # noqa: ANN401
    """Return the estimator and the prefix of its model's fit parameters."""
    numbers = [i for i, feature in enumerate(features) if feature.dtype != "category"]
    categories = [i for i, feature in enumerate(features) if feature.dtype == "category"]
    steps: list[tuple[str, Any]] = []
    may_miss = any(feature.on_missing == "flag" for feature in features)
    if not categories:
        steps = _number_steps(may_miss=may_miss, is_scaled=family.is_scaled)
    else:
        parts: list[tuple[str, Any, list[int]]] = []
        if numbers:
            inner = _number_steps(may_miss=may_miss, is_scaled=family.is_scaled)
            parts.append(("numbers", Pipeline(inner) if inner else "passthrough", numbers))
        codes = [np.arange(len(features[i].categories), dtype=np.float32) for i in categories]
        encoder = OneHotEncoder(categories=codes, handle_unknown="ignore", sparse_output=False, dtype=np.float32)
        impute = [("impute", SimpleImputer(strategy="most_frequent", keep_empty_features=True))] if may_miss else []
        parts.append(("categories", Pipeline([*impute, ("encode", encoder)]), categories))
        steps = [("columns", ColumnTransformer(parts))]
    if not steps:
        return model, ""
    return Pipeline([*steps, ("model", model)]), "model__"


def _number_steps(*, may_miss: bool, is_scaled: bool) -> list[tuple[str, Any]]:
    impute = [("impute", SimpleImputer(strategy="median", keep_empty_features=True))] if may_miss else []
    return [*impute, *([("scale", StandardScaler())] if is_scaled else [])]


def _forget_training(model: Any) -> None:  # noqa: ANN401
    """Drop what only training needs: it would triple the file, and hold types that a reader must not trust."""
    for name in ("_optimizer", "_random_state"):
        if hasattr(model, name):
            delattr(model, name)
    if isinstance(model, BaseForest | IsolationForest):
        # Threads would add up a forest's trees in the order in which they finish.
        model.set_params(n_jobs=None)
        for tree in getattr(model, "estimators_", ()):
            if hasattr(tree, "n_jobs"):
                tree.n_jobs = None
