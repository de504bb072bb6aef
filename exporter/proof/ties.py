"""Tells rows on which no float32 runtime can be held to the original's answer: the original itself wavers there.

Two kinds. Outputs whose best two are so close that the order of a sum decides. And inputs so close to a threshold or
a boundary that the original answers otherwise one or two float32 steps away: what a variant computes before it
compares (a scaler, a projection) is rounded by about as much.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from edge_agent.bundle import Task
from exporter.models.metrics import decisions_of
from exporter.models.model import FittedModel, Outputs, Rows
from exporter.proof.acceptance import categories_of
from exporter.proof.probes import answers_of

# Outputs closer than this decide by the order of a sum, which no two libraries share.
TIE_MARGIN: Final = 1e-5
# So many neighbours of a row are asked: half of them one step away, half two, in random directions.
_NEIGHBOURS: Final = 32
_MAX_ROWS: Final = 300

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

    def __init__(self, model: FittedModel, seed: int) -> None:
        """Ask ``model``, always about the same neighbours."""
        self._model = model
        self._seed = seed

    def among(self, rows: Rows, expected: Outputs, got: Outputs) -> Bools:
        """Tell for each row whether the original, a step or two away, answers as far off as the variant does.

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
        with threadpool_limits(1):
            answers = answers_of(self._model, near.reshape(-1, rows.shape[1])).reshape(len(asked), _NEIGHBOURS, -1)
        expected, got = expected[: len(asked)], np.nan_to_num(got[: len(asked)])
        moved = np.abs(answers - expected[:, np.newaxis]).max(axis=2).max(axis=1)
        is_tie = moved >= np.abs(got - expected).max(axis=1) / 2
        decided = decisions_of(self._model.task, got)
        around = decisions_of(self._model.task, answers.reshape(-1, answers.shape[2])).reshape(len(asked), -1)
        found[: len(asked)] = is_tie & (around == decided[:, np.newaxis]).any(axis=1)
        return found

    def _neighbours(self, rows: Rows) -> Rows:
        """Return neighbours of each row, ``(n, _NEIGHBOURS, n_features)``."""
        rng = np.random.default_rng(self._seed)
        directions = rng.integers(-1, 2, size=(len(rows), _NEIGHBOURS, rows.shape[1])).astype(np.float32)
        directions[:, :, categories_of(self._model.features)] = 0
        towards = np.where(directions > 0, np.float32(np.inf), np.float32(-np.inf))
        near = np.nextafter(rows[:, np.newaxis], towards)
        near[:, ::2] = np.nextafter(near[:, ::2], towards[:, ::2])
        moved: Rows = np.where(directions == 0, rows[:, np.newaxis], near)
        # Beyond the greatest number there is none.
        return np.clip(moved, -np.finfo(np.float32).max, np.finfo(np.float32).max)
