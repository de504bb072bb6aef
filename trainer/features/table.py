"""The table that a run learns from: rows, truths, and which of them the fleet sent."""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

NO_ENTITY: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class TrainingTable:
    """Rows in the order of time: first those of the project's files, then those of the fleet.

    Attributes:
        names: of the features.
        labels: classes in the order of the outputs; empty for regression.
        rows: ``(n_rows, n_features) float32``; NaN where missing, a category as its index.
        truth: ``(n_rows,) float64``: index of the label, or the value.
        is_fleet: ``(n_rows,) bool``: labelled by the fleet.
        is_chosen: ``(n_rows,) bool``: sent because the model in the field was unsure of it. Such rows are worth
            training on, but they are no fair sample to judge or describe by.
        entity: ``(n_rows,) int64``: number of the entity, in the order of their first rows; `NO_ENTITY` for rows of
            the fleet, and where the project names no entity.
        fingerprint: sha256 over all of the above, and `n_judge`.
        n_judge: so many rows of the files, the last of them, judge and are never trained on.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    rows: NDArray[np.float32]
    truth: NDArray[np.float64]
    is_fleet: NDArray[np.bool_]
    is_chosen: NDArray[np.bool_]
    entity: NDArray[np.int64]
    fingerprint: str
    n_judge: int = 0

    @property
    def is_judge(self) -> NDArray[np.bool_]:
        """Which rows of the files judge, ``(n_rows,) bool``."""
        place, n_own = np.arange(len(self.is_fleet)), int((~self.is_fleet).sum())
        return (place >= n_own - self.n_judge) & (place < n_own)


def fingerprint_of(
    names: tuple[str, ...],
    labels: tuple[str, ...],
    rows: NDArray[np.float32],
    truth: NDArray[np.float64],
    is_fleet: NDArray[np.bool_],
    is_chosen: NDArray[np.bool_],
    entity: NDArray[np.int64],
    n_judge: int = 0,
) -> str:
    """Return the sha256 over the content of a table, in hex."""
    digest = hashlib.sha256(repr((names, labels, rows.shape)).encode())
    for array in (rows, truth, is_fleet, is_chosen, entity):
        digest.update(np.ascontiguousarray(array).tobytes())
    if n_judge:  # tables of before there were such rows keep their names
        digest.update(f"judge {n_judge}".encode())
    return digest.hexdigest()


def row_keys(rows: NDArray[np.float32], truth: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return a name for each row from its content, ``(n_rows,) uint64``: the same row in two runs has the same name."""
    joined = np.hstack([rows.astype(np.float64), truth.reshape(-1, 1)])
    # +0.0 and -0.0 are one value, and NaN has many bit patterns.
    joined = np.where(np.isnan(joined), np.nan, joined + 0.0)
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in joined)
    return np.frombuffer(b"".join(digests), dtype=np.uint64).copy()
