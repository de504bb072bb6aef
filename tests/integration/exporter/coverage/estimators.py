"""scikit-learn's own list of estimators as rows of the table."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from sklearn.base import is_clusterer, is_outlier_detector, is_regressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler

from edge_agent.bundle import Feature
from exporter.errors import ModelError
from exporter.models.answers import labels_of_estimator, task_of
from exporter.models.model import FittedModel, Rows
from exporter.proof.probes import answers_of
from tests.integration.exporter.coverage.case import Case
from tests.unit.exporter.every_estimator import (
    BINARY,
    CATEGORIES,
    CLASSES,
    MULTIPLE,
    N_TRAINED,
    ONE_COLUMN,
    REFUSED,
    data,
    fitted,
    is_model,
)

CLASSIFIERS: Final = "Classifiers"
REGRESSORS: Final = "Regressors"
CLUSTERINGS: Final = "Clusterings"
DETECTORS: Final = "Anomaly detectors"
TRANSFORMERS: Final = "Transformers"


def estimator_makers() -> tuple[Callable[[], Iterator[Case]], ...]:
    """Return what fits each estimator of scikit-learn's own list that is not refused."""
    return tuple(partial(_cases_of, name) for name in sorted(CLASSES) if name not in REFUSED and name not in MULTIPLE)


def _cases_of(name: str) -> Iterator[Case]:
    """Yield an estimator as a model, and as a transformer in front of a small model; it may be both."""
    estimator, rows = fitted(name)
    texts = ("0", "1", "2", "3") if name in CATEGORIES else ()
    if is_model(estimator):
        yield case_of(_group_of(estimator), name, estimator, rows, texts)
    # The answers of IsotonicRegression are no rows of a table, which is what a step of a pipeline takes.
    if hasattr(estimator, "transform") and name not in ONE_COLUMN:
        yield case_of(TRANSFORMERS, name, _before_classifier(name, estimator, rows), rows, texts)


def case_of(group: str, name: str, estimator: Any, rows: Rows, texts: tuple[str, ...] = ()) -> Case:
    """Return the case of a fitted estimator.

    Args:
        group: heading that it stands under.
        name: of the family.
        estimator: fitted.
        rows: ``(n, n_features) float32`` to judge it by.
        texts: categories of every column; empty: they are numbers.
    """
    names = [f"f{i}" for i in range(rows.shape[1])]
    task, labels = task_of(estimator), labels_of_estimator(estimator)
    strict = tuple(Feature(name, "category" if texts else "float32", categories=texts) for name in names)
    lenient = tuple(replace(feature, on_missing="flag") for feature in strict)
    features = lenient if _takes_gaps(FittedModel(estimator, task, lenient, labels), rows) else strict
    return Case(group, name, FittedModel(estimator, task, features, labels), rows)


def _takes_gaps(model: FittedModel, rows: Rows) -> bool:
    gappy = np.repeat(rows[:1], rows.shape[1] + 1, axis=0)
    gappy[:, :] = np.where(np.eye(len(gappy), rows.shape[1]), np.nan, gappy)
    gappy[-1] = np.nan
    try:
        return bool(np.isfinite(answers_of(model, gappy)).all())
    except ModelError:
        return False


def _group_of(estimator: Any) -> str:
    if is_outlier_detector(estimator):
        return DETECTORS
    if is_clusterer(estimator):
        return CLUSTERINGS
    return REGRESSORS if is_regressor(estimator) else CLASSIFIERS


def _before_classifier(name: str, transformer: Any, rows: Rows) -> Pipeline:
    """Return the fitted transformer in front of a scaler and a logistic regression."""
    truth = data("binary" if name in BINARY else "many")[1][N_TRAINED:]
    steps = [("transformer", transformer), ("scaler", MaxAbsScaler()), ("classifier", LogisticRegression())]
    made = Pipeline(steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformed = transformer.transform(rows[: len(truth)])
        made.named_steps["classifier"].fit(made.named_steps["scaler"].fit_transform(transformed), truth)
    return made
