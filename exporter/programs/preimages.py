"""Finds which numbers of a column a test behind some operations sends left: ``f(x) <= t`` as a test of ``x`` itself.

A *chain* is what one column goes through, number by number: scaled, filled, clipped, … The numbers that go left are
searched for among all float32 numbers by bisection, with the interpreter's own arithmetic, so that the test of ``x``
decides as the test behind the chain does, to the last bit. A chain need not be monotone: it is cut into pieces that
are, and the numbers going left are put together from all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exporter.programs.float32 import LAST_ORDINAL, Float32s, Ordinals, at_ordinals
from exporter.programs.interpreter import apply_operation
from exporter.programs.program import (
    Affine,
    Bins,
    Clip,
    Curve,
    Fill,
    Flags,
    Interpolate,
    Lookup,
    OneHot,
    Operation,
    Scale,
)

Bools = NDArray[np.bool_]
Decide: TypeAlias = Callable[[Ordinals], Bools]

_RISING: Final = ("relu", "tanh", "logistic", "exp", "expm1")
_TURNING_AT_ZERO: Final = ("square", "abs", "log", "sqrt")  # left of zero, log and sqrt are NaN
# A range of more float32 numbers than there are needs so many halvings at most.
_HALVINGS: Final = 34
# How many neighbours on each side of a boundary must decide as the boundary says.
_CHECKED: Final = 8


@dataclass(frozen=True, slots=True)
class Preimages:
    """For each of some thresholds, which numbers go left.

    Attributes:
        is_exact: whether one comparison says it; the other arrays hold nothing where it is False.
        boundary: ``x <= boundary`` goes left, or right where `is_swapped`; infinite: all go there.
        is_swapped: whether ``x <= boundary`` goes right.
    """

    is_exact: Bools
    boundary: Float32s
    is_swapped: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Operations of one column each, one behind the other.

    Attributes:
        steps: operations whose parts are those of this one column.
        pieces: ``(n, 2)``: first and last ordinal of stretches that cover all numbers; on each the chain rises or
            falls weakly, or is NaN throughout.
    """

    steps: tuple[Operation, ...]
    pieces: Ordinals

    def __call__(self, values: Float32s) -> Float32s:
        """Return what the chain makes of numbers ``(n,) float32``."""
        vector = np.asarray(values, dtype=np.float32).reshape(-1, 1)
        with np.errstate(all="ignore"):
            for step in self.steps:
                vector = apply_operation(step, vector)
        return np.asarray(vector[:, 0], dtype=np.float32)

    def then(self, operation: Operation, column: int) -> "Chain | None":
        """Return the chain with column ``column`` of one more operation, or None for one that cannot be searched."""
        step = _one_column(operation, column)
        cuts = None if step is None else _cuts_of(step)
        if step is None or cuts is None:
            return None
        return Chain((*self.steps, step), _cut(self, cuts))

    def preimages(self, thresholds: Float32s, *, missing_left: bool) -> Preimages:
        """Search for the numbers that ``f(x) <= threshold`` sends left; ``missing_left`` says where f(x) = NaN goes."""
        starts, ends = [], []
        for first, last in self.pieces.tolist():
            start, end = self._stretch(first, last, thresholds, missing_left=missing_left)
            starts.append(start)
            ends.append(end)
        return self._one_comparison(np.array(starts), np.array(ends), thresholds, missing_left=missing_left)

    def _stretch(self, first: int, last: int, thresholds: Float32s, *, missing_left: bool) -> tuple[Ordinals, Ordinals]:
        """Return the first and last ordinal of a piece that go left, by threshold; last < first: none."""
        at_first, at_last = self(at_ordinals(np.array([first, last]))).tolist()
        n = len(thresholds)
        firsts, lasts = np.full(n, first), np.full(n, last)
        if np.isnan(at_first):
            return firsts, lasts if missing_left else firsts - 1
        if at_first == at_last:
            return firsts, np.where(at_first <= thresholds, last, first - 1)
        is_rising = at_first < at_last

        def stays(ordinals: Ordinals) -> Bools:
            goes_left = self(at_ordinals(ordinals)) <= thresholds
            return goes_left if is_rising else ~goes_left

        boundary = last_true(stays, firsts, lasts)
        return (firsts, boundary) if is_rising else (boundary + 1, lasts)

    def _one_comparison(
        self, starts: Ordinals, ends: Ordinals, thresholds: Float32s, *, missing_left: bool
    ) -> Preimages:
        sizes = np.maximum(ends - starts + 1, 0)
        start = np.where(sizes > 0, starts, LAST_ORDINAL + 1).min(axis=0)
        end = np.where(sizes > 0, ends, -LAST_ORDINAL - 1).max(axis=0)
        is_empty = end < start
        is_whole = ~is_empty & (sizes.sum(axis=0) == end - start + 1)
        is_prefix = is_whole & (start == -LAST_ORDINAL)
        is_suffix = is_empty | (is_whole & (end == LAST_ORDINAL) & ~is_prefix)
        boundary = np.where(is_empty, LAST_ORDINAL, np.where(is_prefix, end, start - 1))
        boundary = np.where(is_prefix | is_suffix, boundary, 0)
        is_exact = (is_prefix | is_suffix) & self._is_checked(
            boundary, is_suffix, thresholds, missing_left=missing_left
        )
        return Preimages(is_exact, at_ordinals(boundary), is_suffix)

    def _is_checked(self, boundary: Ordinals, is_swapped: Bools, thresholds: Float32s, *, missing_left: bool) -> Bools:
        """Return whether the neighbours of each boundary decide as it says: no arithmetic is trusted to be monotone."""
        is_right = np.ones(len(boundary), dtype=bool)
        for distance in range(-_CHECKED, _CHECKED + 1):
            ordinals = np.clip(boundary + distance, -LAST_ORDINAL, LAST_ORDINAL)
            values = self(at_ordinals(ordinals))
            goes_left = np.where(np.isnan(values), missing_left, values <= thresholds)
            is_right &= goes_left == ((ordinals <= boundary) ^ is_swapped)
        return is_right


IDENTITY: Final = Chain((), np.array([[-LAST_ORDINAL, LAST_ORDINAL]]))


def last_true(decide: Decide, first: Ordinals, last: Ordinals) -> Ordinals:
    """Return the last ordinal, from ``first`` to ``last``, up to which ``decide`` says yes; ``first - 1`` for none."""
    low, high = first - 1, last.copy()
    for _ in range(_HALVINGS):
        if (low >= high).all():
            break
        middle = (low + high + 1) // 2
        # Where low meets high there is nothing left to ask; the answer at high is then not used.
        yes = decide(middle) | (low >= high)
        low, high = np.where(yes, middle, low), np.where(yes, high, middle - 1)
    return low


def _one_column(operation: Operation, column: int) -> Operation | None:  # noqa: PLR0911 - one line an operation
    """Return the operation of one column, of a vector of one column; None for operations that mix columns."""
    at = slice(column, column + 1)
    match operation:
        case Fill():
            return replace(operation, of=0, values=operation.values[at])
        case Scale():
            return replace(operation, of=0, means=operation.means[at], scales=operation.scales[at])
        case Affine():
            return replace(operation, of=0, factors=operation.factors[at], offsets=operation.offsets[at])
        case Clip():
            return replace(operation, of=0, low=operation.low[at], high=operation.high[at])
        case Bins():
            return replace(operation, of=0, edges=operation.edges[at])
        case Interpolate():
            return replace(operation, of=0, xs=operation.xs[at], ys=operation.ys[at])
        case OneHot():
            return replace(operation, of=0, groups=operation.groups[at])
        case Flags() | Curve() | Lookup():
            return replace(operation, of=0)
        case _:
            return None


def _cuts_of(step: Operation) -> list[float] | None:  # noqa: C901, PLR0911 - as above
    """Return the numbers at which a step of one column may turn or jump; None for a step that cannot be searched."""
    match step:
        case Scale(_, means, scales):
            return [] if np.isfinite(means[0]) and np.isfinite(scales[0]) and scales[0] != 0 else None
        case Affine(_, factors, offsets):
            return [] if np.isfinite(offsets[0]) and np.isfinite(factors[0]) and factors[0] != 0 else None
        case Clip(_, low, high):
            return None if np.isnan(low[0]) or np.isnan(high[0]) else []
        case Bins():
            return []
        case Curve(_, kind) if kind in _RISING:
            return []
        case Curve(_, kind) if kind in _TURNING_AT_ZERO:
            return [0.0]
        case Curve(_, "log1p"):  # left of -1 it is NaN
            return [-1.0]
        case Fill(_, marker) | Flags(_, marker):
            return _numbers(marker)
        case OneHot(_, groups):
            return _numbers(*groups[0])
        case Lookup(_, keys):
            return _numbers(*keys)
        case Interpolate(_, xs):
            return _numbers(*xs[0].tolist())
        case _:
            # The reciprocal tells the two zeros apart, which have one ordinal.
            return None


def _numbers(*values: float) -> list[float]:
    return [value for value in values if not np.isnan(value)]


def _cut(chain: Chain, cuts: list[float]) -> Ordinals:
    """Return the pieces of a chain, cut before and behind the numbers that it makes ``cuts`` of."""
    if not cuts:
        return chain.pieces
    values = np.unique(np.array(cuts, dtype=np.float32))
    pieces: list[Ordinals] = []
    for first, last in chain.pieces.tolist():
        at_first, at_last = chain(at_ordinals(np.array([first, last]))).tolist()
        if np.isnan(at_first) or at_first == at_last:
            pieces.append(np.array([[first, last]]))
            continue
        is_rising = at_first < at_last
        ends = [
            last_true(decide, *_whole(first, last, values)) for decide in _sides(chain, values, is_rising=is_rising)
        ]
        inner = np.unique(np.concatenate(ends))
        inner = inner[(inner >= first) & (inner < last)]
        pieces.append(np.stack([np.r_[first, inner + 1], np.r_[inner, last]], axis=1))
    return np.concatenate(pieces)


def _whole(first: int, last: int, values: Float32s) -> tuple[Ordinals, Ordinals]:
    return np.full(len(values), first), np.full(len(values), last)


def _sides(chain: Chain, values: Float32s, *, is_rising: bool) -> tuple[Decide, Decide]:
    """Return what says yes up to the last number before each value, and up to the last number of it."""
    if is_rising:
        return (
            lambda ordinals: chain(at_ordinals(ordinals)) < values,
            lambda ordinals: chain(at_ordinals(ordinals)) <= values,
        )
    return (
        lambda ordinals: chain(at_ordinals(ordinals)) > values,
        lambda ordinals: chain(at_ordinals(ordinals)) >= values,
    )
