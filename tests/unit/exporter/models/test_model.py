import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.tree import DecisionTreeClassifier

from edge_agent.bundle import Feature
from exporter.errors import ModelError
from exporter.models.model import FittedModel
from exporter.programs.interpreter import run_program
from exporter.reading.models import read_model
from tests.unit.exporter.reading.exactness import difference, features_of

RNG = np.random.default_rng(29)
ROWS = RNG.normal(size=(60, 2)).astype(np.float32)


@pytest.mark.parametrize(
    "truth", [ROWS[:, 0] > 0, (ROWS[:, 0] > 0).astype(int) + 7, np.where(ROWS[:, 0] > 0, "up", "down")]
)
def test_labels_of_any_type_are_known_by_their_names(truth):
    names = tuple(str(name) for name in np.unique(truth).tolist())
    model = FittedModel(LogisticRegression().fit(ROWS, truth), "classification", features_of(ROWS), names)
    assert model.outputs(ROWS).shape == (60, 2)


def test_clusters_may_be_given_names():
    model = FittedModel(KMeans(2, random_state=0).fit(ROWS), "classification", features_of(ROWS), ("slow", "fast"))
    assert model.outputs(ROWS).shape == (60, 2)


@pytest.mark.parametrize(
    ("estimator", "task", "labels", "message"),
    [
        (LinearRegression(), "anomaly", (), "LinearRegression has no decision_function"),
        (LinearRegression(), "regression", ("a", "b"), "labels for a regression, which has none"),
        (OneClassSVM(), "anomaly", ("a", "b"), "labels for a anomaly, which has none"),
        (LogisticRegression(), "classification", ("a", "b", "c"), "every label must occur"),
        (LogisticRegression(), "classification", (), "every label must occur"),
        (KMeans(2), "classification", ("a", "b", "c"), "knows the classes .'cluster_0', 'cluster_1'."),
        (LinearRegression(), "classification", ("a", "b"), "knows the classes .., the labels are"),
    ],
)
def test_an_estimator_that_cannot_do_the_task_is_refused(estimator, task, labels, message):
    estimator.fit(ROWS, (ROWS[:, 0] > 0).astype(int) if task == "classification" else ROWS[:, 0])
    with pytest.raises(ModelError, match=message):
        FittedModel(estimator, task, features_of(ROWS), labels)


def test_a_model_of_one_label_is_refused():
    clustering = KMeans(1, random_state=0).fit(ROWS)
    with pytest.raises(ModelError, match="with fewer than two there is nothing to decide"):
        FittedModel(clustering, "classification", features_of(ROWS), ("cluster_0",))


def test_several_outputs_are_refused():
    model = FittedModel(LinearRegression().fit(ROWS, ROWS), "regression", features_of(ROWS))
    with pytest.raises(ModelError, match=r"LinearRegression answers .* numbers a row where 1 are expected"):
        model.outputs(ROWS)
    several = DecisionTreeClassifier().fit(ROWS, (ROWS > 0).astype(int))
    with pytest.raises(ModelError, match="answers several labels at once"):
        FittedModel(several, "classification", features_of(ROWS), ("0", "1"))


FRAME = pd.DataFrame(
    {
        "colour": ["red", "green", None, "blue", "red", "green"] * 5,
        "n": [1.0, 2, np.nan, 4, 5, 6] * 5,
        "size": pd.Categorical(["big", "small", "big", "small", "small", "big"] * 5),
    }
)
TRUTH = np.array(["a", "b", "a", "b", "a", "a"] * 5)
FEATURES = (
    Feature("colour", "category", categories=("blue", "green", "red"), on_missing="flag"),
    Feature("n", on_missing="flag"),
    Feature("size", "category", categories=("small", "big"), on_missing="flag"),
)
ASKED = np.array([[0, 1, 1], [1, 2, 0], [np.nan, np.nan, np.nan], [2, 9, 1], [2, -4, 0]], dtype=np.float32)
AS_FRAME = pd.DataFrame(
    {
        "colour": ["blue", "green", np.nan, "red", "red"],
        "n": [1, 2, np.nan, 9, -4],
        "size": pd.Categorical(["big", "small", np.nan, "big", "small"]),
    }
)


def pipeline():
    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    columns = make_column_transformer((texts, ["size", "colour"]), (numbers, ["n"]))
    return make_pipeline(columns, LogisticRegression())


def test_a_model_that_was_trained_on_a_frame_is_handed_its_texts():
    estimator = pipeline().fit(FRAME, TRUTH)
    model = FittedModel(estimator, "classification", FEATURES, ("a", "b"))
    expected = estimator.predict_proba(AS_FRAME)
    assert np.allclose(model.outputs(ASKED), expected, atol=1e-6)
    assert difference(run_program(read_model(model), ASKED), expected) <= 1e-5


def test_without_pandas_it_is_said_what_is_missing(monkeypatch):
    model = FittedModel(pipeline().fit(FRAME, TRUTH), "classification", FEATURES, ("a", "b"))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModelError, match="Pipeline was trained on a data frame, and is asked with one: install pandas"):
        model.outputs(ASKED)


def test_boosting_takes_the_categories_of_a_frame():
    boosting = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=2, categorical_features="from_dtype")
    frame = FRAME.astype({"colour": "category"})
    model = FittedModel(boosting.fit(frame, TRUTH), "classification", FEATURES, ("a", "b"))
    expected = boosting.predict_proba(AS_FRAME.astype({"colour": "category"}))
    assert np.allclose(model.outputs(ASKED), expected, atol=1e-6)
    assert difference(run_program(read_model(model), ASKED), expected) <= 1e-5


@pytest.mark.parametrize("gap", [None, np.nan])
def test_a_model_that_was_trained_on_an_array_of_texts_is_handed_them(gap):
    texts = np.array([["x", 1], ["y", 2], [gap, 3], ["x", 4]] * 3, dtype=object)
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), [0]), ("passthrough", [1]))
    estimator = make_pipeline(encoder, LogisticRegression()).fit(texts, [0, 1, 1, 0] * 3)
    features = (Feature("t", "category", categories=("x", "y"), on_missing="flag"), Feature("n"))
    model = FittedModel(estimator, "classification", features, ("0", "1"))
    rows = np.array([[0, 1], [1, 2], [np.nan, 3], [7, 3]], dtype=np.float32)
    expected = estimator.predict_proba(np.array([["x", 1], ["y", 2], [gap, 3], ["unseen", 3]], dtype=object))
    assert np.allclose(model.outputs(rows), expected)
    assert difference(run_program(read_model(model), rows), expected) <= 1e-5


def test_a_model_that_was_trained_on_indices_is_handed_indices():
    rows = np.array([[0, 1], [1, 2], [2, 3], [1, 4]] * 3, dtype=np.float32)
    estimator = make_pipeline(make_column_transformer((OneHotEncoder(), [0])), LogisticRegression())
    estimator.fit(rows, [0, 1, 1, 0] * 3)
    features = (Feature("t", "category", categories=("x", "y", "z")), Feature("n"))
    model = FittedModel(estimator, "classification", features, ("0", "1"))
    assert np.array_equal(model.outputs(rows), estimator.predict_proba(rows))


@pytest.mark.parametrize(("gap", "sought"), [(None, None), (None, np.nan), (np.nan, np.nan)])
def test_an_imputer_fills_none_or_nan_only_where_it_seeks_it(gap, sought):
    texts = np.array([["x", 1], ["y", 2], [gap, 3], ["x", 4]] * 3, dtype=object)
    filled = make_pipeline(
        SimpleImputer(missing_values=sought, strategy="constant", fill_value="y"),
        OneHotEncoder(handle_unknown="ignore"),
    )
    encoder = make_column_transformer((filled, [0]), ("passthrough", [1]))
    estimator = make_pipeline(encoder, LogisticRegression()).fit(texts, [0, 1, 1, 0] * 3)
    features = (Feature("t", "category", categories=("x", "y"), on_missing="flag"), Feature("n"))
    model = FittedModel(estimator, "classification", features, ("0", "1"))
    rows = np.array([[0, 1], [1, 2], [np.nan, 3], [7, 3]], dtype=np.float32)
    assert difference(run_program(read_model(model), rows), model.outputs(rows)) <= 1e-5
