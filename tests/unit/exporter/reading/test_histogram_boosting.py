import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from edge_agent.bundle import Feature
from exporter.errors import UnsupportedError
from exporter.programs.folding import fold_into_thresholds
from exporter.programs.interpreter import run_program
from exporter.programs.program import Row, Trees
from exporter.reading.models import READERS
from exporter.reading.reading import Reading

from .reference import around, assert_same, data, read, scores_of, with_gaps


@pytest.fixture(autouse=True)
def one_thread():
    """Small rows on several threads of OpenMP mostly wait for each other, when the machine has other work."""
    with threadpool_limits(1):
        yield


OPTIONS = {"max_iter": 15, "random_state": 0}


def with_categories(*, gaps: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose columns 1 and 4 hold categories, in no order that a number would have."""
    rows, truth = data("cancer")
    rows = rows[:, :6].copy()
    rows[:, 1] = np.digitize(rows[:, 1], np.quantile(rows[:, 1], np.arange(0.05, 1, 0.05))) * 7 % 20
    rows[:, 4] = np.digitize(rows[:, 4], np.quantile(rows[:, 4], [0.2, 0.4, 0.6, 0.8])) * 3 % 5
    return (with_gaps(rows) if gaps else rows), truth


@pytest.mark.parametrize("name", ["digits", "cancer", "wine"])
def test_a_classifier_answers_the_same_on_every_row_and_around_every_threshold(name):
    rows, truth = data(name)
    model = HistGradientBoostingClassifier(**OPTIONS).fit(rows, truth)
    program = read(model, rows.shape[1], "probabilities")
    assert_same(program, model, around(program, rows, 5000), "probabilities")


def test_missing_values_take_the_way_that_training_gave_them():
    rows, truth = data("cancer")
    rows = with_gaps(rows)
    model = HistGradientBoostingClassifier(**OPTIONS).fit(rows, truth)
    program = read(model, rows.shape[1], "probabilities")
    assert_same(program, model, around(program, rows, 5000, missing=True), "probabilities")
    assert_same(read(model, rows.shape[1], "decision"), model, rows, "decision")


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "gamma", "poisson", "quantile"])
def test_a_regressor_answers_the_same_with_every_loss(loss):
    rows, truth = data("diabetes")
    model = HistGradientBoostingRegressor(loss=loss, quantile=0.7, **OPTIONS).fit(rows, truth)
    program = read(model, rows.shape[1], "value")
    assert_same(program, model, around(program, rows, 5000), "value")


def test_the_sum_is_equal_to_the_last_bit_of_float64():
    rows, truth = data("diabetes")
    model = HistGradientBoostingRegressor(**OPTIONS).fit(rows, truth)
    program = read(model, rows.shape[1], "value")
    assert np.array_equal(scores_of(program, rows)[:, 0], model.predict(rows))


@pytest.mark.parametrize("gaps", [False, True])
def test_categories_go_where_training_sent_them_and_unknown_ones_with_the_missing(gaps):
    rows, truth = with_categories(gaps=gaps)
    kept = ~np.isin(rows[:, 1], [7, 13])  # categories that training never sees
    model = HistGradientBoostingClassifier(categorical_features=[1, 4], **OPTIONS).fit(rows[kept], truth[kept])
    program = read(model, rows.shape[1], "probabilities")
    odd = np.concatenate([rows, rows])
    odd[: len(rows), 1] = np.random.default_rng(0).choice([25, 300, -1, np.nan], len(rows))
    assert_same(program, model, np.concatenate([odd, around(program, rows, 5000, missing=True)]), "probabilities")


def test_categories_need_be_neither_small_nor_whole():
    rows, truth = with_categories(gaps=False)
    rows[:, 1] = rows[:, 1] * 1000.5 - 3
    model = HistGradientBoostingClassifier(categorical_features=[1, 4], **OPTIONS).fit(rows, truth)
    assert_same(read(model, rows.shape[1], "probabilities"), model, rows, "probabilities")


def test_all_columns_may_be_categories():
    rows, truth = with_categories(gaps=True)
    rows = rows[:, [1, 4]]
    model = HistGradientBoostingClassifier(categorical_features=[True, True], **OPTIONS).fit(rows, truth)
    assert_same(read(model, 2, "probabilities"), model, rows, "probabilities")


def test_categories_may_be_texts_that_a_row_names_by_their_index():
    names = ("x", "never seen", "y", "z")
    codes = np.random.default_rng(0).integers(0, 4, 300)
    table = pd.DataFrame({"a": pd.Categorical(np.array(names)[codes]), "b": np.arange(300.0)})
    truth = (codes >= 2) ^ (table["b"] > 200)
    known = codes != 1
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=5).fit(
        table[known], truth[known]
    )
    reading = Reading((Feature("a", "category", categories=names), Feature("b")), READERS)
    program = reading.builder.build(reading.read("model", model, 0, "probabilities"))
    rows = np.stack([codes, table["b"]], axis=1).astype(np.float32)
    assert np.max(np.abs(run_program(program, rows) - model.predict_proba(table))) < 1e-6
    folded = fold_into_thresholds(program, {0: 4})
    assert [type(node.operation) for node in folded.nodes[:2]] == [Row, Trees]
    assert np.array_equal(run_program(folded, rows), run_program(program, rows))


def test_text_categories_in_a_column_of_numbers_are_refused_by_name():
    table = pd.DataFrame({"a": pd.Categorical(["x", "y"] * 30), "b": range(60)})
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=2).fit(table, [0, 1] * 30)
    with pytest.raises(UnsupportedError, match="`model`: HistGradientBoostingClassifier of the text 'x'"):
        read(model, 2, "probabilities")
