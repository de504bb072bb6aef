"""Fitted models of every family that a project can have, on small real data; fitted once for all tests."""

import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler

from edge_agent.bundle import Feature, Rule
from exporter.export import ExportLimits, export_model
from exporter.models.model import Evidence, FittedModel, Rows, Truth
from exporter.proof.parity import Parity
from exporter.proof.proving import Surroundings
from exporter.proof.report import ExportReport, VariantReport

_EVIDENCE: dict[tuple[int, int], tuple["Learnt", Evidence]] = {}
HERE_ONLY = Surroundings((), weighs=False)
LOADERS = {"digits": load_digits, "cancer": load_breast_cancer, "diabetes": load_diabetes}


@dataclass(frozen=True, slots=True)
class Learnt:
    """A fitted model with the rows that it was trained on, and those that it was not."""

    model: FittedModel
    training: Rows
    training_truth: Truth
    evaluation: Rows
    truth: Truth

    @property
    def metric(self) -> str:
        return "accuracy" if self.model.labels else "r2"


@cache
def load(name: str) -> tuple[Rows, Truth]:
    rows, truth = LOADERS[name](return_X_y=True)
    return rows.astype(np.float32), truth


def regressor(max_iter: int) -> MLPRegressor:
    """Return a small unfitted neural network."""
    return MLPRegressor(hidden_layer_sizes=(20,), max_iter=max_iter, random_state=0)


def make(family: str):
    """Return an unfitted estimator."""
    scaled = StandardScaler()
    return {
        "mlp": lambda: make_pipeline(scaled, MLPClassifier((20,), max_iter=60, random_state=0)),
        "deep mlp": lambda: make_pipeline(scaled, MLPClassifier((16, 12), max_iter=60, random_state=0)),
        "tanh mlp": lambda: make_pipeline(scaled, MLPClassifier((20,), activation="tanh", max_iter=60, random_state=0)),
        "logistic mlp": lambda: make_pipeline(
            MinMaxScaler(), MLPClassifier((20,), "logistic", max_iter=200, random_state=0)
        ),
        "imputed mlp": lambda: make_pipeline(
            SimpleImputer(), RobustScaler(), MLPClassifier((20,), max_iter=60, random_state=0)
        ),
        "logistic": lambda: make_pipeline(scaled, LogisticRegression(max_iter=50)),
        "forest": lambda: RandomForestClassifier(20, random_state=0),
        "scaled forest": lambda: make_pipeline(scaled, RandomForestClassifier(20, random_state=0)),
        "imputed trees": lambda: make_pipeline(SimpleImputer(), ExtraTreesClassifier(20, random_state=0)),
        "boosting": lambda: HistGradientBoostingClassifier(max_iter=5, random_state=0),
        "mlp regressor": lambda: make_pipeline(
            scaled, MLPRegressor(hidden_layer_sizes=(20,), max_iter=300, random_state=0)
        ),
        "rescaled mlp": lambda: TransformedTargetRegressor(
            make_pipeline(scaled, regressor(60)),
            transformer=StandardScaler(),
        ),
        "rescaled last": lambda: make_pipeline(
            scaled,
            TransformedTargetRegressor(regressor(60), transformer=StandardScaler()),
        ),
        "ridge": lambda: make_pipeline(SimpleImputer(strategy="median"), scaled, Ridge()),
        "forest regressor": lambda: RandomForestRegressor(20, random_state=0),
        "trees regressor": lambda: ExtraTreesRegressor(20, random_state=0),
        "boosting regressor": lambda: HistGradientBoostingRegressor(max_iter=100, random_state=0),
        "columns": lambda: make_pipeline(
            ColumnTransformer([("c", OneHotEncoder(handle_unknown="ignore"), [0])], remainder=StandardScaler()),
            RandomForestClassifier(20, random_state=0),
        ),
    }[family]()


@cache
def learn(family: str, data: str, on_missing: Rule = "refuse") -> Learnt:
    """Fit a family on the first 2/3 of the rows."""
    rows, truth = load(data)
    features = [Feature(f"f{i}", on_missing=on_missing) for i in range(rows.shape[1])]
    if family == "columns":
        rows = rows.copy()
        rows[:, 0] = np.digitize(rows[:, 0], np.quantile(rows[:, 0], [0.25, 0.5, 0.75]))
        features[0] = Feature("f0", "category", categories=("a", "b", "c", "d"), on_missing=on_missing)
    return fit(make(family), rows, truth, tuple(features), is_value=data == "diabetes")


def fit(estimator, rows, truth, features=None, *, is_value=False) -> Learnt:
    """Fit an estimator on the first 2/3 of the rows."""
    n = len(rows) * 2 // 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(rows[:n], truth[:n])
    labels = () if is_value else tuple(str(c) for c in estimator.classes_)
    features = features or tuple(Feature(f"f{i}") for i in range(rows.shape[1]))
    model = FittedModel(estimator, "regression" if is_value else "classification", features, labels)
    return Learnt(model, rows[:n], truth[:n], rows[n:], truth[n:])


def export(learnt: Learnt, folder: Path, *requested: str, clock=None, surroundings=HERE_ONLY, **limits) -> ExportReport:
    """Export a model, proved in this process only; int8 may lose 3 points unless the limits say otherwise."""
    return export_model(
        learnt.model,
        calibration=learnt.training,
        evaluation=learnt.evaluation,
        truth=learnt.truth,
        metric=learnt.metric,
        requested=requested,
        limits=ExportLimits(**{"max_parity_loss": 0.03, **limits}),
        folder=folder,
        clock=clock,
        surroundings=surroundings,
    )


def parity_of(variant: VariantReport) -> Parity:
    """Return the parity of a variant that was made."""
    assert variant.parity is not None, variant.reason
    return variant.parity


def evidence_of(learnt: Learnt, n_blocks: int = 4) -> Evidence:
    """Return out-of-fold predictions of the training rows by contiguous block; fitted once for a model."""
    key = (id(learnt), n_blocks)
    if key not in _EVIDENCE:
        _EVIDENCE[key] = (learnt, _evidence_of(learnt, n_blocks))
    return _EVIDENCE[key][1]


def _evidence_of(learnt: Learnt, n_blocks: int) -> Evidence:
    model, rows, truth = learnt.model, learnt.training, learnt.training_truth
    block_of = np.arange(len(rows)) * n_blocks // len(rows)
    predictions = np.zeros((len(rows), model.n_outputs))
    for block in range(n_blocks):
        inside = block_of == block
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator = clone(model.estimator).fit(rows[~inside], truth[~inside])
        predictions[inside] = FittedModel(estimator, model.task, model.features, model.labels).outputs(rows[inside])
    return Evidence(rows, truth, predictions, block_of)
