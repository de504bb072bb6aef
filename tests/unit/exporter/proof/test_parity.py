from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from edge_agent.bundle import Feature
from exporter.proof.gates import parity_refusal
from exporter.proof.parity import compare, scale_of
from exporter.proof.probes import Kind, Probes
from exporter.proof.ties import StepTies
from tests.unit.exporter.families import fit


def probes(expected, *kinds: Kind):
    rows = np.zeros((len(expected), 1), dtype=np.float32)
    usual: Kind = "evaluation"
    own = kinds or (usual,) * len(expected)
    return Probes(rows, own, np.asarray(expected, dtype=np.float64))


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


def test_what_a_sensor_cannot_send_does_not_say_how_far_a_variant_is_off():
    expected = [[1.0], [2.0], [3.0], [1e9], [1e30]]
    found = compare(
        "regression",
        probes(expected, "evaluation", "evaluation", "threshold", "extreme", "huge"),
        np.array([[1.0], [2.0], [3.5], [1e9 + 64], [np.nan]]),
    )
    assert found.max_abs_difference == 0.5
    assert found.rows == 4
    assert found.not_numbers == 0
    assert found.far_rows == 1
    assert {kind.kind: (kind.max, kind.not_numbers) for kind in found.kinds} == {
        "evaluation": (0.0, 0),
        "threshold": (0.5, 0),
        "extreme": (64.0, 0),
        "huge": (0.0, 1),
    }


def test_quantiles_are_those_of_the_greatest_difference_of_each_row():
    expected = np.zeros((100, 2))
    got = np.stack([np.arange(100) / 100, np.zeros(100)], axis=1)
    found = compare("classification", probes(expected), got)
    assert (found.p50, found.p90, found.p99, found.max_abs_difference) == (0.5, 0.9, 0.99, 0.99)


def test_an_anomaly_is_what_lies_below_zero():
    expected = [[0.2], [-0.2], [1e-7], [0.1]]
    got = np.array([[0.1], [0.1], [-1e-7], [0.2]])
    found = compare("anomaly", probes(expected), got)
    assert (found.label_flips, found.ties) == (1, 1)


def test_values_far_from_zero_are_measured_by_their_size_too():
    assert scale_of("regression", np.array([[1000.0], [1000.0]])) == 10.0
    assert scale_of("regression", np.array([[-1.0], [1.0]])) == pytest.approx(2.01)
    assert scale_of("classification", np.array([[0.1, 0.9]])) == 1.0


@pytest.fixture(scope="module")
def step():
    """A tree with one threshold at 0.5, learnt from 0 and 1."""
    rows = np.resize(np.array([0, 1], np.float32), (120, 1))
    return fit(DecisionTreeClassifier(), rows, rows[:, 0].astype(int))


def at(learnt, *values):
    rows = np.array(values, dtype=np.float32)[:, np.newaxis]
    kind: Kind = "threshold"
    return Probes(rows, (kind,) * len(rows), learnt.model.outputs(rows))


def test_a_row_within_two_float_steps_of_a_threshold_is_a_tie_for_who_computes_before_comparing(step):
    above = np.nextafter(np.float32(0.5), np.float32(1))
    found = at(step, 0.5, above, np.nextafter(above, np.float32(1)), 0.50001, 0.4)
    wrong = found.expected[:, ::-1]
    assert compare("classification", found, wrong).label_flips == 5
    forgiven = compare("classification", found, wrong, StepTies(step.model, 0))
    assert (forgiven.ties, forgiven.label_flips) == (3, 2)
    assert parity_refusal(forgiven, is_quantised=False, loss=0.0, max_loss=1.0).startswith("2 of 5 rows")


def test_a_value_that_jumps_within_two_float_steps_is_a_tie_too():
    rows = np.resize(np.array([0, 1], np.float32), (120, 1))
    learnt = fit(DecisionTreeRegressor(), rows, rows[:, 0], is_value=True)
    found = at(learnt, 0.5, 0.6)
    forgiven = compare("regression", found, 1 - found.expected, StepTies(learnt.model, 0))
    assert (forgiven.ties, forgiven.far_rows) == (1, 1)


def test_an_answer_that_no_neighbour_has_is_no_tie(step):
    found = at(step, 0.5)
    nonsense = np.array([[-7.0, 8.0]])
    assert compare("classification", found, nonsense, StepTies(step.model, 0)).label_flips == 1


def test_a_category_is_not_moved_by_a_float_step():
    rows = np.resize(np.array([0, 1], np.float32), (120, 1))
    feature = Feature("f", "category", categories=("a", "b"))
    learnt = fit(DecisionTreeClassifier(), rows, rows[:, 0].astype(int), (feature,))
    found = at(learnt, 0.5)
    assert compare("classification", found, found.expected[:, ::-1], StepTies(learnt.model, 0)).label_flips == 1


def test_a_step_of_a_small_number_is_that_of_its_usual_size_and_the_greatest_has_one():
    rows = np.random.default_rng(0).normal(size=(90, 1)).astype(np.float32) * 1000
    learnt = fit(LogisticRegression(), rows, (rows[:, 0] > 0).astype(int))
    estimator: Any = learnt.model.estimator
    estimator.coef_[:], estimator.intercept_[:] = 1000.0, -0.01
    found = at(learnt, 1.1e-5)
    wrong = found.expected[:, ::-1]
    assert compare("classification", found, wrong, StepTies(learnt.model, 0)).ties == 0
    ties = StepTies(learnt.model, 0, rows)
    assert compare("classification", found, wrong, ties).ties == 1
    greatest = np.array([[np.finfo(np.float32).max]])
    assert not ties.among(greatest, np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]]))[0]
