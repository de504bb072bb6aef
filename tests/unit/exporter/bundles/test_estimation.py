from dataclasses import replace

import numpy as np
import pytest

from edge_agent.scoring.second_model import SecondModel
from exporter.bundles.estimation import estimation_of, fit_second_model, second_answers
from exporter.models.metrics import labels_of
from exporter.models.model import Evidence
from tests.unit.exporter.families import evidence_of, learn


@pytest.mark.parametrize(("family", "data"), [("logistic", "digits"), ("logistic", "cancer"), ("ridge", "diabetes")])
def test_a_device_computes_the_second_model_as_it_was_calibrated(family, data):
    learnt = learn(family, data)
    second = fit_second_model(learnt.training, learnt.training_truth, learnt.model)
    rows = learnt.evaluation[:20].copy()
    rows[0, :3] = np.nan
    on_device = SecondModel(second)
    answers = [on_device.score(row.astype(float).tolist(), has_missing=True) for row in rows]
    assert np.allclose(answers, second_answers(second, rows), atol=1e-9)


def test_the_second_model_is_simple_and_good():
    learnt = learn("logistic", "digits")
    second = fit_second_model(learnt.training, learnt.training_truth, learnt.model)
    assert np.mean(labels_of(second_answers(second, learnt.evaluation)) == learnt.truth) > 0.88


@pytest.mark.parametrize(("family", "data"), [("forest", "digits"), ("mlp", "cancer")])
def test_quality_by_bin_adds_up_to_the_quality_of_all_rows(family, data):
    learnt = learn(family, data)
    evidence = evidence_of(learnt)
    found = estimation_of(evidence, learnt.model)
    assert sum(found.rows) == len(evidence.rows)
    estimated = np.average(found.quality, weights=found.rows)
    assert estimated == pytest.approx(found.expected_quality, abs=0.02)
    right = labels_of(evidence.predictions) == evidence.truth
    assert found.block_quality == pytest.approx([np.mean(right[evidence.block_of == b]) for b in range(4)])


def test_agreeing_rows_are_better_than_others():
    learnt = learn("forest", "digits")
    found = estimation_of(evidence_of(learnt), learnt.model)
    others, agreeing = (np.average(found.quality[s], weights=found.rows[s]) for s in (slice(10), slice(10, 20)))
    assert agreeing > others + 0.2


def test_an_empty_bin_says_what_its_nearest_neighbours_say():
    learnt = learn("mlp", "digits")
    found = estimation_of(evidence_of(learnt), learnt.model)
    empty = [i for i in range(10, 15) if found.rows[i] == 0]
    assert empty
    assert all(found.quality[i] < found.quality[19] - 0.1 for i in empty)


def test_agreement_is_taken_out_of_fold():
    # Pure noise: a second model that had seen the rows would agree with their truth more often than chance.
    rng = np.random.default_rng(0)
    rows, truth = rng.normal(size=(120, 60)).astype(np.float32), rng.integers(0, 2, 120)
    model = replace(learn("logistic", "cancer").model, features=learn("logistic", "digits").model.features[:60])
    oracle = np.where(truth[:, np.newaxis] == np.arange(2), 0.95, 0.05)
    found = estimation_of(Evidence(rows, truth, oracle, np.arange(120) // 30), model)
    assert 0.3 < sum(found.rows[10:]) / 120 < 0.7


def test_a_fold_that_lacks_a_label_is_no_obstacle():
    learnt = learn("logistic", "digits")
    order = np.argsort(learnt.training_truth, kind="stable")
    rows = learnt.training[order]
    truth = np.array(learnt.training_truth[order].tolist(), dtype=np.int64)
    evidence = Evidence(rows, truth, learnt.model.outputs(rows), np.arange(len(truth)) * 5 // len(truth))
    found = estimation_of(evidence, learnt.model)
    assert np.isfinite(found.quality).all()
    assert np.isfinite(found.second_model.coefficients).all()


def test_values_are_estimated_by_their_distance_to_the_second_model():
    learnt = learn("forest regressor", "diabetes")
    evidence = evidence_of(learnt)
    found = estimation_of(evidence, learnt.model)
    assert len(found.quality) == len(found.disagreement_edges) + 1 == 10
    assert max(found.rows) - min(found.rows) <= 2
    assert found.expected_quality == pytest.approx(np.mean(np.abs(evidence.predictions[:, 0] - evidence.truth)))


def test_constant_features_have_a_positive_scale():
    learnt = learn("logistic", "digits")
    rows = learnt.training.copy()
    rows[:, 0] = np.float32(0.1)
    assert min(fit_second_model(rows, learnt.training_truth, learnt.model).scales) > 0


def test_a_single_block_still_gives_an_estimate():
    learnt = learn("logistic", "cancer")
    found = estimation_of(evidence_of(learnt, 2), learnt.model)
    whole = evidence_of(learnt, 2)
    single = replace(whole, block_of=np.zeros(len(whole.rows), dtype=np.int64))
    assert len(estimation_of(single, learnt.model).block_quality) == 1
    assert len(found.block_quality) == 2
