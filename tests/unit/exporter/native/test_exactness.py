"""Real models as native tables decide as scikit-learn does: on and next to thresholds, and on missing values too."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from threadpoolctl import threadpool_limits

from edge_agent.bundle import Feature
from edge_agent.engine.face import PORTABLE
from edge_agent.engine.loading import load_engine
from exporter.material import Material
from exporter.models.model import FittedModel
from exporter.native.target import convert_native
from exporter.programs.program import Trees

Rows = NDArray[np.float32]
N_NEAR = 5000
MISSING_SHARE = 0.1


def with_missing(rows: Rows, seed: int = 0) -> Rows:
    holes = np.random.default_rng(seed).random(rows.shape) < MISSING_SHARE
    return np.where(holes, np.float32(np.nan), rows).astype(np.float32)


def with_categories(rows: Rows) -> Rows:
    """Every fourth column as one of a dozen categories."""
    found = rows.copy()
    found[:, ::4] = np.floor(np.argsort(np.argsort(rows[:, ::4], axis=0), axis=0) * 12 / len(rows))
    return found


CASES: dict[str, tuple[Callable[..., Any], Callable[[], Any], Callable[[Rows], Rows]]] = {
    "digits forest": (load_digits, lambda: RandomForestClassifier(100, random_state=0), lambda rows: rows),
    "digits boosting": (load_digits, lambda: HistGradientBoostingClassifier(max_iter=8, random_state=0), with_missing),
    "cancer forest": (load_breast_cancer, lambda: RandomForestClassifier(100, random_state=0), lambda rows: rows),
    "cancer forest, missing values": (
        load_breast_cancer,
        lambda: RandomForestClassifier(50, min_samples_leaf=3, random_state=0),
        with_missing,
    ),
    "cancer boosting": (
        load_breast_cancer,
        lambda: HistGradientBoostingClassifier(max_iter=30, random_state=0),
        with_missing,
    ),
    "cancer boosting, categories": (
        load_breast_cancer,
        lambda: HistGradientBoostingClassifier(max_iter=30, categorical_features=list(range(0, 30, 4)), random_state=0),
        lambda rows: with_missing(with_categories(rows)),
    ),
    "cancer extra trees": (load_breast_cancer, lambda: ExtraTreesClassifier(50, random_state=0), lambda rows: rows),
    "cancer gradient boosting": (
        load_breast_cancer,
        lambda: GradientBoostingClassifier(n_estimators=50, random_state=0),
        lambda rows: rows,
    ),
    "diabetes forest": (load_diabetes, lambda: RandomForestRegressor(50, random_state=0), lambda rows: rows),
    "diabetes boosting": (
        load_diabetes,
        lambda: HistGradientBoostingRegressor(max_iter=40, random_state=0),
        with_missing,
    ),
}


def rows_near_thresholds(model: FittedModel, rows: Rows) -> Rows:
    """Real rows with a third of their numbers put on a threshold of their column, or on the number next to it."""
    rng = np.random.default_rng(1)
    found = rows[rng.integers(len(rows), size=N_NEAR)].copy()
    program = Material(model, rows).program
    for node in program.nodes:
        if not isinstance(node.operation, Trees):
            continue
        for column, thresholds in enumerate(node.operation.ensemble.thresholds()):
            if len(thresholds) == 0:
                continue
            chosen = rng.random(N_NEAR) < 1 / 3
            on = rng.choice(thresholds, size=int(chosen.sum()))
            side = rng.choice(np.array([-np.inf, 0.0, np.inf], dtype=np.float32), size=len(on))
            found[chosen, column] = np.where(side == 0, on, np.nextafter(on, side, dtype=np.float32))
    return found


@pytest.mark.parametrize("name", list(CASES))
def test_a_model_decides_as_its_original(name: str):
    load, make, change = CASES[name]
    features, target = load(return_X_y=True)
    rows = change(np.asarray(features, dtype=np.float32))
    # More threads than free processors wait for each other, and take ten times as long.
    with threadpool_limits(1):
        estimator = make().fit(rows, target)
    is_classifier = hasattr(estimator, "classes_")
    labels = tuple(map(str, range(len(estimator.classes_)))) if is_classifier else ()
    model = FittedModel(
        estimator,
        "classification" if is_classifier else "regression",
        tuple(Feature(f"f{i}", on_missing="flag") for i in range(rows.shape[1])),
        labels,
    )
    asked = np.concatenate([rows, rows_near_thresholds(model, rows)])
    with threadpool_limits(1):
        expected = model.outputs(asked)
    table = convert_native(Material(model, rows))
    for flags in (0, PORTABLE):
        opened = load_engine().open(table, flags)
        answers = np.zeros(expected.shape, dtype=np.float32)
        opened.score_into(asked.tobytes(), answers)  # type: ignore[arg-type]  # an array is a buffer
        scale = 1.0 if is_classifier else float(np.abs(expected).max())
        assert np.abs(answers - expected).max() <= 1e-6 * scale
        if is_classifier:
            top = np.sort(expected, axis=1)
            is_tie = top[:, -1] - top[:, -2] < 1e-7
            assert (answers.argmax(axis=1) == expected.argmax(axis=1))[~is_tie].all()
