"""What is fitted without weights is never thought to have had them."""

import pytest

from tests.unit.trainer.pipeline.lessons import draw_table, make_lesson, make_project
from trainer.errors import ProjectError
from trainer.pipeline.search.families import families_of_project, unweighted
from trainer.pipeline.training import train_model

LDA = {"name": "lda", "class": "sklearn.discriminant_analysis.LinearDiscriminantAnalysis"}
LOGISTIC = {"name": "logit", "class": "sklearn.linear_model.LogisticRegression"}
TOLD = "tried without weights"


def weighing(*estimators, weights, candidates=()):
    training = {"candidates": candidates, "estimators": estimators, "trials": 2, "blocks": 2, "class_weights": weights}
    return make_project(training=training)


def test_a_candidate_that_takes_no_weights_is_refused_where_labels_are_to_be_weighed():
    with pytest.raises(ProjectError, match=r"key 'training\.class_weights': 'lda' has no 'sample_weight' in its fit"):
        families_of_project(weighing(LOGISTIC, LDA, weights=["balanced"]))
    assert unweighted(families_of_project(weighing(LOGISTIC, weights=["balanced"]))) == ()
    assert unweighted(families_of_project(weighing(LOGISTIC, LDA, weights=["none"]))) == ("lda",)


def test_every_built_in_family_that_classifies_takes_weights():
    built_in = ("forest", "extra_trees", "hist_gradient_boosting", "mlp", "logistic")
    assert unweighted(families_of_project(weighing(weights=["balanced"], candidates=built_in))) == ()


def test_a_candidate_that_is_tried_without_the_weights_that_others_have_is_named(tmp_path):
    project = weighing(LOGISTIC, LDA, weights=["none", "balanced"])
    facts = dict(train_model(make_lesson(project, draw_table(120)), tmp_path).facts)
    assert facts[TOLD] == "lda: takes none, so that labels are not weighed with it"


def test_rows_of_the_fleet_are_not_weighed_with_it_either(tmp_path):
    project = weighing(LDA, weights=["none"])
    facts = dict(train_model(make_lesson(project, draw_table(160, n_fleet=80)), tmp_path).facts)
    assert facts[TOLD] == "lda: takes none, so that rows of the fleet are not weighed with it"


def test_where_nothing_is_weighed_nothing_is_said(tmp_path):
    project = weighing(LDA, weights=["none"])
    assert TOLD not in dict(train_model(make_lesson(project, draw_table(120)), tmp_path).facts)
