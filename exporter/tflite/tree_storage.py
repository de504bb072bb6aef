"""Chooses the numbers that the nodes of a tree walk are stored as: exactly, or in the fewest bytes; no file format.

A node's *test* is its threshold; at a leaf, which tests nothing, it is the leaf's value, or its number among the
distinct leaves. Small storage rounds no path: where that saves bytes, a threshold becomes its rank among all thresholds
of the ensemble, and the row's numbers are ranked before the walk. Only leaves are rounded, to int16.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exporter.tflite.tree_walk import TreeWalk

Floats = NDArray[np.float64]
Numbers = NDArray[np.float32] | NDArray[np.int16] | NDArray[np.int8]

_INT8, _INT16 = np.iinfo(np.int8), np.iinfo(np.int16)
# One operator, its output and its share of the tables in a TFLite file.
_OPERATOR_BYTES: Final = 64
_RANK_TYPES: Final[tuple[type[np.int8 | np.int16], ...]] = (np.int8, np.int16)


@dataclass(frozen=True, slots=True)
class StoredTrees:
    """How an ensemble is stored.

    Attributes:
        walk: what is stored.
        test: ``(n_nodes,)``: of each node.
        boundaries: ascending; a number of the row becomes how many of them are not above it. None: it stays.
        leaves: ``(n, width)`` that tests of leaves are numbers of; None: they are values.
        first: test of the leaf number 0.
        scale: what a stored leaf is multiplied by; None: leaves are float32.
        error: greatest difference that rounding the leaves makes to an answer, before it is divided.
    """

    walk: TreeWalk
    test: Numbers
    boundaries: NDArray[np.float32] | None
    leaves: Numbers | None
    first: int
    scale: float | None
    error: float

    @property
    def size_bytes(self) -> int:
        """Bytes of what `small_storage` chooses between; ranks and rounded leaves need more operators in a file."""
        parts: tuple[NDArray[Any] | None, ...] = (self.test, self.boundaries, self.leaves)
        n_operators = (self.boundaries is not None) * (self.walk.depth + 2) + 3 * (self.scale is not None)
        return sum(part.nbytes for part in parts if part is not None) + _OPERATOR_BYTES * n_operators


def exact_storage(walk: TreeWalk) -> StoredTrees:
    """Store thresholds and leaves as float32."""
    if walk.leaves.shape[1] == 1:
        test = np.where(walk.leaf < 0, walk.threshold, walk.leaves[walk.leaf, 0])
        return StoredTrees(walk, test.astype(np.float32), None, None, 0, None, 0.0)
    test = np.where(walk.leaf < 0, walk.threshold, walk.leaf)
    return StoredTrees(walk, test.astype(np.float32), None, walk.leaves.astype(np.float32), 0, None, 0.0)


def small_storage(walk: TreeWalk) -> StoredTrees:
    """Store in the fewest bytes, with the same paths and leaves in int16."""
    return min(_candidates(walk), key=lambda stored: stored.size_bytes)


def smallest_integers(values: NDArray[np.int64]) -> NDArray[Any]:
    """Return numbers from 0 on in the smallest type that TFLite gathers."""
    for dtype in (np.uint8, np.int16):
        if values.max() <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values.astype(np.int32)


def _candidates(walk: TreeWalk) -> Iterator[StoredTrees]:
    is_branch = walk.leaf < 0
    n_leaves, width = walk.leaves.shape
    scale = float(np.max(np.abs(walk.leaves))) / _INT16.max or 1.0
    rounded = np.round(walk.leaves / scale).astype(np.int16)
    error = float(np.max(np.abs(rounded * scale - walk.leaves))) * walk.roots.shape[1]
    exact = exact_storage(walk)
    yield exact
    if width > 1:
        yield StoredTrees(walk, exact.test, None, rounded, 0, scale, error)
    # x is above t exactly if it is not below the next float32: so many boundaries are not above x.
    finite = walk.threshold[is_branch]
    finite = finite[finite < np.inf]
    with np.errstate(over="ignore"):  # above the greatest float32 is infinity
        boundaries = np.unique(np.nextafter(finite, np.float32(np.inf)))
        ranks = np.searchsorted(boundaries, np.nextafter(walk.threshold, np.float32(np.inf)))
    # Nothing is above infinity.
    ranks[walk.threshold == np.inf] = len(boundaries)
    for dtype in _RANK_TYPES:
        limits = np.iinfo(dtype)
        if len(boundaries) > limits.max:
            continue
        if width == 1 and dtype is np.int16:
            test = np.where(is_branch, ranks, rounded[walk.leaf, 0]).astype(dtype)
            yield StoredTrees(walk, test, boundaries, None, 0, scale, error)
        if n_leaves <= limits.max - limits.min + 1:
            first = int(limits.min)
            test = np.where(is_branch, ranks, walk.leaf + first).astype(dtype)
            yield StoredTrees(walk, test, boundaries, rounded, first, scale, error)
