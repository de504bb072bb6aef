import numpy as np
import pytest

from edge_agent.bundle import Feature
from exporter.models.model_file import parse_estimator
from trainer.errors import DataError
from trainer.pipeline.candidates import FAMILIES, Circumstances
from trainer.pipeline.fitting import fit, outputs_of
from trainer.pipeline.model_bytes import model_bytes

NUMBERS = (Feature("pressure"), Feature("vibration"))
MIXED = (Feature("pressure", on_missing="flag"), Feature("site", dtype="category", categories=("a", "b", "c")))


def circumstances(task="classification", n_rows=60):
    return Circumstances(task, 2 if task == "classification" else 1, n_rows, 1 << 20, seed=1)


def fit_family(name, features, rows, truth, *, task="classification", weights=None):
    family = FAMILIES[name]
    rows = np.asarray(rows, dtype=np.float32)
    truth = np.asarray(truth, dtype=np.float64)
    return fit(family, family.starts_with, circumstances(task, len(rows)), features, rows, truth, weights)


def test_a_classifier_is_not_fitted_on_one_label_and_the_message_says_what_to_do():
    with pytest.raises(DataError, match=r"only one label occurs in 60 training rows.*data\.timestamp"):
        fit_family("logistic", NUMBERS, np.zeros((60, 2)), np.ones(60))


def test_a_label_that_did_not_occur_in_training_has_probability_0():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(60, 2)).astype(np.float32)
    estimator = fit_family("logistic", NUMBERS, rows, np.where(rows[:, 0] > 0, 2, 0))
    outputs = outputs_of(estimator, rows, 3)
    assert (outputs[:, 1] == 0).all()
    np.testing.assert_allclose(outputs.sum(axis=1), 1.0)
    assert set(outputs.argmax(axis=1)) == {0, 2}


def test_no_rows_have_no_outputs():
    assert outputs_of(None, np.empty((0, 2), dtype=np.float32), 3).shape == (0, 3)
    assert outputs_of(None, np.empty((0, 2), dtype=np.float32), 0).shape == (0, 1)


@pytest.mark.parametrize("name", ["logistic", "forest", "mlp"])
def test_a_category_is_no_number_and_missing_values_are_filled_where_they_are_flagged(name):
    rng = np.random.default_rng(1)
    site = rng.integers(0, 3, size=150)
    pressure = rng.normal(size=150)
    pressure[::10] = np.nan
    # The middle category stands alone: a model that took the code for a number could not tell.
    estimator = fit_family(name, MIXED, np.column_stack([pressure, site]), site == 1)
    rows = np.array([[0.0, 0], [np.nan, 1], [0.0, 2]], dtype=np.float32)
    assert list(outputs_of(estimator, rows, 2).argmax(axis=1)) == [0, 1, 0]


@pytest.mark.parametrize("name", ["logistic", "mlp"])
def test_families_of_sums_are_scaled_whatever_the_units(name):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 2)) * [1e6, 1e-6]
    truth = rows[:, 1] > 0
    estimator = fit_family(name, NUMBERS, rows, truth)
    assert np.mean(outputs_of(estimator, rows.astype(np.float32), 2).argmax(axis=1) == truth) > 0.9


@pytest.mark.parametrize("shift", [0.0, 1e5])
def test_a_network_learns_values_in_any_unit(shift):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 2)).astype(np.float32)
    truth = shift + 1000.0 * rows.sum(axis=1)
    estimator = fit_family("mlp", NUMBERS, rows, truth, task="regression")
    error = np.abs(outputs_of(estimator, rows, 0)[:, 0] - truth).mean()
    assert error < 0.2 * truth.std()


def test_a_constant_value_is_learnt_without_a_division_by_zero():
    rows = np.random.default_rng(1).normal(size=(40, 2))
    estimator = fit_family("mlp", NUMBERS, rows, np.full(40, 7.0), task="regression")
    np.testing.assert_allclose(outputs_of(estimator, rows.astype(np.float32), 0), 7.0, atol=0.5)


@pytest.mark.parametrize("name", ["logistic", "forest", "extra_trees", "hist_gradient_boosting", "mlp"])
def test_weights_decide_between_rows_that_contradict_each_other(name):
    rng = np.random.default_rng(1)
    rows = np.tile(rng.normal(size=(50, 2)), (2, 1))
    truth = np.concatenate([rows[:50, 0] > 0, rows[:50, 0] <= 0])
    for heavy in (0, 1):
        weights = np.where(np.arange(100) // 50 == heavy, 50.0, 1.0)
        estimator = fit_family(name, NUMBERS, rows, truth, weights=weights)
        answers = outputs_of(estimator, rows[:50].astype(np.float32), 2).argmax(axis=1)
        assert np.mean(answers == (truth[:50] if heavy == 0 else truth[50:])) > 0.8


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_written_model_is_read_with_trusted_types_only_and_answers_the_same(name):
    task = max(FAMILIES[name].tasks - {"regression"}, default="regression")
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(60, 2)).astype(np.float32)
    truth = rows.sum(axis=1) if task == "regression" else rows.sum(axis=1) > 0
    if task == "anomaly":
        truth[:] = False
    estimator = fit_family(name, NUMBERS, rows, truth, task=task)
    loaded = parse_estimator(model_bytes(estimator), name)
    n_labels = 2 if task == "classification" else 0
    np.testing.assert_array_equal(outputs_of(loaded, rows, n_labels), outputs_of(estimator, rows, n_labels))


def test_a_forest_is_written_without_the_number_of_this_machines_processors():
    rows = np.random.default_rng(1).normal(size=(60, 2))
    forest = fit_family("forest", NUMBERS, rows, rows[:, 0] > 0)
    assert forest.n_jobs is None
    network = fit_family("mlp", NUMBERS, rows, rows[:, 0] > 0)
    assert not hasattr(network[-1], "_optimizer")
