import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from edge_agent.bundle import Feature
from exporter.errors import ModelError
from exporter.material import Material
from exporter.models.metrics import labels_of
from exporter.proof.acceptance import is_taken
from exporter.proof.probes import KINDS, make_probes
from exporter.proof.ties import margins_of
from tests.unit.exporter.families import fit, learn, load


def probe(learnt, **changes):
    return make_probes(learnt.model, learnt.evaluation, np.random.default_rng(1), known=learnt.training, **changes)


def test_the_same_model_rows_and_generator_give_the_same_probes():
    learnt = learn("forest", "cancer")
    program = Material(learnt.model, learnt.training).program
    first, second = probe(learnt, program=program), probe(learnt, program=program)
    assert first.rows.tobytes() == second.rows.tobytes()
    assert first.kinds == second.kinds
    assert set(first.kinds) == {"evaluation", "boundary", "threshold", "extreme", "huge"}


def test_evaluation_rows_come_first_and_all_are_there():
    learnt = learn("mlp", "cancer")
    found = probe(learnt)
    assert np.array_equal(found.rows[: len(learnt.evaluation)], learnt.evaluation)
    assert found.kinds.count("evaluation") == len(learnt.evaluation)
    assert len(found.rows) < len(learnt.evaluation) + 4000


@pytest.mark.parametrize(("family", "data"), [("logistic", "cancer"), ("mlp", "digits")])
def test_boundary_rows_are_found_to_the_last_bit_of_a_smooth_model(family, data):
    learnt = learn(family, data)
    found = probe(learnt)
    margins = margins_of("classification", found.expected)[found.of("boundary")]
    assert np.mean(margins < 1e-4) > 0.3
    assert len(margins) > 50


def test_boundary_rows_lie_on_both_sides_one_float_step_apart():
    rows = np.linspace(0, 1, 200, dtype=np.float32)[:, np.newaxis]
    shuffled = np.random.default_rng(0).permutation(rows)
    learnt = fit(DecisionTreeClassifier(), shuffled, (shuffled[:, 0] > 0.3).astype(int))
    found = make_probes(learnt.model, rows, np.random.default_rng(0))
    own, labels = found.rows[found.of("boundary")][:, 0], labels_of(found.expected[found.of("boundary")])
    highest, lowest = own[labels == 0].max(), own[labels == 1].min()
    assert np.nextafter(highest, np.float32(1)) == lowest


def test_boundary_rows_keep_categories_whole():
    learnt = learn("columns", "cancer", "flag")
    found = probe(learnt)
    categories = found.rows[:, 0]
    assert set(categories[~np.isnan(categories)]) <= {0.0, 1.0, 2.0, 3.0}
    assert "category" in found.kinds
    # Where categories were walked, most rows would be no rows of a device.
    assert found.kinds.count("boundary") > 150


def test_a_category_that_training_never_saw_comes_as_a_device_hands_it_on():
    kinds = {}
    for rule in ("flag", "refuse"):
        learnt = learn("columns", "cancer", rule) if rule == "refuse" else learn("boosting", "cancer", "flag")
        features = (Feature("f0", "category", categories=("a", "b"), on_missing=rule), *learnt.model.features[1:])
        rows = learnt.evaluation.copy()
        rows[:, 0] = np.arange(len(rows)) % 2
        model = type(learnt.model)(learnt.model.estimator, "classification", features, learnt.model.labels)
        found = make_probes(model, rows, np.random.default_rng(0))
        kinds[rule] = found.rows[found.of("category")][:, 0]
    assert set(kinds["refuse"]) == {0.0, 1.0}
    assert np.isnan(kinds["flag"]).any()


def test_every_flagged_feature_is_once_missing_and_once_all_are():
    found = probe(learn("boosting", "cancer", "flag"))
    missing = np.isnan(found.rows[found.of("missing")])
    assert missing.any(axis=0).all()
    assert missing.all(axis=1).any()
    assert ((missing.sum(axis=1) > 1) & ~missing.all(axis=1)).any()


def test_where_nothing_may_be_missing_nothing_is():
    assert not np.isnan(probe(learn("forest", "cancer")).rows).any()


def test_extremes_hold_the_ends_of_every_range_and_what_is_hardly_a_number():
    learnt = learn("ridge", "diabetes")
    found = probe(learnt)
    extreme = found.rows[found.of("extreme")]
    assert (extreme == learnt.training.min(axis=0)).any(axis=0).all()
    assert (extreme == np.float32(1e-45)).any()
    assert (extreme == 0).any()


def test_huge_numbers_are_tried_where_the_original_answers_them():
    found = probe(learn("forest", "cancer"))
    huge = found.rows[found.of("huge")]
    assert np.abs(huge).max() == np.finfo(np.float32).max
    assert np.isfinite(found.rows).all()


def test_rows_that_the_original_has_no_answer_to_are_left_out_and_told():
    rows, truth = load("cancer")

    def square(values):
        return np.float32(values) ** 2

    learnt = fit(
        make_pipeline(FunctionTransformer(square), StandardScaler(), DecisionTreeClassifier()), rows[:200], truth[:200]
    )
    found = probe(learnt)
    assert any("huge rows left out" in note for note in found.notes), found.notes


def test_only_rows_are_tried_that_a_device_hands_on():
    learnt = learn("ridge", "diabetes")
    features = tuple(Feature(f"f{i}", valid_min=-0.02, valid_max=0.02, on_out_of_range="refuse") for i in range(10))
    model = type(learnt.model)(learnt.model.estimator, "regression", features)
    inside = np.clip(learnt.evaluation, -0.0199, 0.0199)
    found = make_probes(model, inside, np.random.default_rng(0))
    assert is_taken(found.rows, features).all()
    assert "extreme" in found.kinds
    assert "huge" not in found.kinds


def test_a_model_that_refuses_what_its_features_allow_is_an_error():
    with pytest.raises(ModelError, match="add an imputer"):
        probe(learn("mlp", "cancer", "flag"))


def test_every_kind_has_its_place():
    assert len(KINDS) == len(set(KINDS)) == 7
