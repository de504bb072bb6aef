from dataclasses import replace

import numpy as np
import pytest

from edge_agent.bundle import Feature
from exporter.bundles.golden import MAX_ROWS, choose_golden
from exporter.errors import RowsError
from exporter.proof.ties import margins_of
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
    margins = margins_of("classification", expected)
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


def test_rows_that_are_all_refused_are_an_error():
    learnt = learn("ridge", "diabetes")
    strict = tuple(Feature(f"f{i}", valid_min=100, on_out_of_range="refuse") for i in range(10))
    with pytest.raises(RowsError, match="refuse every row"):
        choose_golden(replace(learnt.model, features=strict), learnt.training, 0.1)
