import numpy as np
import pytest
from sklearn.cluster import FeatureAgglomeration
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA, FactorAnalysis, FastICA, IncrementalPCA, KernelPCA, TruncatedSVD
from sklearn.feature_selection import (
    RFE,
    SelectFromModel,
    SelectKBest,
    SelectPercentile,
    SequentialFeatureSelector,
    VarianceThreshold,
)
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import PolynomialFeatures, SplineTransformer
from sklearn.random_projection import SparseRandomProjection

from exporter.errors import UnsupportedError
from tests.unit.exporter.reading.exactness import assert_exact, program_of

IRIS, SPECIES = load_iris(return_X_y=True)


@pytest.mark.parametrize(
    "transformer",
    [
        PCA(),
        PCA(2, whiten=True),
        IncrementalPCA(3, whiten=True),
        TruncatedSVD(2, random_state=0),
        FastICA(2, random_state=0),
        FastICA(whiten=False, random_state=0, max_iter=1000, tol=0.1),
        FactorAnalysis(2),
        KernelPCA(3, kernel="rbf"),
        KernelPCA(3, kernel="poly", degree=2),
        KernelPCA(2),
        Nystroem(n_components=20, random_state=0),
        SparseRandomProjection(3, random_state=0),
        FeatureAgglomeration(2),
        PolynomialFeatures(3),
        PolynomialFeatures((2, 3), interaction_only=True, include_bias=False),
        PolynomialFeatures(1, include_bias=False),
        PolynomialFeatures(0),
        SplineTransformer(degree=1, n_knots=4),
        SplineTransformer(degree=1, include_bias=False, knots="quantile"),
        SelectKBest(k=2),
        SelectPercentile(percentile=50),
        VarianceThreshold(0.5),
        SelectFromModel(LogisticRegression()),
        RFE(LogisticRegression(), n_features_to_select=2),
        SequentialFeatureSelector(LogisticRegression(), n_features_to_select=2, cv=2),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore")
def test_projections_and_selections_are_read(transformer):
    asked = np.concatenate([IRIS, IRIS * 1.5, IRIS - 5]).astype(np.float32)
    assert_exact(transformer.fit(IRIS, SPECIES), asked, tolerance=2e-5)


@pytest.mark.parametrize("response", ["probabilities", "decision", "label"])
def test_a_selection_answers_by_its_own_estimator(response):
    assert_exact(RFE(LogisticRegression(), n_features_to_select=2).fit(IRIS, SPECIES), IRIS, response)


@pytest.mark.parametrize(
    ("transformer", "message"),
    [
        (SplineTransformer(), "SplineTransformer of degree 3 with 'constant' extrapolation"),
        (SplineTransformer(degree=1, extrapolation="linear"), "of degree 1 with 'linear' extrapolation"),
        (KernelPCA(2, kernel="cosine"), "KernelPCA with the kernel 'cosine' and its parameters"),
        (Nystroem(kernel="laplacian", n_components=5), "Nystroem with the kernel 'laplacian'"),
        (FeatureAgglomeration(2, pooling_func=np.max), "FeatureAgglomeration with another pooling"),
        (SelectKBest(k=0), "SelectKBest that selects no column"),
    ],
)
def test_what_is_no_linear_map_is_refused(transformer, message):
    with pytest.raises(UnsupportedError, match=message):
        program_of(transformer.fit(IRIS, SPECIES), IRIS)
