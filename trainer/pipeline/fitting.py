"""Fits one candidate, and asks it for outputs. The only place that wires scikit-learn pipelines."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from edge_agent.bundle import Feature
from trainer.errors import DataError
from trainer.pipeline.candidates import Circumstances, Family, Parameters


def fit(
    family: Family,
    parameters: Parameters,
    circumstances: Circumstances,
    features: Sequence[Feature],
    rows: NDArray[np.float32],
    truth: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
) -> Any:  # noqa: ANN401 - scikit-learn ships no types
    """Return a fitted estimator: the bare model, or a pipeline that ends with it.

    The same arguments give the same model: chance comes from the seed, and sums are made by one thread.

    Raises:
        DataError: a classifier would see one label only.
    """
    is_classification = circumstances.task == "classification"
    target: NDArray[Any] = truth.astype(np.int64) if is_classification else truth
    if is_classification and len(np.unique(target)) < 2:  # noqa: PLR2004 - two classes at least
        msg = (
            f"only one label occurs in {len(target)} training rows; are the rows ordered by label? "
            "Order them by time (data.timestamp), lower training.blocks or take more rows"
        )
        raise DataError(msg)
    model = family.build(parameters, circumstances)
    is_forest = "n_estimators" in model.get_params()
    threads = {"n_jobs": os.cpu_count() or 1} if is_forest else {}
    model.set_params(**threads)
    shift, scale = 0.0, 1.0
    if isinstance(model, MLPRegressor):
        # A network learns values around zero; its last layer, which is linear, undoes this below.
        shift, scale = float(target.mean()), float(target.std()) or 1.0
        target = (target - shift) / scale
    estimator, last = _with_preparation(model, family, features)
    keywords = {} if weights is None else {f"{last}sample_weight": weights}
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        # A fixed number of epochs is a choice of the search, not a failure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(rows, target, **keywords)
    if isinstance(model, MLPRegressor):
        model.coefs_[-1] = model.coefs_[-1] * scale
        model.intercepts_[-1] = model.intercepts_[-1] * scale + shift
    _forget_training(model)
    return estimator


def outputs_of(estimator: Any, rows: NDArray[np.float32], n_labels: int) -> NDArray[np.float64]:  # noqa: ANN401
    """Return what a fitted estimator answers, ``(n_rows, n_labels or 1) float64``.

    A label that did not occur in training has probability 0.
    """
    if not len(rows):
        return np.zeros((0, n_labels or 1))
    with threadpool_limits(1, user_api="blas"):
        if not n_labels:
            return np.asarray(estimator.predict(rows), dtype=np.float64).reshape(-1, 1)
        outputs = np.zeros((len(rows), n_labels))
        outputs[:, np.asarray(estimator.classes_, dtype=np.int64)] = estimator.predict_proba(rows)
    return outputs


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
    if "n_estimators" in model.get_params():
        # Threads would add up a forest's trees in the order in which they finish.
        model.set_params(n_jobs=None)
        for tree in getattr(model, "estimators_", ()):
            if hasattr(tree, "n_jobs"):
                tree.n_jobs = None
