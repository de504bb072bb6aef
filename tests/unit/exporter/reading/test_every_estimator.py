"""Every estimator of scikit-learn is read, and then exact, or refused by its name: there is nothing between."""

import warnings
from functools import cache

import numpy as np
import pytest
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.datasets import make_blobs, make_classification
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

from exporter.answers import labels_of_estimator, task_of
from exporter.errors import ModelError, UnsupportedError
from exporter.interpreter import run_program
from exporter.metrics import labels_of
from exporter.model import FittedModel
from exporter.reading.models import READERS, read_model
from exporter.trained_rows import as_trained
from tests.unit.exporter.reading.exactness import difference, features_of, original_of, program_of

CLASSES = dict(all_estimators())
RNG = np.random.default_rng(17)
# What each needs beside its defaults: inner estimators, and settings that make it small and its result certain.
SETTINGS = {
    "AdaBoostClassifier": {"n_estimators": 5},
    "BaggingClassifier": {"estimator": LogisticRegression(), "n_estimators": 3, "max_features": 0.6},
    "BaggingRegressor": {"estimator": Ridge(), "n_estimators": 3, "max_features": 0.6},
    "Birch": {"n_clusters": 3},
    "BisectingKMeans": {"n_clusters": 5, "random_state": 0},
    "CalibratedClassifierCV": {"estimator": LogisticRegression(), "cv": 2},
    "CCA": {"n_components": 1},
    "ClassifierChain": {"estimator": LogisticRegression()},
    "ColumnTransformer": {"transformers": [("s", StandardScaler(), [0, 2])]},
    "FeatureUnion": {"transformer_list": [("s", StandardScaler())]},
    "FixedThresholdClassifier": {"estimator": LogisticRegression(), "threshold": 0.3},
    "FrozenEstimator": {"estimator": LogisticRegression()},
    "FunctionTransformer": {"func": np.abs},
    "GaussianRandomProjection": {"n_components": 3},
    "GridSearchCV": {"estimator": LogisticRegression(), "param_grid": {"C": [0.1, 1]}, "cv": 2},
    "GradientBoostingClassifier": {"n_estimators": 5},
    "GradientBoostingRegressor": {"n_estimators": 5},
    "HalvingGridSearchCV": {"estimator": LogisticRegression(), "param_grid": {"C": [0.1, 1]}, "cv": 2},
    "HalvingRandomSearchCV": {"estimator": LogisticRegression(), "param_distributions": {"C": [1, 2]}, "cv": 2},
    "HistGradientBoostingClassifier": {"max_iter": 5},
    "HistGradientBoostingRegressor": {"max_iter": 5},
    "IsolationForest": {"n_estimators": 5, "random_state": 0},
    "KBinsDiscretizer": {"quantile_method": "averaged_inverted_cdf"},
    "KMeans": {"n_clusters": 4, "random_state": 0},
    "KernelPCA": {"n_components": 3, "kernel": "rbf"},
    "LocalOutlierFactor": {"novelty": True},
    "MiniBatchKMeans": {"n_clusters": 4, "random_state": 0},
    "LogisticRegressionCV": {"Cs": 2, "cv": 2},
    "MeanShift": {"bandwidth": 6, "bin_seeding": True},
    "MLPClassifier": {"max_iter": 20, "random_state": 0},
    "MLPRegressor": {"max_iter": 20, "random_state": 0},
    "MultiOutputClassifier": {"estimator": LogisticRegression()},
    "MultiOutputRegressor": {"estimator": Ridge()},
    "OneVsOneClassifier": {"estimator": LogisticRegression()},
    "OneVsRestClassifier": {"estimator": LogisticRegression()},
    "OutputCodeClassifier": {"estimator": LogisticRegression(), "random_state": 0, "code_size": 3},
    "PLSCanonical": {"n_components": 1},
    "PLSSVD": {"n_components": 1},
    "Pipeline": {"steps": [("s", StandardScaler()), ("c", LogisticRegression())]},
    "RANSACRegressor": {"estimator": LinearRegression(), "random_state": 0},
    "RFE": {"estimator": Ridge(), "n_features_to_select": 2},
    "RFECV": {"estimator": Ridge(), "cv": 2},
    "RandomForestClassifier": {"n_estimators": 5},
    "RandomForestRegressor": {"n_estimators": 5},
    "ExtraTreesClassifier": {"n_estimators": 5},
    "ExtraTreesRegressor": {"n_estimators": 5},
    "RandomTreesEmbedding": {"n_estimators": 3},
    "RandomizedSearchCV": {"estimator": LogisticRegression(), "param_distributions": {"C": [1]}, "n_iter": 1, "cv": 2},
    "RegressorChain": {"estimator": Ridge()},
    "SelectFromModel": {"estimator": Ridge()},
    "SelectKBest": {"k": 2},
    "SelfTrainingClassifier": {"estimator": LogisticRegression()},
    "SequentialFeatureSelector": {"estimator": Ridge(), "n_features_to_select": 2, "cv": 2},
    "SparseCoder": {"dictionary": np.eye(4)},
    "SparseRandomProjection": {"n_components": 3},
    "SplineTransformer": {"degree": 1},
    "StackingClassifier": {"estimators": [("a", LogisticRegression()), ("b", LogisticRegression(C=9))], "cv": 2},
    "StackingRegressor": {"estimators": [("a", Ridge()), ("b", Ridge(9))], "cv": 2},
    "TSNE": {"perplexity": 5},
    "TheilSenRegressor": {"max_subpopulation": 50, "random_state": 0},
    "TransformedTargetRegressor": {"regressor": Ridge(), "transformer": StandardScaler()},
    "TruncatedSVD": {"n_components": 2},
    "TunedThresholdClassifierCV": {"estimator": LogisticRegression(), "cv": 2},
    "VotingClassifier": {"estimators": [("a", LogisticRegression()), ("b", LogisticRegression(C=9))]},
    "VotingRegressor": {"estimators": [("a", Ridge()), ("b", Ridge(9))]},
}
# No form that devices run: the reason stands in docs/coverage.md.
REFUSED = {
    *("AdaBoostRegressor", "ClassifierChain", "GaussianProcessClassifier", "GaussianProcessRegressor"),
    *("KNeighborsClassifier", "KNeighborsRegressor", "KernelRidge", "LabelPropagation", "LabelSpreading"),
    *("LocalOutlierFactor", "MultiOutputClassifier", "MultiOutputRegressor", "RadiusNeighborsClassifier"),
    *("RadiusNeighborsRegressor", "RegressorChain"),
    *("AdditiveChi2Sampler", "DictVectorizer", "DictionaryLearning", "FeatureHasher", "HashingVectorizer", "Isomap"),
    *("KNNImputer", "KNeighborsTransformer", "KernelCenterer", "LabelBinarizer", "LabelEncoder"),
    *("LatentDirichletAllocation", "LocallyLinearEmbedding", "MiniBatchDictionaryLearning", "MiniBatchNMF"),
    *("MiniBatchSparsePCA", "MultiLabelBinarizer", "NMF", "PLSSVD", "PatchExtractor", "PolynomialCountSketch"),
    *("QuantileTransformer", "RBFSampler", "RadiusNeighborsTransformer", "SkewedChi2Sampler", "SparseCoder"),
    *("SparsePCA", "RandomTreesEmbedding", "TfidfTransformer", "CountVectorizer", "TfidfVectorizer"),
    *("BayesianGaussianMixture", "GaussianMixture", "KernelDensity", "NearestNeighbors"),
    *("EmpiricalCovariance", "GraphicalLasso", "GraphicalLassoCV", "LedoitWolf", "MinCovDet", "OAS"),
    *("ShrunkCovariance", "ClassicalMDS", "MDS", "SpectralEmbedding", "TSNE"),
    *("AgglomerativeClustering", "DBSCAN", "HDBSCAN", "OPTICS", "SpectralBiclustering", "SpectralClustering"),
    "SpectralCoclustering",
}
# exporter/reading/trees.py.
TREES = {
    *("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor"),
    *("ExtraTreesClassifier", "ExtraTreesRegressor", "GradientBoostingClassifier", "GradientBoostingRegressor"),
    *("HistGradientBoostingClassifier", "HistGradientBoostingRegressor", "IsolationForest"),
    *("RandomForestClassifier", "RandomForestRegressor"),
}
# These judge rows by their members, whose default is a tree.
OF_TREES = {"AdaBoostClassifier"}
# They answer several things at once unless they are given several.
MULTIPLE = {"ClassifierChain", "MultiOutputClassifier", "MultiOutputRegressor", "RegressorChain"}
MULTIPLE |= {"MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV"}
POSITIVE = {"CategoricalNB", "ComplementNB", "MultinomialNB", "AdditiveChi2Sampler", "LatentDirichletAllocation"}
POSITIVE |= {"NMF", "MiniBatchNMF", "SkewedChi2Sampler", "SelectFdr", "SelectFpr", "SelectFwe", "SelectKBest"}
ONE_COLUMN = {"IsotonicRegression"}
BINARY = {"FixedThresholdClassifier", "TunedThresholdClassifierCV"}
CATEGORIES = {"CategoricalNB", "OneHotEncoder", "OrdinalEncoder", "TargetEncoder"}


@cache
def data(kind):
    if kind == "binary":
        rows, truth = make_classification(200, 5, n_informative=4, n_redundant=0, random_state=0)
    else:
        rows, truth = make_blobs(200, 5, centers=4, cluster_std=4.0, random_state=0)
    # As most people train: on float64. Devices ask in float32.
    return rows, truth


def fitted(name):
    """Return a fitted estimator, rows to ask it about, and its truth."""
    rows, truth = data("binary" if name in BINARY else "many")
    if name in POSITIVE or name in CATEGORIES:
        rows = np.abs(rows)
    if name in CATEGORIES:
        rows = np.floor(rows % 4)
    if name == "MissingIndicator":
        rows = np.where(rows > 1, np.nan, rows)
    estimator = CLASSES[name](**SETTINGS.get(name, {}))
    if name in ONE_COLUMN:
        estimator.set_params(out_of_bounds="clip")
        rows = rows[:, :1]
    if is_regressor(estimator) or name in {"VarianceThreshold", "RFE", "RFECV", "SelectFromModel"}:
        truth = np.abs(rows[:, 0]) + 0.5 * truth + 1
    if name in MULTIPLE:
        truth = np.stack([truth > np.median(truth), truth > 1], axis=1).astype(int)
    if name == "FrozenEstimator":
        estimator.estimator.fit(rows, truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(rows, truth)
    asked = np.concatenate([rows[::2], rows[:5] * (1 if name in CATEGORIES else 3)]).astype(np.float32)
    return estimator, asked


def needs_trees(name):
    return name in TREES | OF_TREES and CLASSES["DecisionTreeClassifier"] not in READERS


@pytest.mark.parametrize("name", sorted(CLASSES))
@pytest.mark.filterwarnings("ignore")
def test_an_estimator_is_exact_or_refused_by_name(name):
    if needs_trees(name):
        pytest.skip("the readers of trees are not there")
    if name in REFUSED:
        assert CLASSES[name] not in READERS
        with pytest.raises(UnsupportedError, match=f"step `model`: {name} has no form that devices run"):
            program_of(CLASSES[name].__new__(CLASSES[name]), data("many")[0], "value")
        return
    assert CLASSES[name] in READERS, f"{name} is neither read nor listed as refused"
    estimator, rows = fitted(name)
    if name in MULTIPLE:
        with pytest.raises((UnsupportedError, ModelError), match=name):
            read_model(model_of(estimator, rows))
        return
    if hasattr(estimator, "transform"):
        got = run_program(program_of(estimator, rows), rows)
        assert difference(got, original_of(estimator, as_trained(estimator, features_of(rows), rows))) <= 1e-5
    if is_model(estimator):
        model = model_of(estimator, rows)
        expected = model.outputs(rows)
        got = run_program(read_model(model), rows)
        assert difference(got, expected) <= 1e-5
        if model.labels:
            verify_labels(estimator, rows, expected, got)


def is_model(estimator):
    kinds = (is_classifier, is_regressor, is_outlier_detector)
    is_cluster = is_clusterer(estimator) and hasattr(estimator, "predict")
    return is_cluster or any(kind(estimator) for kind in kinds)


def model_of(estimator, rows):
    return FittedModel(estimator, task_of(estimator), features_of(rows), labels_of_estimator(estimator))


def verify_labels(estimator, rows, expected, got):
    """The greatest answer is the label that `predict` names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = estimator.predict(as_trained(estimator, features_of(rows), rows))
    names = np.asarray(getattr(estimator, "classes_", np.arange(expected.shape[1])))
    assert np.array_equal(names[labels_of(expected)], predicted)
    assert np.array_equal(names[labels_of(got)], predicted)
