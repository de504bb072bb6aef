"""What a monitor needs to estimate quality without labels, calibrated on rows that nobody was trained on.

A simple second model (multinomial logistic or ridge regression) gives one bit or distance of agreement; together with
the confidence it makes the bins of ``TelemetryWindow.agreement``. Its agreement is taken out of fold, block by
contiguous block: a second model that has seen the rows agrees too well.

Bins with few rows are shrunk towards their neighbours: ``(sum + PRIOR_ROWS * prior) / (rows + PRIOR_ROWS)``, where the
prior is the mean over the rows of the other bins of the same half (the second model agrees, or does not; regression has
one half), each bin at distance d weighted by NEIGHBOUR ** d. An empty bin thus says what its nearest neighbours say, so
that rows which drift to a confidence never seen in training are not taken for good ones; a whole half without rows
says the mean over all rows.
"""

import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from broker.messages import CONFIDENCE_BINS
from edge_agent.bundle import Estimation, LinearModel
from exporter.bundles.references import bins_of
from exporter.models.metrics import labels_of
from exporter.models.model import Evidence, FittedModel, Rows, Truth
from exporter.threads import one_thread

PRIOR_ROWS: Final = 10
NEIGHBOUR: Final = 0.25
DISAGREEMENT_BINS: Final = 10
# The second model is simple: more rows than these, evenly spaced, teach it nothing.
_MAX_ROWS: Final = 8000
_ITERATIONS: Final = 200
_NEVER: Final = -1e3

Floats = NDArray[np.float64]


def estimation_of(evidence: Evidence, model: FittedModel) -> Estimation:
    """Fit the second model on all rows, and calibrate quality by agreement on rows that it did not see."""
    # The matrices are small: on two cores BLAS spends up to ten times as long on its threads as on the numbers.
    with one_thread("blas"):
        second = fit_second_model(evidence.rows, evidence.truth, model)
        answers = _out_of_fold(evidence, model)
    if model.task == "classification":
        return _by_confidence(evidence, second, answers)
    return _by_disagreement(evidence, second, answers)


def fit_second_model(rows: Rows, truth: Truth, model: FittedModel) -> LinearModel:
    """Fit a linear model over standardised features; NaN counts as the mean."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MAX_ROWS)).astype(np.int64))
    values, chosen = rows[places].astype(np.float64), np.asarray(truth, dtype=np.float64)[places]
    is_missing = np.isnan(values)
    n_present = np.maximum(np.sum(~is_missing, axis=0), 1)
    means = np.sum(np.where(is_missing, 0.0, values), axis=0) / n_present
    centred = np.where(is_missing, 0.0, values - means)
    scales = np.sqrt(np.sum(centred**2, axis=0) / n_present)
    # Against the size of the values, not zero: a constant in float32 has a spread of rounding errors.
    scales = np.where(scales > 1e-7 * np.maximum(np.abs(means), 1e-30), scales, 1.0)
    fit = _fit_labels if model.task == "classification" else _fit_values
    coefficients, intercepts = fit(centred / scales, chosen, model.n_outputs)
    return LinearModel(
        tuple(means.tolist()),
        tuple(scales.tolist()),
        tuple(tuple(row) for row in coefficients.tolist()),
        tuple(intercepts.tolist()),
    )


def second_answers(second: LinearModel, rows: Rows) -> Floats:
    """Score rows with a second model as devices do; ``(n, n_features)`` to ``(n, n_outputs)``."""
    standardised = (rows.astype(np.float64) - np.array(second.means)) / np.array(second.scales)
    answers: Floats = np.nan_to_num(standardised) @ np.array(second.coefficients).T + np.array(second.intercepts)
    return answers


def _fit_labels(values: Floats, truth: Floats, n_outputs: int) -> tuple[Floats, Floats]:
    coefficients, intercepts = np.zeros((n_outputs, values.shape[1])), np.full(n_outputs, _NEVER)
    labels = np.unique(truth).astype(np.int64)
    if len(labels) == 1:
        intercepts[labels] = 0.0
        return coefficients, intercepts
    classifier = LogisticRegression(max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near the optimum is near enough
        classifier.fit(values, truth)
    weights, biases = classifier.coef_, classifier.intercept_
    if len(labels) == 2:  # noqa: PLR2004 - one logit for two labels
        weights, biases = np.vstack([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    coefficients[labels], intercepts[labels] = weights, biases
    return coefficients, intercepts


def _fit_values(values: Floats, truth: Floats, n_outputs: int) -> tuple[Floats, Floats]:
    regressor = Ridge(alpha=1.0).fit(values, truth)
    return regressor.coef_.reshape(n_outputs, -1), np.asarray(regressor.intercept_).reshape(n_outputs)


def _out_of_fold(evidence: Evidence, model: FittedModel) -> Floats:
    """Score each block by a second model of the other blocks; a single block is cut into two."""
    block_of = evidence.block_of
    if len(evidence.blocks) == 1:
        block_of = (np.arange(len(evidence.rows)) >= len(evidence.rows) / 2).astype(np.int64)
    answers = np.zeros((len(evidence.rows), model.n_outputs))
    for block in np.unique(block_of):
        inside = block_of == block
        outside = ~inside if not inside.all() else inside
        second = fit_second_model(evidence.rows[outside], evidence.truth[outside], model)
        answers[inside] = second_answers(second, evidence.rows[inside])
    return answers


def _by_confidence(evidence: Evidence, second: LinearModel, answers: Floats) -> Estimation:
    labels = labels_of(evidence.predictions)
    confidence = np.clip(np.max(evidence.predictions, axis=1), 0.0, 1.0)
    agrees = (labels_of(answers) == labels).astype(np.int64)
    places = np.minimum((confidence * CONFIDENCE_BINS).astype(np.int64), CONFIDENCE_BINS - 1)
    is_right = (labels == evidence.truth).astype(np.float64)
    halves = np.repeat([0, 1], CONFIDENCE_BINS)
    quality, rows = _calibrate(agrees * CONFIDENCE_BINS + places, is_right, halves)
    return Estimation(second, (), quality, rows, float(np.mean(is_right)), _by_block(evidence, is_right))


def _by_disagreement(evidence: Evidence, second: LinearModel, answers: Floats) -> Estimation:
    errors = np.abs(evidence.predictions[:, 0] - evidence.truth)
    distance = np.abs(evidence.predictions[:, 0] - answers[:, 0])
    quantiles = np.quantile(distance, np.arange(1, DISAGREEMENT_BINS) / DISAGREEMENT_BINS)
    edges = tuple(np.unique(quantiles).tolist())
    n_bins = len(edges) + 1
    quality, rows = _calibrate(bins_of(distance, edges), errors, np.zeros(n_bins, dtype=np.int64))
    return Estimation(second, edges, quality, rows, float(np.mean(errors)), _by_block(evidence, errors))


def _calibrate(
    places: NDArray[np.int64], values: Floats, halves: NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return the shrunk mean of the values in each bin, and how many there are; neighbours are within a half."""
    n_bins = len(halves)
    rows = np.bincount(places, minlength=n_bins)
    sums = np.bincount(places, weights=values, minlength=n_bins)
    distance = np.abs(np.subtract.outer(np.arange(n_bins), np.arange(n_bins)))
    is_neighbour = (halves[:, np.newaxis] == halves) & (distance > 0)
    weights = np.where(is_neighbour, NEIGHBOUR**distance, 0.0)
    n_near = weights @ rows
    priors = np.where(n_near > 0, weights @ sums / np.where(n_near > 0, n_near, 1.0), np.mean(values))
    quality = (sums + PRIOR_ROWS * priors) / (rows + PRIOR_ROWS)
    return tuple(quality.tolist()), tuple(rows.tolist())


def _by_block(evidence: Evidence, values: Floats) -> tuple[float, ...]:
    return tuple(float(np.mean(values[evidence.block_of == block])) for block in evidence.blocks)
