import warnings

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.cross_decomposition import CCA, PLSCanonical, PLSRegression
from sklearn.datasets import load_diabetes, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC, LinearSVR

from exporter.errors import UnsupportedError
from tests.unit.exporter.reading.exactness import assert_exact, program_of

ROWS, VALUES = load_diabetes(return_X_y=True)
IRIS, SPECIES = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[SPECIES]


def fitted(estimator, rows, truth):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(rows, truth)


@pytest.mark.parametrize(
    "regressor",
    [
        linear_model.LinearRegression(),
        linear_model.LinearRegression(fit_intercept=False, positive=True),
        linear_model.Ridge(),
        linear_model.RidgeCV(),
        linear_model.Lasso(),
        linear_model.ElasticNetCV(cv=2),
        linear_model.Lars(),
        linear_model.OrthogonalMatchingPursuit(),
        linear_model.BayesianRidge(),
        linear_model.ARDRegression(),
        linear_model.HuberRegressor(),
        linear_model.TheilSenRegressor(max_subpopulation=50, random_state=0),
        linear_model.SGDRegressor(random_state=0),
        linear_model.QuantileRegressor(),
        linear_model.RANSACRegressor(random_state=0),
        LinearSVR(random_state=0),
        PLSRegression(3),
        PLSCanonical(1),
        CCA(1),
        linear_model.PoissonRegressor(),
        linear_model.GammaRegressor(),
        linear_model.TweedieRegressor(power=0),
        linear_model.TweedieRegressor(power=1.5),
        linear_model.TweedieRegressor(power=1.5, link="log"),
        linear_model.TweedieRegressor(power=0, link="log"),
    ],
    ids=repr,
)
def test_regressors_are_read(regressor):
    assert_exact(fitted(regressor, ROWS, VALUES), ROWS, "value")


def test_a_truth_of_one_column_is_one_output():
    assert_exact(linear_model.LinearRegression().fit(ROWS, VALUES[:, np.newaxis]), ROWS, "value")


def test_several_outputs_are_refused():
    with pytest.raises(UnsupportedError, match="Ridge of 2 outputs is not supported"):
        program_of(linear_model.Ridge().fit(ROWS, np.stack([VALUES, VALUES], axis=1)), ROWS, "value")


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "classifier",
    [
        linear_model.LogisticRegression(),
        linear_model.LogisticRegressionCV(cv=2, Cs=2),
        linear_model.SGDClassifier(loss="log_loss", random_state=0),
        linear_model.SGDClassifier(loss="modified_huber", random_state=0),
        LinearDiscriminantAnalysis(),
        LinearDiscriminantAnalysis(solver="lsqr"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("response", ["probabilities", "decision"])
def test_classifiers_with_probabilities_are_read(classifier, n_classes, response):
    chosen = n_classes > SPECIES
    assert_exact(fitted(classifier, IRIS[chosen], NAMES[chosen]), IRIS, response)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "classifier",
    [
        linear_model.RidgeClassifier(),
        linear_model.RidgeClassifierCV(),
        linear_model.Perceptron(),
        linear_model.SGDClassifier(random_state=0),
        LinearSVC(),
    ],
    ids=repr,
)
def test_classifiers_by_decision_are_read(classifier, n_classes):
    chosen = n_classes > SPECIES
    assert_exact(fitted(classifier, IRIS[chosen], NAMES[chosen]), IRIS, "decision")


def test_probabilities_that_a_loss_does_not_have_are_refused():
    with pytest.raises(UnsupportedError, match="with probabilities of the loss 'hinge'"):
        program_of(linear_model.SGDClassifier().fit(IRIS, NAMES), IRIS, "probabilities")


@pytest.mark.parametrize("solver", ["svd", "eigen"])
def test_discriminants_and_latent_variables_transform(solver):
    assert_exact(LinearDiscriminantAnalysis(solver=solver).fit(IRIS, NAMES), IRIS)
    assert_exact(PLSRegression(2).fit(IRIS, SPECIES), IRIS)


def test_a_discriminant_that_cannot_transform_is_refused():
    with pytest.raises(UnsupportedError, match="as a transformer with the solver 'lsqr'"):
        program_of(LinearDiscriminantAnalysis(solver="lsqr").fit(IRIS, NAMES), IRIS)


@pytest.mark.parametrize(
    "model", [linear_model.SGDClassifier(loss="log_loss"), OneVsRestClassifier(linear_model.LogisticRegression())]
)
def test_shares_are_kept_where_every_probability_is_too_small_for_float32(model):
    rows = np.array([[0.0, 0], [1, 0], [0, 1]] * 10)
    model.fit(rows, [0, 1, 2] * 10)
    # Far from zero, every class says "not mine".
    parts = model.estimators_ if hasattr(model, "estimators_") else [model]
    for part in parts:
        part.intercept_ = np.full_like(part.intercept_, -400.0)
    assert_exact(model, rows, "probabilities")
