"""Whole pipelines of scikit-learn, folded: exact on all rows, and on and next to their thresholds."""

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from exporter.programs.folding import fold_into_thresholds
from exporter.programs.interpreter import run_program
from exporter.programs.program import Linear, Row, Scale, Trees
from tests.unit.exporter.reading.reference import around, assert_same, data, read, with_gaps

SEED = {"random_state": 0}
PIPELINES = {
    "standard": lambda: make_pipeline(StandardScaler(), RandomForestClassifier(20, **SEED)),
    "robust": lambda: make_pipeline(RobustScaler(), GradientBoostingClassifier(n_estimators=10, **SEED)),
    "min max": lambda: make_pipeline(MinMaxScaler(clip=True), HistGradientBoostingClassifier(max_iter=10, **SEED)),
    "twice": lambda: make_pipeline(StandardScaler(), MaxAbsScaler(), RandomForestClassifier(20, **SEED)),
    "vote": lambda: VotingClassifier(
        [
            ("a", make_pipeline(StandardScaler(), RandomForestClassifier(10, **SEED))),
            ("b", make_pipeline(MinMaxScaler(), RandomForestClassifier(10, random_state=1))),
        ],
        voting="soft",
    ),
}


def kinds(program) -> set[str]:
    return {type(node.operation).__name__ for node in program.nodes}


def verify(model, rows, response, *, missing=False, categories=None) -> set[str]:
    """Assert that the folded program is the model, bit by bit what it was unfolded; return its kinds of operations."""
    program = read(model, rows.shape[1], response)
    folded = fold_into_thresholds(program, categories)
    tried = around(folded, rows, 5000, missing=missing)
    if categories:
        for column, n in categories.items():
            tried[:, column] = np.where(
                np.isnan(tried[:, column]), np.nan, np.clip(np.round(tried[:, column]), 0, n - 1)
            )
    assert np.array_equal(run_program(folded, tried), run_program(program, tried))
    assert_same(folded, model, tried, response)
    return kinds(folded)


@pytest.mark.parametrize("name", ["digits", "cancer", "wine"])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_scalers_leave_nothing_behind(pipeline, name):
    rows, truth = data(name)
    left = verify(PIPELINES[pipeline]().fit(rows, truth), rows, "probabilities")
    assert not left & {"Scale", "Affine", "Clip", "Columns", "Join"}


@pytest.mark.parametrize("strategy", ["mean", "constant"])
def test_imputers_become_the_way_of_missing_values(strategy):
    rows, truth = data("cancer")
    rows = with_gaps(rows)
    model = make_pipeline(
        SimpleImputer(strategy=strategy, fill_value=-1), StandardScaler(), RandomForestClassifier(20, **SEED)
    ).fit(rows, truth)
    assert verify(model, rows, "probabilities", missing=True) == {"Row", "Trees"}


def test_flags_of_missing_values_become_the_way_of_missing_values():
    rows, truth = data("cancer")
    rows = with_gaps(rows)
    model = make_pipeline(SimpleImputer(add_indicator=True), RandomForestClassifier(20, **SEED)).fit(rows, truth)
    assert verify(model, rows, "probabilities", missing=True) == {"Row", "Trees"}


def test_another_mark_for_missing_values_stays_exact():
    rows, truth = data("cancer")
    rows = np.where(np.isnan(with_gaps(rows)), np.float32(-1), rows)
    model = make_pipeline(SimpleImputer(missing_values=-1), RandomForestClassifier(20, **SEED)).fit(rows, truth)
    verify(model, rows, "probabilities")


@pytest.mark.parametrize("encoder", [OneHotEncoder(handle_unknown="ignore"), OrdinalEncoder()])
def test_encoded_categories_become_questions_about_the_category(encoder):
    rows, truth = data("cancer")
    rows = rows.copy()
    rows[:, 3] = np.digitize(rows[:, 3], np.quantile(rows[:, 3], np.arange(0.1, 1, 0.1))) * 3 % 10
    rows[:, 7] = np.digitize(rows[:, 7], np.quantile(rows[:, 7], [0.3, 0.6]))
    columns = ColumnTransformer([("category", encoder, [3, 7])], remainder=StandardScaler())
    model = make_pipeline(columns, RandomForestClassifier(20, **SEED)).fit(rows, truth)
    assert verify(model, rows, "probabilities", categories={3: 10, 7: 3}) == {"Row", "Trees"}


def test_what_mixes_columns_stays_and_scalers_around_it_go_where_they_can():
    rows, truth = data("diabetes")
    model = make_pipeline(PCA(5), StandardScaler(), ExtraTreesRegressor(10, **SEED)).fit(rows, truth)
    verify(model, rows, "value")
    folded = fold_into_thresholds(read(model, rows.shape[1], "value"))
    # The mean that the projection takes off stays, the scaler behind it does not.
    assert [type(node.operation) for node in folded.nodes] == [Row, Scale, Linear, Trees]
