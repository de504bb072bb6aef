import warnings

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron, Ridge, RidgeClassifier
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from exporter.errors import UnsupportedError
from tests.unit.exporter.reading.exactness import assert_exact, program_of

IRIS, SPECIES = load_iris(return_X_y=True)
CANCER, IS_BENIGN = load_breast_cancer(return_X_y=True)
DIABETES, VALUES = load_diabetes(return_X_y=True)
DATA = {
    2: (scale(CANCER)[:, :6].astype(np.float32), np.array(["bad", "fine"])[IS_BENIGN]),
    3: (scale(IRIS).astype(np.float32), SPECIES),
}
LOGISTIC = make_pipeline(StandardScaler(), LogisticRegression())
PERCEPTRON = MLPClassifier((5,), max_iter=30, random_state=0)


def fitted(estimator, n_classes):
    rows, truth = DATA[n_classes]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(rows, truth), np.concatenate([rows, 1.7 * rows]).astype(np.float32)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weights", [None, [3, 1]])
def test_votes_are_weighted(weights, n_classes):
    members = [("a", LOGISTIC), ("gone", "drop"), ("b", GaussianNB())]
    given = None if weights is None else [weights[0], 9, weights[1]]
    soft, asked = fitted(VotingClassifier(members, voting="soft", weights=given), n_classes)
    assert_exact(soft, asked, "probabilities")
    assert_exact(soft, asked, "label")
    assert_exact(soft, asked)
    hard, asked = fitted(
        VotingClassifier([*members, ("c", RidgeClassifier())], weights=given and [*given, 1]), n_classes
    )
    assert_exact(hard, asked, "label")
    assert_exact(hard, asked)


def test_regressors_are_averaged():
    voting = VotingRegressor([("a", Ridge()), ("b", LinearRegression())], weights=[2, 5]).fit(DIABETES, VALUES)
    assert_exact(voting, DIABETES, "value")


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("passthrough", [True, False])
@pytest.mark.parametrize("method", ["auto", "predict_proba", "decision_function"])
def test_stacks_are_read(method, passthrough, n_classes):
    members = [("a", LOGISTIC), ("gone", "drop"), ("b", SVC(probability=True, random_state=0))]
    stack = StackingClassifier(members, passthrough=passthrough, stack_method=method, cv=2)
    stack, asked = fitted(stack, n_classes)
    for response in ("probabilities", "decision", "label"):
        assert_exact(stack, asked, response, tolerance=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_stacks_of_labels_are_read(n_classes):
    stack = StackingClassifier([("a", Perceptron()), ("b", RidgeClassifier())], stack_method="predict", cv=2)
    stack, asked = fitted(stack, n_classes)
    assert_exact(stack, asked, "probabilities")


def test_labels_that_are_names_cannot_be_stacked():
    rows, truth = DATA[2]
    members = [("a", Perceptron().fit(rows, truth == "fine"))]
    stack = StackingClassifier(members, stack_method="predict", cv="prefit").fit(rows, truth)
    assert_exact(stack, rows, "probabilities")
    stack.estimators_[0].classes_ = np.array(["no", "yes"])
    with pytest.raises(UnsupportedError, match="Perceptron stacked by the names of its labels"):
        program_of(stack, rows, "probabilities")


def test_stacks_of_regressors_are_read():
    stack = StackingRegressor([("a", Ridge()), ("b", LinearRegression())], cv=2, passthrough=True)
    assert_exact(stack.fit(DIABETES, VALUES), DIABETES, "value")


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("base", [LogisticRegression(), Perceptron(), GaussianNB(), None], ids=repr)
def test_bags_look_at_their_own_columns(base, n_classes):
    bag, asked = fitted(BaggingClassifier(base, n_estimators=4, max_features=0.6, random_state=0), n_classes)
    assert_exact(bag, asked, "probabilities")
    assert_exact(bag, asked, "label")


def test_a_bag_whose_members_did_not_meet_every_class_is_read():
    rows, truth = DATA[3]
    truth = np.where(np.arange(len(truth)) % 75 == 0, 3, truth)
    bag = BaggingClassifier(LinearDiscriminantAnalysis(), n_estimators=6, max_samples=25, random_state=0).fit(
        rows, truth
    )
    assert {len(member.classes_) for member in bag.estimators_} == {3, 4}
    assert_exact(bag, rows, "probabilities")


def test_bags_of_regressors_are_read():
    assert_exact(BaggingRegressor(Ridge(), 3, max_features=5).fit(DIABETES, VALUES), DIABETES, "value")


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("base", [None, DecisionTreeClassifier(max_depth=3, random_state=0)])
def test_boosting_by_labels_is_read(base, n_classes):
    boost, asked = fitted(AdaBoostClassifier(base, n_estimators=8, random_state=0), n_classes)
    for response in ("probabilities", "decision", "label"):
        assert_exact(boost, asked, response)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("ensemble", [True, False])
@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
@pytest.mark.parametrize(
    "base",
    [LinearSVC(), LOGISTIC, GaussianNB(), RandomForestClassifier(5, random_state=0)],
    ids=lambda base: type(base).__name__,
)
def test_calibrated_classifiers_are_read(base, method, ensemble, n_classes):
    calibrated, asked = fitted(CalibratedClassifierCV(base, method=method, ensemble=ensemble, cv=3), n_classes)
    # An isotonic step is as steep as it likes. Of probabilities near 0 scikit-learn's own naive Bayes gives as many
    # digits as float32 has near 1, and temperature magnifies them.
    tolerance = 1e-5 if method == "sigmoid" else 1e-2 if isinstance(base, GaussianNB) else 1e-4
    assert_exact(calibrated, asked, "probabilities", tolerance=tolerance)


def test_a_calibrated_model_that_was_fitted_before_is_read():
    rows, truth = DATA[3]
    frozen = FrozenEstimator(LOGISTIC.fit(rows, truth))
    assert_exact(CalibratedClassifierCV(frozen).fit(rows, truth), rows, "probabilities")


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("base", [LogisticRegression(), PERCEPTRON, GaussianNB()], ids=lambda base: type(base).__name__)
def test_one_against_the_rest_is_read(base, n_classes):
    rest, asked = fitted(OneVsRestClassifier(base), n_classes)
    assert_exact(rest, asked, "probabilities")
    assert_exact(rest, asked, "label")
    if hasattr(base, "decision_function"):
        assert_exact(rest, asked, "decision")


@pytest.mark.parametrize("n_classes", [2, 3])
def test_one_against_one_is_read(n_classes):
    pairs, asked = fitted(OneVsOneClassifier(LinearSVC()), n_classes)
    assert_exact(pairs, asked, "decision")
    assert_exact(pairs, asked, "label")


def test_pairs_without_decisions_are_refused():
    pairs, asked = fitted(OneVsOneClassifier(GaussianNB()), 3)
    with pytest.raises(UnsupportedError, match="of GaussianNB, which has no decision_function"):
        program_of(pairs, asked, "decision")


@pytest.mark.parametrize("base", [LinearSVC(), GaussianNB()], ids=repr)
def test_output_codes_are_read(base):
    coded, asked = fitted(OutputCodeClassifier(base, code_size=3, random_state=1), 3)
    assert_exact(coded, asked, "label")


def test_several_labels_at_once_are_refused():
    rows, truth = DATA[3]
    rest = OneVsRestClassifier(LogisticRegression()).fit(rows, np.stack([truth > 0, truth > 1], axis=1).astype(int))
    with pytest.raises(UnsupportedError, match="OneVsRestClassifier of several labels at once"):
        program_of(rest, rows, "probabilities")
