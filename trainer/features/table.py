"""The table that a run learns from: rows, truths, and which of them the fleet sent."""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

NO_ENTITY: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class RowTimes:
    """When rows were, and when their labels became known; NaN where that is not known.

    Attributes:
        at: ``(n_rows,) float64``: seconds of UTC, or whatever number orders the project's own rows.
        known: ``(n_rows,) float64``: on the same scale, not before `at`.
        series: ``(n_rows,) int64``: rows of one number follow each other: those of an entity, those of a device.
    """

    at: NDArray[np.float64]
    known: NDArray[np.float64]
    series: NDArray[np.int64]

    def of(self, index: NDArray[np.int64]) -> "RowTimes":
        """Return the times of some rows."""
        return RowTimes(self.at[index], self.known[index], self.series[index])


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
        times: of the rows; None where none has a time.
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
    times: RowTimes | None = None

    @property
    def is_judge(self) -> NDArray[np.bool_]:
        """Which rows of the files judge, ``(n_rows,) bool``."""
        place, n_own = np.arange(len(self.is_fleet)), int((~self.is_fleet).sum())
        return (place >= n_own - self.n_judge) & (place < n_own)


def fingerprint_of(  # noqa: PLR0913 - all that a table holds
    names: tuple[str, ...],
    labels: tuple[str, ...],
    rows: NDArray[np.float32],
    truth: NDArray[np.float64],
    is_fleet: NDArray[np.bool_],
    is_chosen: NDArray[np.bool_],
    entity: NDArray[np.int64],
    *,
    n_judge: int = 0,
    times: RowTimes | None = None,
) -> str:
    """Return the sha256 over the content of a table, in hex."""
    digest = hashlib.sha256(repr((names, labels, rows.shape)).encode())
    for array in (rows, truth, is_fleet, is_chosen, entity):
        digest.update(np.ascontiguousarray(array).tobytes())
    if n_judge:  # tables of before there were such rows keep their names
        digest.update(f"judge {n_judge}".encode())
    for array in () if times is None else (times.at, times.known, times.series):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def row_keys(rows: NDArray[np.float32], truth: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return a name for each row from its content, ``(n_rows,) uint64``: the same row in two runs has the same name."""
    joined = np.hstack([rows.astype(np.float64), truth.reshape(-1, 1)])
    # +0.0 and -0.0 are one value, and NaN has many bit patterns.
    joined = np.where(np.isnan(joined), np.nan, joined + 0.0)
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in joined)
    return np.frombuffer(b"".join(digests), dtype=np.uint64).copy()
