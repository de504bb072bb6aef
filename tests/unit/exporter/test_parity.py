import numpy as np
import pytest

from exporter.gates import parity_refusal
from exporter.parity import Parity, compare
from exporter.probes import Kind, Probes, make_probes
from exporter.ties import margins_of
from tests.unit.exporter.families import learn


def probes(expected):
    rows = np.zeros((len(expected), 1), dtype=np.float32)
    kind: Kind = "evaluation"
    return Probes(rows, (kind,) * len(expected), np.asarray(expected, dtype=np.float64))


def parity(**changes):
    values = {
        "rows": 200,
        "not_numbers": 0,
        "max_abs_difference": 0.0,
        "label_flips": 0,
        "ties": 0,
        "far_rows": 0,
        "scale": 1.0,
        "worst": (),
    }
    return Parity(**{**values, **changes})


def test_a_flip_is_counted_and_a_tie_is_not_one():
    found = compare("classification", probes([[0.6, 0.4], [0.5, 0.5]]), np.array([[0.4, 0.6], [0.499999, 0.500001]]))
    assert (found.label_flips, found.ties) == (1, 1)


def test_the_worst_rows_come_first_flips_before_differences():
    expected = [[0.9, 0.1], [0.51, 0.49], [0.8, 0.2]]
    got = np.array([[0.6, 0.4], [0.49, 0.51], [0.8, 0.2]])
    assert [row.row for row in compare("classification", probes(expected), got).worst] == [1, 0]


def test_what_is_no_number_is_the_worst_and_does_not_hide():
    found = compare("regression", probes([[1.0], [2.0], [4.0]]), np.array([[1.0], [np.nan], [4.5]]))
    assert found.not_numbers == 1
    assert found.max_abs_difference == pytest.approx(0.5)
    assert found.worst[0].got == (None,)
    assert "not a number" in parity_refusal(found, is_quantised=True, loss=0.0, max_loss=1.0)


@pytest.mark.parametrize(
    ("found", "is_quantised", "loss", "refused"),
    [
        (parity(), False, 0.0, ""),
        (parity(ties=3), False, 0.0, ""),
        (parity(label_flips=1), False, 0.0, "1 of 200 rows get another label"),
        (parity(label_flips=50), True, 0.001, ""),
        (parity(far_rows=2, max_abs_difference=0.01), False, 0.0, ""),
        (parity(far_rows=3, max_abs_difference=0.01), False, 0.0, "3 of 200 rows differ by more than 0.0001"),
        (parity(far_rows=200, max_abs_difference=0.2), True, 0.0, ""),
        (parity(), True, 0.011, "it loses 0.0110 of quality, at most 0.01 is allowed"),
    ],
)
def test_the_gates_judge_float_row_by_row_and_int8_by_quality(found, is_quantised, loss, refused):
    verdict = parity_refusal(found, is_quantised=is_quantised, loss=loss, max_loss=0.01)
    assert verdict.startswith(refused)
    assert bool(verdict) == bool(refused)


def test_boundary_rows_are_nearer_to_the_boundary_than_evaluation_rows():
    learnt = learn("logistic", "cancer")
    found = make_probes(learnt.model, learnt.evaluation)
    kinds, margins = np.array(found.kinds), margins_of("classification", found.expected)
    assert np.median(margins[kinds == "boundary"]) < 0.3 * np.median(margins[kinds == "evaluation"])


def test_boundary_rows_keep_categories_whole():
    learnt = learn("columns", "cancer")
    found = make_probes(learnt.model, learnt.evaluation)
    assert set(found.rows[:, 0]) <= {0.0, 1.0, 2.0, 3.0}
    assert "boundary" in found.kinds


def test_every_flagged_feature_is_once_missing():
    learnt = learn("boosting", "cancer", "flag")
    found = make_probes(learnt.model, learnt.evaluation)
    assert np.isnan(found.rows).any(axis=0).all()
