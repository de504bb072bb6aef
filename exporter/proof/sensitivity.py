"""Finds the features of a row that matter: those that move the original's answer most when they become usual."""

from typing import Final

import numpy as np

from exporter.errors import ModelError
from exporter.models.model import FittedModel, Rows
from exporter.proof.acceptance import categories_of
from exporter.proof.probes import answers_of

MOST: Final = 5


def matters_of(model: FittedModel, rows: Rows, usual: Rows) -> tuple[tuple[int, ...], ...]:
    """Return for each row the columns that matter, most first, at most 5.

    Args:
        model: the original; it answers every row once for each feature.
        rows: ``(n, n_features) float32``, few.
        usual: ``(n_features,)``: see `usual_row`.
    """
    n_features = rows.shape[1]
    changed = np.repeat(rows, n_features, axis=0)
    columns = np.tile(np.arange(n_features), len(rows))
    changed[np.arange(len(changed)), columns] = usual[columns]
    try:
        moved = answers_of(model, np.concatenate([rows, changed]))
    except ModelError:
        return ((),) * len(rows)  # a row that has no answer without this or that has no order of features
    before, after = moved[: len(rows)], moved[len(rows) :].reshape(len(rows), n_features, -1)
    effect = np.nan_to_num(np.abs(after - before[:, np.newaxis]).max(axis=2))
    # Where nothing moves the answer, what is missing or differs is told first.
    differs = ~np.equal(rows, usual)
    order = np.lexsort((np.broadcast_to(np.arange(n_features), effect.shape), ~differs, -effect), axis=1)
    return tuple(tuple(columns) for columns in order[:, :MOST].tolist())


def usual_row(model: FittedModel, rows: Rows) -> Rows:
    """Return the median of each feature, and the most frequent category; 0 where all are missing."""
    missing = np.isnan(rows)
    # Sorted, what is missing stands last.
    middle = np.maximum((~missing).sum(axis=0) - 1, 0) // 2
    usual: Rows = np.nan_to_num(np.sort(rows, axis=0)[middle, np.arange(rows.shape[1])])
    for column in categories_of(model.features):
        values, counts = np.unique(rows[~missing[:, column], column], return_counts=True)
        usual[column] = values[np.argmax(counts)] if len(values) else 0
    return usual
