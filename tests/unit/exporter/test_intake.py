import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import OneClassSVM

from exporter.errors import ModelError, RowsError
from exporter.intake import take_in
from exporter.reading.known_texts import known_texts

RNG = np.random.default_rng(31)
FRAME = pd.DataFrame({"a": RNG.normal(size=80), "b": RNG.normal(size=80), "c": RNG.choice(["x", "y", "z"], 80)})
NUMBERS = FRAME[["a", "b"]]
LABELS = np.where(FRAME["a"] > 0, "up", "down")


def take(tmp_path, estimator, frame, target=None, metric=None):
    skops.io.dump(estimator, tmp_path / "model.skops")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    return take_in(tmp_path / "model.skops", tmp_path / "rows.csv", target, metric)


@pytest.mark.parametrize(
    ("estimator", "truth", "task", "metric"),
    [
        (LogisticRegression(), LABELS, "classification", "accuracy"),
        (Ridge(), FRAME["b"] + 1, "regression", "r2"),
        (OneClassSVM(), np.where(FRAME["a"] > 1, -1, 1), "anomaly", "balanced_accuracy"),
        (OneClassSVM(), np.where(FRAME["a"] > 1, 1, 0), "anomaly", "balanced_accuracy"),
    ],
)
def test_a_truth_is_read_as_the_task_wants_it(estimator, truth, task, metric, tmp_path):
    intake = take(tmp_path, estimator.fit(NUMBERS, truth), NUMBERS.assign(y=truth), "y")
    assert (intake.model.task, intake.metric) == (task, metric)
    expected = FRAME["b"] + 1 if task == "regression" else FRAME["a"] > (1 if task == "anomaly" else 0)
    assert np.allclose(intake.truth, expected)


@pytest.mark.parametrize(
    ("estimator", "metric"),
    [
        (LogisticRegression(), "agreement"),
        (KMeans(3, random_state=0), "agreement"),
        (OneClassSVM(), "agreement"),
        (Ridge(), "r2"),
    ],
)
def test_without_a_truth_the_original_answers_for_it(estimator, metric, tmp_path):
    fitted = make_pipeline(StandardScaler(), estimator).fit(NUMBERS, FRAME["b"] if metric == "r2" else LABELS)
    intake = take(tmp_path, fitted, NUMBERS)
    assert intake.metric == metric
    predicted = fitted.predict(NUMBERS)
    if metric == "r2":
        expected = predicted
    else:
        expected = predicted == "up" if isinstance(estimator, LogisticRegression) else predicted
        expected = predicted < 0 if isinstance(estimator, OneClassSVM) else expected
    assert np.allclose(intake.truth, expected, atol=1e-5)


def with_texts():
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["c"]), (StandardScaler(), ["a"]))
    return make_pipeline(columns, LogisticRegression()).fit(FRAME[["a", "c"]], LABELS)


def test_texts_that_the_encoder_knows_become_categories(tmp_path):
    frame = FRAME.assign(c=["w", *FRAME["c"][1:]], when="now")
    intake = take(tmp_path, with_texts(), frame[["c", "when", "a"]])
    assert [(f.name, f.dtype, f.categories, f.on_missing) for f in intake.model.features] == [
        ("a", "float32", (), "refuse"),
        ("c", "category", ("x", "y", "z"), "flag"),
    ]
    assert np.isnan(intake.rows[0, 1])
    expected = with_texts().predict_proba(frame[["a", "c"]])
    assert np.allclose(intake.model.outputs(intake.rows), expected, atol=1e-6)


def test_a_model_of_numbers_knows_no_texts():
    assert known_texts(Ridge().fit(NUMBERS, FRAME["b"]), 2) == {}
    coded = OneHotEncoder().fit([[1], [2]])
    assert known_texts(make_pipeline(coded, Ridge()).fit([[1], [2]], [0, 1]), 1) == {}


def test_texts_are_found_though_what_follows_has_no_form():

    encoder = OneHotEncoder(sparse_output=False)
    pipeline = make_pipeline(encoder, KNeighborsClassifier()).fit(FRAME[["c"]], LABELS)
    assert known_texts(pipeline, 1) == {0: ("x", "y", "z")}


@pytest.mark.parametrize(
    ("frame", "target", "error", "message"),
    [
        (NUMBERS[:49], None, RowsError, "49 rows; a proof needs at least 50"),
        (FRAME[["a"]], None, RowsError, "no column 'b', which the model takes"),
        (NUMBERS.assign(y=1), "y", RowsError, "truths are 1; write 1 for an anomaly and 0 for others"),
        (NUMBERS.assign(y=3), "y", RowsError, "truths are 3; write 1 for an anomaly"),
        (NUMBERS.assign(a=np.nan), None, ModelError, "the model refuses the rows: Input X contains NaN"),
    ],
)
def test_what_does_not_fit_is_refused(frame, target, error, message, tmp_path):
    with pytest.raises(error, match=message):
        take(tmp_path, OneClassSVM().fit(NUMBERS), frame, target)
