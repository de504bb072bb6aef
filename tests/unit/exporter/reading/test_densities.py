import numpy as np
import pytest
from sklearn.covariance import EllipticEnvelope
from sklearn.datasets import load_iris
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import SGDOneClassSVM
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import NearestCentroid

from exporter.errors import UnsupportedError
from tests.unit.exporter.reading.exactness import assert_exact, program_of

IRIS, SPECIES = load_iris(return_X_y=True)
COUNTS = np.floor(IRIS)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("classifier", "rows"),
    [
        (GaussianNB(), IRIS),
        (MultinomialNB(), COUNTS),
        (ComplementNB(), COUNTS),
        (ComplementNB(norm=True), COUNTS),
        (BernoulliNB(binarize=2.5), IRIS),
        (BernoulliNB(binarize=None), (IRIS > 2.5).astype(float)),
        (CategoricalNB(), COUNTS),
    ],
    ids=lambda value: repr(value) if hasattr(value, "fit") else "",
)
def test_naive_bayes_is_read(classifier, rows, n_classes):
    chosen = n_classes > SPECIES
    assert_exact(classifier.fit(rows[chosen], SPECIES[chosen]), rows[chosen], "probabilities")


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("classifier", [QuadraticDiscriminantAnalysis(reg_param=0.1), NearestCentroid()], ids=repr)
@pytest.mark.parametrize("response", ["probabilities", "decision", "label"])
def test_discriminants_are_read(response, classifier, n_classes):
    chosen = n_classes > SPECIES
    assert_exact(classifier.fit(IRIS[chosen], SPECIES[chosen]), IRIS, response)


def test_another_metric_is_refused():
    with pytest.raises(UnsupportedError, match="NearestCentroid by the metric 'manhattan'"):
        program_of(NearestCentroid("manhattan").fit(IRIS, SPECIES), IRIS, "label")


@pytest.mark.parametrize("detector", [EllipticEnvelope(random_state=0), SGDOneClassSVM(random_state=0)], ids=repr)
def test_detectors_are_read(detector):
    assert_exact(detector.fit(IRIS), np.concatenate([IRIS, IRIS * 3]), "decision")


@pytest.mark.parametrize("strategy", ["prior", "most_frequent", "constant"])
def test_a_dummy_answers_the_same_whatever_is_missing(strategy):
    dummy = DummyClassifier(strategy=strategy, constant=1).fit(IRIS, SPECIES)
    rows = IRIS.copy()
    rows[0] = np.nan
    assert_exact(dummy, rows, "probabilities", tolerance=1e-7)
    assert_exact(DummyRegressor(strategy="median").fit(IRIS, IRIS[:, 0]), rows, "value", tolerance=1e-6)


@pytest.mark.parametrize("strategy", ["stratified", "uniform"])
def test_a_dummy_that_draws_lots_is_refused(strategy):
    with pytest.raises(UnsupportedError, match="which draws lots, is not supported"):
        program_of(DummyClassifier(strategy=strategy).fit(IRIS, SPECIES), IRIS, "probabilities")


def test_a_dummy_of_several_outputs_is_refused():
    with pytest.raises(UnsupportedError, match="DummyRegressor of 2 outputs"):
        program_of(DummyRegressor().fit(IRIS, IRIS[:, :2]), IRIS, "value")


def test_a_monotone_function_is_read_if_it_answers_everywhere():
    model = IsotonicRegression(out_of_bounds="clip").fit(IRIS[:, 0], IRIS[:, 2])
    asked = np.linspace(0, 10, 101)[:, np.newaxis]
    assert_exact(model, asked, "value")
    with pytest.raises(UnsupportedError, match="IsotonicRegression with out_of_bounds='nan'"):
        program_of(IsotonicRegression().fit(IRIS[:, 0], IRIS[:, 2]), asked, "value")


def test_a_monotone_function_of_one_value_is_constant():
    model = IsotonicRegression(out_of_bounds="clip").fit([1, 1], [2, 4])
    assert_exact(model, np.array([[0.0], [5]]), "value")


def test_a_column_that_was_constant_in_training_does_not_drown_the_others():
    rows = np.concatenate([IRIS, np.full((len(IRIS), 1), 7.0)], axis=1)
    model = GaussianNB().fit(rows, SPECIES)
    rows[::2, -1] = 0.0
    assert_exact(model, rows, "probabilities")
    alike = np.array([[0.0], [1.0], [0.0], [1.0]])
    assert_exact(GaussianNB().fit(alike, [0, 0, 1, 1]), alike, "probabilities")
