import sys

import msgspec
import numpy as np
import pytest

from exporter.models.model_file import parse_estimator
from tests.unit.trainer.pipeline.lessons import draw_table, make_lesson, make_project
from trainer.errors import ProjectError
from trainer.pipeline.candidates import Circumstances, Real
from trainer.pipeline.fitting import outputs_of
from trainer.pipeline.model_bytes import model_bytes
from trainer.pipeline.search.exportable import verify_exportable
from trainer.pipeline.search.named import families_named
from trainer.pipeline.training import train_model
from trainer.project.estimators import EstimatorSection, estimator_problems

OURS = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures


def squared(c=1.0, degree=2):
    return make_pipeline(PolynomialFeatures(degree), LogisticRegression(C=c))


class Guess(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.array([0, 1])
        return self

    def predict(self, X):
        return [0] * len(X)


answer = 42
"""


@pytest.fixture
def ours(monkeypatch, tmp_path_factory):
    """A module of the project's own, on the path."""
    folder = tmp_path_factory.mktemp("ours")
    (folder / "ours_for_test.py").write_text(OURS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    yield
    sys.modules.pop("ours_for_test", None)


def section(name="own", **keys):
    return msgspec.convert({"name": name, **keys}, EstimatorSection)


def named(task="classification", **keys):
    return families_named([section(**keys)], task)[0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"class": "sklearn.svm.SVCC"}, r"sklearn\.svm has no 'SVCC'; did you mean sklearn\.svm\.\w*SVC"),
        ({"class": "no_such_module.Model"}, "cannot be imported.*PYTHONPATH"),
        ({"class": "sklearn.svm.SVR"}, "does no classification"),
        ({"class": "sklearn.svm.SVC", "fixed": {"gama": 1.0}}, "no parameter 'gama'; did you mean 'gamma'"),
        ({"class": "sklearn.svm.SVC", "space": {"xyz": {"int": [1, 2]}}}, "no parameter 'xyz'; known are: C, "),
        ({"class": "lightgbm.LGBMClassifier", "fixed": {"num_leafs": 7}}, "did you mean 'num_leaves'"),
        ({"class": "sklearn.preprocessing.StandardScaler"}, "does no classification"),
        ({"class": "collections.OrderedDict"}, "OrderedDict, which is no estimator"),
        ({"class": "ours_for_test.answer"}, "is a int: name a class"),
        (
            {"class": "sklearn.svm.SVC", "space": {"C": {"float": [1, 9]}}, "start": {"C": 10.0}},
            "start C = 10.0 is not",
        ),
        ({"name": "forest", "class": "sklearn.svm.SVC"}, "'forest' is the name of a built-in family"),
    ],
)
@pytest.mark.usefixtures("ours")
def test_what_cannot_be_a_candidate_is_refused_with_what_to_do(keys, message):
    with pytest.raises(ProjectError, match=message) as refusal:
        named(**keys)
    assert "training.estimators" in str(refusal.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"space": {"C": {"int": [1, 2], "float": [1.0, 2.0]}}}, "exactly one of .* has 'int' and 'float'"),
        ({"space": {"C": {}}}, "has none"),
        ({"space": {"C": {"float": [2.0, 1.0]}}}, "2.0 to 1.0 holds no number"),
        ({"space": {"C": {"float": [0.0, 1.0], "log": True}}}, "'log' needs a range above 0"),
        ({"space": {"C": {"choice": [1.0], "log": True}}}, "'log' is for ranges"),
        ({"space": {"C": {"float": [1.0, 2.0]}}, "fixed": {"C": 1.0}}, "it is fixed as well"),
        ({"start": {"C": 1.0}}, "does not vary it"),
    ],
)
def test_a_contradiction_in_a_section_is_named_before_anything_is_imported(keys, message):
    with pytest.raises(AssertionError, match=message):
        raise AssertionError("; ".join(estimator_problems((section(**{"class": "no_module.Model", **keys}),))))
    assert estimator_problems((section(**{"class": "no_module.Model"}),)) == []


def test_two_estimators_of_one_name_are_refused():
    one = section(**{"class": "sklearn.svm.SVC"})
    assert "listed twice" in estimator_problems((one, one))[0]


def test_the_start_is_the_classs_default_within_the_range_else_its_middle():
    space = {
        "C": {"float": [0.01, 100.0], "log": True},
        "tol": {"float": [1e-6, 1e-4], "log": True},
        "gamma": {"choice": ["auto", "scale"]},
        "max_iter": {"int": [100, 300]},
    }
    family = named(**{"class": "sklearn.svm.SVC", "space": space, "start": {}})
    assert family.starts_with == {"C": 1.0, "tol": pytest.approx(1e-5), "gamma": "scale", "max_iter": 200}
    assert family.space["C"] == Real(0.01, 100.0, log=True)


def test_fixed_parameters_lists_and_the_seed_reach_the_estimator():
    family = named(**{"class": "sklearn.neural_network.MLPClassifier", "fixed": {"hidden_layer_sizes": [8, 4]}})
    model = family.build({}, Circumstances("classification", 2, 100, 1 << 20, seed=7))
    assert model.hidden_layer_sizes == (8, 4)
    assert model.random_state == 7
    seeded = named(**{"class": "sklearn.svm.SVC", "fixed": {"random_state": 3}})
    assert seeded.build({}, Circumstances("classification", 2, 100, 1 << 20, seed=7)).random_state == 3


@pytest.mark.usefixtures("ours")
def test_weights_are_given_only_to_what_takes_them():
    assert named(**{"class": "lightgbm.LGBMClassifier"}).takes_weights
    assert not named(**{"class": "sklearn.discriminant_analysis.LinearDiscriminantAnalysis"}).takes_weights
    assert named(**{"class": "ours_for_test.squared"}).takes_weights


def lesson_of_own(**keys):
    training = {"estimators": [{"name": "own", **keys}], "trials": 2, "blocks": 2}
    return make_lesson(make_project(training=training), draw_table(160))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"class": "sklearn.neighbors.KNeighborsClassifier"}, "KNeighborsClassifier has no form that devices run"),
        ({"class": "ours_for_test.Guess"}, "Guess has no form that devices run"),
        ({"class": "sklearn.svm.SVC", "fixed": {"kernel": "precomputed"}}, "own.* cannot be"),
        ({"class": "sklearn.svm.SVC", "fixed": {"C": -1.0}}, "cannot be fitted: .*'C' parameter"),
    ],
)
@pytest.mark.usefixtures("ours")
def test_what_devices_cannot_run_is_said_before_anything_is_searched(keys, message, tmp_path):
    with pytest.raises(ProjectError, match=message):
        train_model(lesson_of_own(**keys), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_has_none_of_the_wanted_forms_is_refused_with_each_reason():
    project = make_project(
        training={"estimators": [{"name": "own", "class": "sklearn.ensemble.RandomForestClassifier"}], "blocks": 2},
        export={"variants": ["onnx-int8"]},
    )
    lesson = make_lesson(project, draw_table(160))
    with pytest.raises(ProjectError, match=r"none of the forms.*onnx-int8: .*docs/coverage\.md"):
        verify_exportable(lesson, families_named(project.training.estimators, "classification"))


@pytest.mark.usefixtures("ours")
def test_a_function_of_the_project_that_returns_a_pipeline_is_searched_like_a_family(tmp_path):
    space = {"c": {"float": [0.01, 10.0], "log": True}, "degree": {"int": [1, 2]}}
    lesson = lesson_of_own(**{"class": "ours_for_test.squared", "is_scaled": True, "space": space})
    trained = train_model(lesson, tmp_path).value
    assert trained.chosen.family == "own"
    assert set(trained.chosen.parameters) == {"c", "degree"}
    assert trained.chosen.quality > 0.8


@pytest.mark.parametrize(
    ("task", "dotted"),
    [
        ("classification", "lightgbm.LGBMClassifier"),
        ("regression", "lightgbm.LGBMRegressor"),
        ("classification", "sklearn.svm.SVC"),
        ("classification", "sklearn.ensemble.GradientBoostingClassifier"),
    ],
)
def test_the_same_seed_gives_the_same_bytes_and_what_was_written_answers_the_same(task, dotted):
    family = named(task, **{"class": dotted})
    project = make_project(task, training={"candidates": ["mlp"], "blocks": 2})
    table = draw_table(160)
    lesson = make_lesson(project, table)
    chosen = np.ones(160, dtype=bool)
    first, second = (lesson.fit(family, family.starts_with, 1.0, chosen) for _ in range(2))
    written = model_bytes(first)
    assert written == model_bytes(second)
    again = parse_estimator(written, dotted)
    n_labels = 2 if task == "classification" else 0
    np.testing.assert_array_equal(outputs_of(again, lesson.rows, n_labels), outputs_of(first, lesson.rows, n_labels))
