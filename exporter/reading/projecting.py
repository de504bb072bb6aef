"""Reads transformers that project rows linearly, by products of columns, by kernels, or to distances."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import FeatureAgglomeration
from sklearn.decomposition import PCA, FactorAnalysis, FastICA, IncrementalPCA, KernelPCA, TruncatedSVD
from sklearn.kernel_approximation import Nystroem
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.neural_network import BernoulliRBM
from sklearn.preprocessing import PolynomialFeatures, SplineTransformer
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from exporter.programs.program import Curve, Interpolate, Kernel, Linear, Product, Scale
from exporter.reading.linear import add_linear
from exporter.reading.reading import Readers, Reading
from exporter.reading.scaling import add_scale

Floats = NDArray[np.float64]

_KERNELS: Final = ("linear", "rbf", "poly", "sigmoid")


def add_distances(reading: Reading, place: int, centres: Floats, scales: Floats | None = None) -> int:
    """Add the squared distance to each of ``centres (m, w)``, of numbers divided by ``scales (m, w)`` first.

    Each difference is squared by itself: products of large numbers would cancel.
    """
    n_centres, width = centres.shape
    repeated = reading.columns(place, [*range(width)] * n_centres)
    divisors = np.ones(centres.size) if scales is None else scales.astype(np.float64).reshape(-1)
    differences = reading.builder.add(Scale(repeated, centres.astype(np.float64).reshape(-1), divisors))
    squares = reading.builder.add(Curve(differences, "square"))
    sums: Floats = np.repeat(np.eye(n_centres), width, axis=0)
    return reading.builder.add(Linear(squares, sums, np.zeros(n_centres)))


def _components(reading: Reading, model: Any, place: int) -> int:
    place = add_scale(reading, place, model.mean_, None)
    weights = np.asarray(model.components_, dtype=np.float64)
    if model.whiten:
        deviations = np.sqrt(np.asarray(model.explained_variance_))
        weights = weights / np.maximum(deviations, np.finfo(deviations.dtype).eps)[:, np.newaxis]
    return add_linear(reading, place, weights, 0.0)


def _independent(reading: Reading, model: Any, place: int) -> int:
    if model.whiten:
        place = add_scale(reading, place, model.mean_, None)
    return add_linear(reading, place, model.components_, 0.0)


def _factors(reading: Reading, model: Any, place: int) -> int:
    place = add_scale(reading, place, model.mean_, None)
    loadings = np.asarray(model.components_, dtype=np.float64)
    weighted = loadings / model.noise_variance_
    covariance = np.linalg.inv(np.eye(len(loadings)) + weighted @ loadings.T)
    return add_linear(reading, place, covariance @ weighted, 0.0)


def _projection(reading: Reading, model: Any, place: int) -> int:
    return add_linear(reading, place, model.components_, 0.0)


def _pooled(reading: Reading, model: Any, place: int) -> int:
    if model.pooling_func is not np.mean:
        raise reading.refuse(model, "with another pooling than numpy's mean")
    members = model.labels_ == np.arange(model.n_clusters_)[:, np.newaxis]
    return add_linear(reading, place, members / members.sum(axis=1, keepdims=True), 0.0)


def _hidden(reading: Reading, model: Any, place: int) -> int:
    linear = add_linear(reading, place, model.components_, model.intercept_hidden_)
    return reading.builder.add(Curve(linear, "logistic"))


def _kernel(reading: Reading, model: Any, place: int, vectors: Any, gamma: float | None) -> int:
    if model.kernel not in _KERNELS or getattr(model, "kernel_params", None):
        raise reading.refuse(model, f"with the kernel {model.kernel!r} and its parameters")
    exact = np.asarray(vectors, dtype=np.float64)
    chosen = 1.0 / exact.shape[1] if gamma is None else float(gamma)
    offset = 1.0 if model.coef0 is None else float(model.coef0)
    degree = 3.0 if model.degree is None else float(model.degree)
    if degree != int(degree):
        raise reading.refuse(model, f"of the degree {degree:g}")
    return reading.builder.add(Kernel(place, exact, model.kernel, chosen, offset, int(degree)))


def _nystroem(reading: Reading, model: Any, place: int) -> int:
    kernel = _kernel(reading, model, place, model.components_, model.gamma)
    return add_linear(reading, kernel, model.normalization_, 0.0)


def _kernel_components(reading: Reading, model: Any, place: int) -> int:
    kernel = _kernel(reading, model, place, model.X_fit_, model.gamma_)
    # k - rows' mean - mean of k over the fitted rows + mean of all, written as one product.
    n_fitted, centre = len(model.X_fit_), model._centerer
    positive = model.eigenvalues_ > 0
    scaled = np.zeros_like(model.eigenvectors_)
    scaled[:, positive] = model.eigenvectors_[:, positive] / np.sqrt(model.eigenvalues_[positive])
    weights = scaled - np.ones((n_fitted, n_fitted)) / n_fitted @ scaled
    bias = (centre.K_fit_all_ - centre.K_fit_rows_) @ scaled
    return add_linear(reading, kernel, weights.T, bias)


def _polynomial(reading: Reading, model: Any, place: int) -> int:
    """Add each product of columns as a shorter one, times one more column."""
    wanted = [tuple(np.repeat(np.arange(len(powers)), powers).tolist()) for powers in model.powers_]
    width, degree = reading.builder.width(place), max(len(factors) for factors in wanted)
    blocks: list[int] = []  # by degree
    where: dict[tuple[int, ...], tuple[int, int]] = {}
    for length in range(degree + 1):
        factors = sorted({w[:length] for w in wanted if len(w) >= length})
        if length == 0:
            block = reading.builder.add(Linear(place, np.zeros((width, 1)), np.ones(1)))
        elif length == 1:
            block = reading.columns(place, [f[0] for f in factors])
        else:
            shorter = reading.columns(blocks[-1], [where[f[:-1]][1] for f in factors])
            block = reading.builder.add(Product((shorter, reading.columns(place, [f[-1] for f in factors]))))
        blocks.append(block)
        where.update({f: (length, column) for column, f in enumerate(factors)})
    starts = np.cumsum([0, *(reading.builder.width(block) for block in blocks)])
    joined = reading.join(blocks)
    return reading.columns(joined, [int(starts[where[w][0]]) + where[w][1] for w in wanted])


def _splines(reading: Reading, model: Any, place: int) -> int:
    if model.degree != 1 or model.extrapolation != "constant" or getattr(model, "handle_missing", "error") != "error":
        raise reading.refuse(model, f"of degree {model.degree} with {model.extrapolation!r} extrapolation")
    n_splines = model.bsplines_[0].c.shape[1] - (0 if model.include_bias else 1)
    columns, xs, ys = [], [], []
    for column, spline in enumerate(model.bsplines_):
        knots = np.unique(spline.t[1:-1])
        values = spline(knots)
        for i in range(n_splines):
            columns.append(column)
            xs.append(knots)
            ys.append(values[:, i])
    return reading.builder.add(Interpolate(reading.columns(place, columns), tuple(xs), tuple(ys)))


READERS: Final[Readers] = {
    kind: {"transform": reader}
    for kind, reader in {
        PCA: _components,
        IncrementalPCA: _components,
        TruncatedSVD: _projection,
        FastICA: _independent,
        FactorAnalysis: _factors,
        NeighborhoodComponentsAnalysis: _projection,
        GaussianRandomProjection: _projection,
        SparseRandomProjection: _projection,
        FeatureAgglomeration: _pooled,
        BernoulliRBM: _hidden,
        Nystroem: _nystroem,
        KernelPCA: _kernel_components,
        PolynomialFeatures: _polynomial,
        SplineTransformer: _splines,
    }.items()
}
