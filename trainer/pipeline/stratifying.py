"""Cuts rows into blocks with about the same share of every label (of values: of every tenth of them)."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from trainer.errors import DataError

_LEVELS: Final = 10
_LEAST_ROWS_OF_A_LEVEL: Final = 5


def strata_of(truth: NDArray[np.float64], *, is_labels: bool, n_blocks: int) -> NDArray[np.int64]:
    """Return the stratum of each row, ``(n,) int64``: its label, or its place among the values in tenths or coarser."""
    if is_labels:
        return truth.astype(np.int64)
    levels = max(1, min(_LEVELS, len(truth) // (n_blocks * _LEAST_ROWS_OF_A_LEVEL)))
    ranks = np.argsort(np.argsort(truth, kind="stable"), kind="stable")
    return (ranks * levels // max(len(truth), 1)).astype(np.int64)


def stratified_blocks(strata: NDArray[np.int64], n_blocks: int, holdout: float) -> NDArray[np.int64]:
    """Return the block of each row, ``(n,) int64``, `n_blocks` for those that are held out.

    Rows stand in the order of time. Those of each stratum are cut in that order, its latest share held out: neighbours
    resemble each other, and drawn by chance they would train and judge at once.

    Raises:
        DataError: a stratum has too few rows to be in every block.
    """
    _verify_enough(strata, n_blocks, holdout)
    block_of = np.zeros(len(strata), dtype=np.int64)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        n_search = _searched(len(rows), holdout)
        block_of[rows[:n_search]] = np.arange(n_search) * n_blocks // n_search
        block_of[rows[n_search:]] = n_blocks
    return block_of


def stratified_blocks_of_entities(
    strata: NDArray[np.int64], entity: NDArray[np.int64], n_blocks: int
) -> NDArray[np.int64]:
    """Put whole entities together so that blocks have about the same share of every stratum, ``(n,) int64``.

    Raises:
        DataError: fewer than two entities, or a stratum has too few rows to be in every block.
    """
    n_entities = len(np.unique(entity))
    if n_entities < 2:  # noqa: PLR2004 - one trains, one judges
        raise DataError(
            "key 'training.split': 'stratified' never cuts an entity in two, and there is one alone; take 'time', more "
            "rows, or 'data.entity' out"
        )
    _verify_enough(strata, min(n_blocks, n_entities), 0.0)
    folds = StratifiedGroupKFold(min(n_blocks, n_entities))
    block_of = np.zeros(len(strata), dtype=np.int64)
    for block, (_, judged) in enumerate(folds.split(strata.reshape(-1, 1), strata, entity)):
        block_of[judged] = block
    _, dense = np.unique(block_of, return_inverse=True)
    return dense.astype(np.int64)


def _searched(n_rows: int, holdout: float) -> int:
    """Return how many rows of a stratum are not held out; of each at least one is, where any are."""
    return min(round(n_rows * (1 - holdout)), n_rows - 1) if holdout else n_rows


def _verify_enough(strata: NDArray[np.int64], n_blocks: int, holdout: float) -> None:
    least = int(np.unique(strata, return_counts=True)[1].min())
    if _searched(least, holdout) < n_blocks:
        enough = next(n for n in range(n_blocks, 100 * n_blocks) if _searched(n, holdout) >= n_blocks)
        raise DataError(
            f"key 'training.split': 'stratified' puts every label into each of {n_blocks} blocks, but one has only "
            f"{least} rows; lower training.blocks, or give at least {enough}"
        )
