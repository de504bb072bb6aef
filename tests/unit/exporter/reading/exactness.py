"""Compares what a program computes with the estimator that it was read from."""

import warnings

import numpy as np

from edge_agent.bundle import Feature
from exporter.models.model import FittedModel
from exporter.models.trained_rows import gap_of
from exporter.programs.interpreter import run_program
from exporter.reading.models import READERS, read_model
from exporter.reading.reading import METHODS, Reading

TOLERANCE = 1e-5


def features_of(rows, texts=None):
    """Return features of float32, or categories where `texts` names them by column."""
    return tuple(
        Feature(f"f{i}", "category", categories=texts[i], on_missing="flag")
        if texts and i in texts
        else Feature(f"f{i}", on_missing="flag")
        for i in range(rows.shape[1])
    )


def program_of(estimator, rows, response="transform", texts=None):
    """Return the program of one response of an estimator."""
    reading = Reading(features_of(rows, texts), READERS, gap_of(estimator))
    return reading.builder.build(reading.read("model", estimator, 0, response))


def original_of(estimator, rows, response="transform"):
    """Return what the estimator itself answers, `(n, width)`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = getattr(estimator, METHODS[response])(rows)
    if response in {"label", "cluster"}:
        classes = estimator.classes_ if response == "label" else np.arange(answer.max() + 1)
        return (np.asarray(answer)[:, np.newaxis] == classes).astype(float)
    dense = answer.toarray() if hasattr(answer, "toarray") else np.asarray(answer)
    return dense.astype(np.float64).reshape(len(rows), -1)


def difference(got, expected):
    """Return the greatest difference, relative to the size of large numbers; NaN must meet NaN."""
    assert got.shape == expected.shape, (got.shape, expected.shape)
    assert np.array_equal(np.isnan(got), np.isnan(expected))
    known = np.isfinite(expected)
    assert np.array_equal(got[~known], expected[~known], equal_nan=True)
    scale = np.maximum(1.0, np.abs(expected[known]))
    return float(np.max(np.abs(got[known] - expected[known]) / scale, initial=0.0))


def assert_exact(estimator, rows, response="transform", *, tolerance=TOLERANCE, original=None):
    """Check that the program of a response answers as the estimator does."""
    rows = np.asarray(rows, dtype=np.float32)
    got = run_program(program_of(estimator, rows, response), rows)
    expected = original_of(estimator, rows if original is None else original, response)
    assert difference(got, expected) <= tolerance


def assert_model_exact(model: FittedModel, rows, *, tolerance=TOLERANCE):
    """Check that the program of a model answers as the model does."""
    rows = np.asarray(rows, dtype=np.float32)
    got = run_program(read_model(model), rows)
    assert difference(got, model.outputs(rows)) <= tolerance
