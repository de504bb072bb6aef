import warnings

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, make_classification
from sklearn.ensemble import IsolationForest, RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Perceptron, Ridge, RidgeClassifier, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OutputCodeClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC, NuSVC, OneClassSVM

from exporter.models.answers import answer_of, answers, labels_of_estimator, task_of
from exporter.models.metrics import labels_of
from exporter.models.model import FittedModel
from exporter.programs.interpreter import run_program
from exporter.reading.models import read_model
from tests.unit.exporter.reading.exactness import difference, features_of

RNG = np.random.default_rng(23)
IRIS, SPECIES = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[SPECIES]
# Rows between the classes and around them, where answers disagree if they can.
GRID = (RNG.uniform(-0.5, 1.5, size=(3000, 4)) * np.ptp(IRIS, axis=0) + IRIS.min(axis=0)).astype(np.float32)


def fitted(estimator, rows=IRIS, truth=NAMES):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(rows, truth)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "classifier",
    [
        SVC(C=5, gamma=0.1),
        SVC(decision_function_shape="ovo", C=5, gamma=0.1),
        SVC(break_ties=True, C=0.05),
        NuSVC(nu=0.9),
        make_pipeline(StandardScaler(), SVC(kernel="linear", C=1e-3)),
        GridSearchCV(SVC(), {"C": [0.01, 0.1]}, cv=2),
        LinearSVC(),
        RidgeClassifier(),
        Perceptron(),
        SGDClassifier(loss="modified_huber", random_state=0),
        NearestCentroid(),
        NearestCentroid(priors=[0.1, 0.9]),
        OutputCodeClassifier(LogisticRegression(), random_state=0, code_size=3),
        VotingClassifier([("a", LinearSVC()), ("b", RidgeClassifier()), ("c", Perceptron())], weights=[1, 1, 1.5]),
        VotingClassifier([("a", LinearSVC()), ("b", RidgeClassifier()), ("c", Perceptron()), ("d", "drop")]),
        CalibratedClassifierCV(LinearSVC(), cv=2),
    ],
    ids=lambda value: repr(value) if not isinstance(value, int) else str(value),
)
def test_the_greatest_answer_is_the_label_that_predict_names(classifier, n_classes):
    """Of rows near a tie, those that are decided by the last bit are left out."""
    chosen = n_classes > SPECIES
    if isinstance(classifier, NearestCentroid) and classifier.priors != "uniform" and n_classes > 2:
        classifier = NearestCentroid(priors=[0.1, 0.6, 0.3])
    estimator = fitted(classifier, IRIS[chosen], NAMES[chosen])
    model = FittedModel(estimator, "classification", features_of(GRID), labels_of_estimator(estimator))
    outputs = model.outputs(GRID)
    predicted = estimator.predict(GRID)
    assert np.array_equal(estimator.classes_[labels_of(outputs)], predicted)
    assert np.allclose(outputs.sum(axis=1), 1.0)
    got = run_program(read_model(model), GRID).astype(np.float64)
    ordered = np.sort(outputs, axis=1)
    is_clear = ordered[:, -1] - ordered[:, -2] > 1e-5
    assert np.mean(is_clear) > 0.9
    differs = estimator.classes_[labels_of(got)] != predicted
    assert not (differs & is_clear).any()


def test_votes_are_tied_somewhere_among_these_rows():
    """So that the test above says something of machines whose pairs vote."""
    machine = fitted(SVC(C=5, gamma=0.1))
    decided = machine.classes_[np.argmax(machine.decision_function(GRID), axis=1)]
    assert (decided != machine.predict(GRID)).any()


@pytest.mark.parametrize("base", [LogisticRegression(), LinearSVC(), RandomForestClassifier(10, random_state=0)])
@pytest.mark.parametrize("threshold", ["auto", 0.0, 0.3, 0.7, 1.0, -0.5, 1.5])
@pytest.mark.parametrize("positive", [None, "no"])
def test_labels_change_at_the_threshold_also_for_rows_on_it(base, threshold, positive):
    rows, truth = make_classification(300, 4, random_state=1)
    names = np.where(truth, "yes", "no")
    estimator = fitted(FixedThresholdClassifier(base, threshold=threshold, pos_label=positive), rows, names)
    asked = (RNG.normal(size=(2000, 4)) * 2).astype(np.float32)
    model = FittedModel(estimator, "classification", features_of(asked), ("no", "yes"))
    outputs, predicted = model.outputs(asked), estimator.predict(asked)
    assert np.array_equal(estimator.classes_[labels_of(outputs)], predicted)
    assert ((outputs >= 0) & (outputs <= 1)).all()
    got = run_program(read_model(model), asked).astype(np.float64)
    assert np.mean(estimator.classes_[labels_of(got)] != predicted) <= 0.001
    assert np.quantile(np.abs(got - outputs), 0.999) <= 1e-5


def test_a_tuned_threshold_is_read():
    rows, truth = make_classification(300, 4, weights=[0.9], random_state=1)
    estimator = fitted(TunedThresholdClassifierCV(LogisticRegression(), cv=2), rows, truth)
    model = FittedModel(estimator, "classification", features_of(rows), ("0", "1"))
    assert np.array_equal(labels_of(model.outputs(rows)), estimator.predict(rows.astype(np.float32)))
    assert difference(run_program(read_model(model), rows), model.outputs(rows)) <= 1e-5


def test_probabilities_stay_the_answer_of_those_who_have_them():
    assert answer_of(fitted(SVC(probability=True, random_state=0)), "classification") == "probabilities"
    assert answer_of(fitted(FrozenEstimator(fitted(LogisticRegression()))), "classification") == "probabilities"


@pytest.mark.parametrize(
    ("estimator", "task"),
    [(OneClassSVM(), "anomaly"), (IsolationForest(), "anomaly"), (Ridge(), "regression"), (KMeans(), "classification")],
)
def test_the_task_is_found_out(estimator, task):
    assert task_of(make_pipeline(StandardScaler(), estimator)) == task


def test_a_foreign_estimator_classifies_if_it_has_classes():
    class Foreign:
        classes_ = np.array(["a", "b"])

    assert task_of(Foreign()) == "classification"
    assert labels_of_estimator(Foreign()) == ("a", "b")
    assert task_of(object()) == "regression"


def test_clusters_are_answered_one_hot():
    clustering = make_pipeline(StandardScaler(), KMeans(3, random_state=0)).fit(IRIS)
    assert labels_of_estimator(clustering) == ("cluster_0", "cluster_1", "cluster_2")
    found = answers(clustering, "classification", IRIS)
    assert np.array_equal(np.argmax(found, axis=1), clustering.predict(IRIS))
    assert np.array_equal(found.sum(axis=1), np.ones(len(IRIS)))


def test_an_anomaly_detector_answers_its_decision():
    detector = OneClassSVM(nu=0.1).fit(IRIS)
    assert np.array_equal(answers(detector, "anomaly", GRID), detector.decision_function(GRID))
