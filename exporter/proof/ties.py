"""Tells rows on which no float32 runtime can be held to the original's answer: the original itself wavers there.

Two kinds. Outputs whose best two are so close that the order of a sum decides. And inputs so close to a threshold or
a boundary that the original answers otherwise a few float32 steps away: what a variant computes before it compares (a
scaler, a projection, a sum over stored vectors) is rounded by about as much. A step is that of the feature's usual size
where its number is smaller: beside the other numbers that enter a sum, the own step of a number near 0 is nothing.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import Task
from exporter.models.metrics import decisions_of
from exporter.models.model import FittedModel, Outputs, Rows
from exporter.proof.acceptance import categories_of
from exporter.proof.probes import answers_of
from exporter.threads import one_thread

# Outputs closer than this decide by the order of a sum, which no two libraries share.
TIE_MARGIN: Final = 1e-5
# How far the neighbours of a row lie that are asked, in steps, each in a random direction: a millionth at most.
_DISTANCES: Final = np.repeat(np.array([1.0, 2.0, 4.0, 16.0]), 10)
# A number is usually as large as nine of ten.
_USUAL: Final = 90
_MAX_ROWS: Final = 300
_GREATEST: Final = float(np.finfo(np.float32).max)

Bools = NDArray[np.bool_]


def margins_of(task: Task, outputs: Outputs) -> NDArray[np.float64]:
    """Return how far each row is from another decision: the lead of the best output, or the distance from 0."""
    if task == "regression":
        return np.full(len(outputs), np.inf)
    if task == "anomaly":
        distance: NDArray[np.float64] = np.abs(outputs[:, 0])
        return distance
    best = np.partition(outputs, -2, axis=1)[:, -2:]
    margins: NDArray[np.float64] = best[:, 1] - best[:, 0]
    return margins


class StepTies:
    """Asks the original about the neighbours of rows on which a variant differs."""

    def __init__(self, model: FittedModel, seed: int, known: Rows | None = None) -> None:
        """Ask ``model``, always about the same neighbours; ``known`` rows tell how large a feature usually is."""
        self._model = model
        self._seed = seed
        self._usual = np.zeros(len(model.features)) if known is None else _usual_sizes(known)

    def among(self, rows: Rows, expected: Outputs, got: Outputs) -> Bools:
        """Tell for each row whether the original, a few steps away, answers as far off as the variant does.

        At most 300 rows are asked about; the others are no ties.

        Args:
            rows: ``(n, n_features) float32``.
            expected: the original's answers, ``(n, n_outputs)``.
            got: the variant's.
        """
        found = np.zeros(len(rows), dtype=bool)
        asked = rows[:_MAX_ROWS]
        if len(asked) == 0:
            return found
        near = self._neighbours(asked)
        with one_thread():
            answers = answers_of(self._model, near.reshape(-1, rows.shape[1])).reshape(len(asked), len(_DISTANCES), -1)
        expected, got = expected[: len(asked)], np.nan_to_num(got[: len(asked)])
        moved = np.abs(answers - expected[:, np.newaxis]).max(axis=2).max(axis=1)
        is_tie = moved >= np.abs(got - expected).max(axis=1) / 2
        decided = decisions_of(self._model.task, got)
        around = decisions_of(self._model.task, answers.reshape(-1, answers.shape[2])).reshape(len(asked), -1)
        found[: len(asked)] = is_tie & (around == decided[:, np.newaxis]).any(axis=1)
        return found

    def _neighbours(self, rows: Rows) -> Rows:
        """Return neighbours of each row, ``(n, len(_DISTANCES), n_features)``."""
        rng = np.random.default_rng(self._seed)
        directions = rng.integers(-1, 2, size=(len(rows), len(_DISTANCES), rows.shape[1]))
        directions[:, :, categories_of(self._model.features)] = 0
        exact = rows[:, np.newaxis].astype(np.float64)
        # Of the greatest number numpy has no step.
        size = np.clip(np.abs(exact), self._usual, _GREATEST / 2)
        step = np.spacing(size.astype(np.float32)).astype(np.float64)
        moved = exact + directions * _DISTANCES[:, np.newaxis] * step
        # Beyond the greatest number there is none.
        bounded: Rows = np.clip(moved, -_GREATEST, _GREATEST).astype(np.float32)
        return bounded


def _usual_sizes(rows: Rows) -> NDArray[np.float64]:
    sizes = np.where(np.isnan(rows), 0.0, np.abs(rows.astype(np.float64)))
    usual: NDArray[np.float64] = np.minimum(np.percentile(sizes, _USUAL, axis=0), _GREATEST / 2)
    return usual
