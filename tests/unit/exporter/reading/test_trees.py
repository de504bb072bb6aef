import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    RandomTreesEmbedding,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from exporter.errors import UnsupportedError
from exporter.programs.program import Trees

from .reference import answers, around, assert_same, data, read, scores_of, with_gaps

SEED = {"random_state": 0}
CLASSIFIERS = {
    "tree": DecisionTreeClassifier(**SEED),
    "extra tree": ExtraTreeClassifier(**SEED, min_samples_leaf=3),
    "forest": RandomForestClassifier(20, **SEED),
    "impure forest": RandomForestClassifier(20, **SEED, min_samples_leaf=5, class_weight="balanced"),
    "best-first forest": RandomForestClassifier(20, **SEED, max_leaf_nodes=30),
    "extra trees": ExtraTreesClassifier(20, **SEED),
    "boosting": GradientBoostingClassifier(n_estimators=15, **SEED),
}
REGRESSORS = {
    "tree": DecisionTreeRegressor(**SEED),
    "extra tree": ExtraTreeRegressor(**SEED),
    "forest": RandomForestRegressor(20, **SEED),
    "absolute": RandomForestRegressor(3, **SEED, criterion="absolute_error", max_depth=5),
    "extra trees": ExtraTreesRegressor(20, **SEED),
    "boosting": GradientBoostingRegressor(n_estimators=30, **SEED),
    "huber": GradientBoostingRegressor(n_estimators=30, loss="huber", **SEED),
    "quantile": GradientBoostingRegressor(n_estimators=30, loss="quantile", **SEED),
    "absolute boosting": GradientBoostingRegressor(n_estimators=30, loss="absolute_error", **SEED),
    "boosting from zero": GradientBoostingRegressor(n_estimators=30, init="zero", **SEED),
    "boosted forest": GradientBoostingRegressor(n_estimators=5, init=RandomForestRegressor(5, **SEED), **SEED),
}


@pytest.mark.parametrize("name", ["digits", "cancer", "wine"])
@pytest.mark.parametrize("family", CLASSIFIERS)
def test_a_classifier_answers_the_same_on_every_row_and_around_every_threshold(family, name):
    rows, truth = data(name)
    model = CLASSIFIERS[family].fit(rows, truth)
    program = read(model, rows.shape[1], "probabilities")
    assert_same(program, model, around(program, rows, 5000), "probabilities")


@pytest.mark.parametrize("family", REGRESSORS)
def test_a_regressor_answers_the_same_on_every_row_and_around_every_threshold(family):
    rows, truth = data("diabetes")
    model = REGRESSORS[family].fit(rows, truth)
    program = read(model, rows.shape[1], "value")
    assert_same(program, model, around(program, rows, 5000), "value")


@pytest.mark.parametrize("family", ["tree", "forest", "extra trees"])
def test_missing_values_take_the_way_that_training_gave_them(family):
    rows, truth = data("cancer")
    rows = with_gaps(rows)
    model = CLASSIFIERS[family].fit(rows, truth)
    program = read(model, rows.shape[1], "probabilities")
    assert_same(program, model, around(program, rows, 5000, missing=True), "probabilities")


@pytest.mark.parametrize("family", ["forest", "impure forest", "extra trees"])
def test_the_mean_of_a_forest_is_equal_to_the_last_bit_of_float64(family):
    rows, truth = data("digits")
    model = CLASSIFIERS[family].fit(rows, truth)
    program = read(model, rows.shape[1], "probabilities")
    rows = around(program, rows, 2000)
    assert np.array_equal(scores_of(program, rows), model.predict_proba(rows))


def test_the_sum_of_boosting_is_equal_to_the_last_bit_of_float64():
    rows, truth = data("diabetes")
    model = REGRESSORS["boosting"].fit(rows, truth)
    program = read(model, rows.shape[1], "value")
    rows = around(program, rows, 2000)
    assert np.array_equal(scores_of(program, rows)[:, 0], model.predict(rows))


@pytest.mark.parametrize("options", [{"loss": "exponential"}, {"init": "zero"}, {"init": DummyClassifier()}])
def test_boosting_answers_the_same_whatever_it_starts_from_and_by_its_own_link(options):
    rows, truth = data("cancer")
    model = GradientBoostingClassifier(n_estimators=10, **options, **SEED).fit(rows, truth)
    program = read(model, rows.shape[1], "probabilities")
    assert_same(program, model, around(program, rows, 2000), "probabilities")
    decision = read(model, rows.shape[1], "decision")
    assert_same(decision, model, rows, "decision")


def test_nodes_stand_in_preorder_and_equal_leaves_are_kept_once():
    rows, truth = data("cancer")
    model = CLASSIFIERS["best-first forest"].fit(rows, truth)
    trees = read(model, rows.shape[1], "probabilities").nodes[-1].operation
    assert isinstance(trees, Trees)
    ensemble = trees.ensemble
    branches = np.flatnonzero(ensemble.feature >= 0)
    assert np.array_equal(ensemble.left[branches], branches + 1)
    assert len(np.unique(ensemble.leaves, axis=0)) == len(ensemble.leaves) < np.sum(ensemble.feature < 0)


def test_labels_may_be_text():
    rows, truth = data("wine")
    model = CLASSIFIERS["forest"].fit(rows, np.array(["a", "b", "c"])[truth])
    assert_same(read(model, rows.shape[1], "probabilities"), model, rows, "probabilities")


def test_what_has_no_exact_form_is_refused_by_name():
    rows, truth = data("cancer")
    many = RandomForestRegressor(2, **SEED).fit(rows, np.stack([truth, truth], axis=1))
    with pytest.raises(UnsupportedError, match="`model`: RandomForestRegressor with 2 targets"):
        read(many, rows.shape[1], "value")
    started = GradientBoostingClassifier(n_estimators=2, init=LogisticRegression(max_iter=5000)).fit(rows, truth)
    with pytest.raises(UnsupportedError, match="starts from LogisticRegression"):
        read(started, rows.shape[1], "probabilities")
    noisy = GradientBoostingClassifier(n_estimators=2, init=DummyClassifier(strategy="stratified")).fit(rows, truth)
    with pytest.raises(UnsupportedError, match="starts from DummyClassifier"):
        read(noisy, rows.shape[1], "probabilities")
    with pytest.raises(UnsupportedError, match="RandomTreesEmbedding has no form"):
        read(RandomTreesEmbedding(2).fit(rows), rows.shape[1], "transform")


def test_thresholds_between_two_float32_numbers_decide_as_in_float64():
    # The threshold is the middle of two neighbours; rounded to nearest it may become the upper one.
    low = np.float32(100)
    rows = np.array([[low], [np.nextafter(low, np.float32(101))]], dtype=np.float32)
    for truth in ([0, 1], [1, 0]):
        model = DecisionTreeClassifier().fit(rows, truth)
        program = read(model, 1, "probabilities")
        assert np.array_equal(answers(model, rows, "probabilities"), np.eye(2)[truth])
        assert_same(program, model, around(program, rows, 10), "probabilities")
