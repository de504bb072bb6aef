"""Compares programs with the models that they were read from, on real rows and on rows around their thresholds."""

from functools import cache

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from edge_agent.bundle import Feature
from exporter.models.model import Rows
from exporter.programs.interpreter import run_program, trace_program
from exporter.programs.program import Program, Trees
from exporter.programs.thresholds import threshold_rows
from exporter.reading.models import READERS
from exporter.reading.reading import Reading

LOADERS = {"digits": load_digits, "cancer": load_breast_cancer, "diabetes": load_diabetes, "wine": load_wine}
CLOSE = 1e-6
# Probabilities closer than this in float64 decide by the order of a sum.
TIE = 1e-6


@cache
def data(name: str) -> tuple[Rows, np.ndarray]:
    rows, truth = LOADERS[name](return_X_y=True)
    return rows.astype(np.float32), truth


def with_gaps(rows: Rows, share: float = 0.1) -> Rows:
    gappy = rows.copy()
    gappy[np.random.default_rng(0).random(rows.shape) < share] = np.nan
    return gappy


def read(estimator, n_features: int, response) -> Program:
    features = tuple(Feature(f"f{i}") for i in range(n_features))
    reading = Reading(features, READERS)
    return reading.builder.build(reading.read("model", estimator, 0, response))


def around(program: Program, rows: Rows, limit: int, *, missing: bool = False) -> Rows:
    """Return the rows themselves and rows around the program's thresholds."""
    may_miss = frozenset(range(rows.shape[1])) if missing else frozenset()
    return np.concatenate([rows, threshold_rows(program, rows, np.random.default_rng(0), limit, may_miss)])


def answers(estimator, rows: Rows, response) -> np.ndarray:
    method = {"probabilities": "predict_proba", "decision": "decision_function", "value": "predict"}[response]
    return np.asarray(getattr(estimator, method)(rows), dtype=np.float64).reshape(len(rows), -1)


def assert_same(program: Program, estimator, rows: Rows, response) -> None:
    """Assert equal answers, 1e-6 of their size at most, and equal labels but for ties."""
    expected, got = answers(estimator, rows, response), run_program(program, rows).astype(np.float64)
    scale = np.maximum(1.0, np.abs(expected))
    assert np.max(np.abs(got - expected) / scale) <= CLOSE
    if response == "probabilities":
        best = np.sort(expected, axis=1)
        is_clear = best[:, -1] - best[:, -2] > TIE
        assert np.array_equal(got.argmax(axis=1)[is_clear], expected.argmax(axis=1)[is_clear])


def scores_of(program: Program, rows: Rows) -> np.ndarray:
    """Return what the program's one ensemble answers in float64, before it is rounded to float32."""
    (node,) = [node for node in program.nodes if isinstance(node.operation, Trees)]
    assert isinstance(node.operation, Trees)
    return node.operation.ensemble.score(trace_program(program, rows)[node.operation.of])
