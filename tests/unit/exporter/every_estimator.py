"""Fits every estimator of scikit-learn on small data, and says which are refused and why."""

import warnings
from functools import cache
from typing import Final

import numpy as np
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.datasets import make_blobs, make_classification
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

from exporter.models.answers import labels_of_estimator, task_of
from exporter.models.model import FittedModel
from tests.unit.exporter.reading.exactness import features_of

CLASSES = dict(all_estimators())
# What each needs beside its defaults: inner estimators, and settings that make it small and its result certain.
SETTINGS = {
    "AdaBoostClassifier": {"n_estimators": 5},
    "BaggingClassifier": {"estimator": LogisticRegression(), "n_estimators": 3, "max_features": 0.6},
    "BaggingRegressor": {"estimator": Ridge(), "n_estimators": 3, "max_features": 0.6},
    "Birch": {"n_clusters": 3},
    "BisectingKMeans": {"n_clusters": 5},
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
    "IsolationForest": {"n_estimators": 5},
    "KBinsDiscretizer": {"quantile_method": "averaged_inverted_cdf"},
    "KMeans": {"n_clusters": 4},
    "KernelPCA": {"n_components": 3, "kernel": "rbf"},
    "LocalOutlierFactor": {"novelty": True},
    "MiniBatchKMeans": {"n_clusters": 4},
    "LogisticRegressionCV": {"Cs": 2, "cv": 2},
    "MeanShift": {"bandwidth": 6, "bin_seeding": True},
    "MLPClassifier": {"max_iter": 20},
    "MLPRegressor": {"max_iter": 20},
    "MultiOutputClassifier": {"estimator": LogisticRegression()},
    "MultiOutputRegressor": {"estimator": Ridge()},
    "OneVsOneClassifier": {"estimator": LogisticRegression()},
    "OneVsRestClassifier": {"estimator": LogisticRegression()},
    "OutputCodeClassifier": {"estimator": LogisticRegression(), "code_size": 3},
    "PLSCanonical": {"n_components": 1},
    "PLSSVD": {"n_components": 1},
    "Pipeline": {"steps": [("s", StandardScaler()), ("c", LogisticRegression())]},
    "RANSACRegressor": {"estimator": LinearRegression()},
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
    "TheilSenRegressor": {"max_subpopulation": 50},
    "TransformedTargetRegressor": {"regressor": Ridge(), "transformer": StandardScaler()},
    "TruncatedSVD": {"n_components": 2},
    "TunedThresholdClassifierCV": {"estimator": LogisticRegression(), "cv": 2},
    "VotingClassifier": {"estimators": [("a", LogisticRegression()), ("b", LogisticRegression(C=9))]},
    "VotingRegressor": {"estimators": [("a", Ridge()), ("b", Ridge(9))]},
}
# They are read, and refused for the number of their answers.
MULTI_TASK: Final = ("MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV")
# No form that devices run, by the reason.
REFUSALS: Final = {
    "answers several things at once; fit one model for each": (
        *("ClassifierChain", "MultiOutputClassifier", "MultiOutputRegressor", "RegressorChain", *MULTI_TASK),
    ),
    "answers from its stored training rows, by distances to or kernels over all of them: its size and time grow with "
    "them": (
        *("GaussianProcessClassifier", "GaussianProcessRegressor", "Isomap", "KNNImputer", "KNeighborsClassifier"),
        *("KNeighborsRegressor", "KNeighborsTransformer", "KernelCenterer", "KernelDensity", "KernelRidge"),
        *("LabelPropagation", "LabelSpreading", "LocalOutlierFactor", "LocallyLinearEmbedding", "NearestNeighbors"),
        *("RadiusNeighborsClassifier", "RadiusNeighborsRegressor", "RadiusNeighborsTransformer"),
    ),
    "arranges the rows that it was fitted on, and answers nothing for another one": (
        *("AgglomerativeClustering", "ClassicalMDS", "DBSCAN", "HDBSCAN", "MDS", "OPTICS", "SpectralBiclustering"),
        *("SpectralClustering", "SpectralCoclustering", "SpectralEmbedding", "TSNE"),
    ),
    "takes texts, mappings, images or targets, not rows of numbers": (
        *("CountVectorizer", "DictVectorizer", "FeatureHasher", "HashingVectorizer", "LabelBinarizer", "LabelEncoder"),
        *("MultiLabelBinarizer", "PatchExtractor", "TfidfTransformer", "TfidfVectorizer"),
    ),
    "solves an optimisation for every row, until it converges": (
        *("DictionaryLearning", "LatentDirichletAllocation", "MiniBatchDictionaryLearning", "MiniBatchNMF"),
        *("MiniBatchSparsePCA", "NMF", "SparseCoder", "SparsePCA"),
    ),
    "is no classifier, regressor, clustering, detector or transformer: it estimates a density or a covariance": (
        *("BayesianGaussianMixture", "EmpiricalCovariance", "GaussianMixture", "GraphicalLasso", "GraphicalLassoCV"),
        *("LedoitWolf", "MinCovDet", "OAS", "ShrunkCovariance"),
    ),
    "draws random features for kernels, by cosines or Fourier transforms that the engine and TFLite do not share": (
        *("AdditiveChi2Sampler", "PolynomialCountSketch", "RBFSampler", "SkewedChi2Sampler"),
    ),
    "answers the weighted median of its members, which takes a sort of them for every row": ("AdaBoostRegressor",),
    "answers a column for each leaf, thousands of them, which no model after it takes in a form for devices": (
        "RandomTreesEmbedding",
    ),
}
REFUSED: Final = frozenset(name for names in REFUSALS.values() for name in names if name not in MULTI_TASK)
# They answer several things at once unless they are given several.
MULTIPLE = {"ClassifierChain", "MultiOutputClassifier", "MultiOutputRegressor", "RegressorChain"}
MULTIPLE |= set(MULTI_TASK)
POSITIVE = {"CategoricalNB", "ComplementNB", "MultinomialNB", "AdditiveChi2Sampler", "LatentDirichletAllocation"}
POSITIVE |= {"NMF", "MiniBatchNMF", "SkewedChi2Sampler", "SelectFdr", "SelectFpr", "SelectFwe", "SelectKBest"}
ONE_COLUMN = {"IsotonicRegression"}
BINARY = {"FixedThresholdClassifier", "TunedThresholdClassifierCV"}
CATEGORIES = {"CategoricalNB", "OneHotEncoder", "OrdinalEncoder", "TargetEncoder"}
# These learn from gaps.
GAPS = {"IterativeImputer", "MissingIndicator", "SimpleImputer"}
N_TRAINED = 200


@cache
def data(kind):
    """Return 300 rows of 5 numbers, and their truth: two classes ("binary") or four ("many")."""
    if kind == "binary":
        return make_classification(300, 5, n_informative=4, n_redundant=0, random_state=0)
    # As most people train: on float64. Devices ask in float32.
    return make_blobs(300, 5, centers=4, cluster_std=4.0, random_state=0)


def fitted(name):
    """Return an estimator fitted on 200 rows, and others to ask it about, `(n, n_features) float32`."""
    rows, truth = data("binary" if name in BINARY else "many")
    if name in POSITIVE or name in CATEGORIES:
        rows = np.abs(rows)
    if name in CATEGORIES:
        rows = np.floor(rows % 4)
    if name in GAPS:
        rows = np.where(rows > 1, np.nan, rows)
    estimator = CLASSES[name](**SETTINGS.get(name, {}))
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=0)
    if name in ONE_COLUMN:
        estimator.set_params(out_of_bounds="clip")
        rows = rows[:, :1]
    if is_regressor(estimator) or name in {"VarianceThreshold", "RFE", "RFECV", "SelectFromModel"}:
        truth = np.abs(rows[:, 0]) + 0.5 * truth + 1
    if name in MULTIPLE:
        truth = np.stack([truth > np.median(truth), truth > 1], axis=1).astype(int)
    trained, known = rows[:N_TRAINED], truth[:N_TRAINED]
    if name == "FrozenEstimator":
        estimator.estimator.fit(trained, known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(trained, known)
    held = rows[N_TRAINED:]
    asked = np.concatenate([held, held[:5] * (1 if name in CATEGORIES else 3)]).astype(np.float32)
    return estimator, asked


def is_model(estimator):
    """Tell whether it classifies, predicts a number, clusters, or detects."""
    kinds = (is_classifier, is_regressor, is_outlier_detector)
    is_cluster = is_clusterer(estimator) and hasattr(estimator, "predict")
    return is_cluster or any(kind(estimator) for kind in kinds)


def model_of(estimator, rows):
    """Return a fitted estimator as a model."""
    return FittedModel(estimator, task_of(estimator), features_of(rows), labels_of_estimator(estimator))
