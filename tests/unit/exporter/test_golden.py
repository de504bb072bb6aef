from dataclasses import replace

import numpy as np
import pytest

from edge_agent.bundle import Feature
from exporter.errors import RowsError
from exporter.golden import MAX_ROWS, choose_golden, is_taken
from exporter.parity import margins_of
from tests.unit.exporter.families import learn


def test_golden_rows_cover_every_label_within_the_bound():
    learnt = learn("mlp", "digits")
    golden = choose_golden(learnt.model, learnt.training, 0.01)
    assert len(golden) <= MAX_ROWS
    assert {int(np.argmax(row.expected)) for row in golden} == set(range(10))
    assert len(set(golden)) == len(golden)


def test_no_golden_row_can_change_its_label_within_the_tolerance():
    learnt = learn("mlp", "digits")
    expected = np.array([row.expected for row in choose_golden(learnt.model, learnt.training, 0.2)])
    margins = margins_of(expected)
    assert margins.min() > 0.4
    assert margins.min() < 0.6, "rows near the boundary are among them"


def test_golden_rows_hold_missing_values_where_features_allow_them():
    learnt = learn("imputed mlp", "cancer", "flag")
    golden = choose_golden(learnt.model, learnt.training, 0.01)
    assert any(None in row.features for row in golden)
    refusing = learn("imputed mlp", "cancer")
    assert not any(None in row.features for row in choose_golden(refusing.model, refusing.training, 0.01))


def test_golden_values_span_the_predictions():
    learnt = learn("ridge", "diabetes")
    found = [row.expected[0] for row in choose_golden(learnt.model, learnt.training, 0.1)]
    answers = learnt.model.outputs(learnt.training)
    assert (min(found), max(found)) == (answers.min(), answers.max())


def test_rows_that_a_device_would_refuse_are_not_taken():
    features = (
        Feature("a", valid_min=0, valid_max=1, on_out_of_range="refuse"),
        Feature("b", valid_min=0, valid_max=1),
        Feature("c", "category", categories=("x", "y"), on_missing="flag"),
    )
    nan = np.nan
    rows = [[0.5, 5, 1], [1.5, 0, 0], [-0.1, 0, 0], [nan, 0, 0], [0.5, nan, 0], [0, 0, nan], [0, 0, 2], [0, 0, 0.5]]
    taken = is_taken(np.array(rows, dtype=np.float32), features)
    assert taken.tolist() == [True, False, False, False, False, True, False, False]


def test_a_row_that_float32_puts_beyond_a_limit_is_not_taken():
    # float32(0.1) is more than 0.1: a device refuses what the trainer, which sees float32 only, must let pass.
    at_limit = Feature("a", valid_max=0.1, on_out_of_range="refuse")
    assert is_taken(np.array([[0.1], [0.05]], dtype=np.float32), (at_limit,)).tolist() == [False, True]


def test_rows_that_are_all_refused_are_an_error():
    learnt = learn("ridge", "diabetes")
    strict = tuple(Feature(f"f{i}", valid_min=100, on_out_of_range="refuse") for i in range(10))
    with pytest.raises(RowsError, match="refuse every row"):
        choose_golden(replace(learnt.model, features=strict), learnt.training, 0.1)
