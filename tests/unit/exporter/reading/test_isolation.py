import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from .reference import around, assert_same, data, read, with_gaps


@pytest.mark.parametrize("options", [{}, {"max_features": 0.3}, {"contamination": 0.1}, {"max_samples": 1}])
def test_the_decision_is_the_same_on_every_row_and_around_every_threshold(options):
    rows, _ = data("cancer")
    model = IsolationForest(n_estimators=30, random_state=0, **options).fit(rows)
    program = read(model, rows.shape[1], "decision")
    assert_same(program, model, around(program, rows, 5000), "decision")


def test_missing_values_take_the_way_that_training_gave_them():
    rows, _ = data("cancer")
    rows = with_gaps(rows)
    model = IsolationForest(n_estimators=30, random_state=0).fit(rows)
    program = read(model, rows.shape[1], "decision")
    assert_same(program, model, around(program, rows, 5000, missing=True), "decision")


def test_what_is_abnormal_is_abnormal_in_the_program():
    rows, _ = data("cancer")
    model = IsolationForest(n_estimators=30, random_state=0, contamination=0.1).fit(rows)
    decision = answers_of(model, rows)
    assert 0 < np.sum(decision < 0) < len(rows)
    assert np.array_equal(np.where(decision < 0, -1, 1), model.predict(rows))


def answers_of(model, rows):
    from exporter.programs.interpreter import run_program

    return run_program(read(model, rows.shape[1], "decision"), rows)[:, 0]
