"""Codes histograms: counts of a known total, in the cheapest of a few ways, which the writer chooses by measuring them.

- *same*: what the histogram of the same thing was before.
- *single*: all in one bin.
- *even*: as of numbers that fall into each bin with the same chance, which is what bins at quantiles are made for.
- *as before*: as of numbers that fall into each bin as often as those before did.
- *spread*: which bins are empty, and each other count for itself.

Every way is exact. The last count follows from the total.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final

from broker.entropy import (
    GREATEST_VARIANCE,
    VARIANCES,
    Chances,
    Coder,
    DamagedStreamError,
    Meter,
    code_integer,
    normal_table,
)

# What a histogram may cost more than usual by chance: about two standard deviations.
_NOT_UNUSUAL_BITS: Final = 4.0

# Codes counts, given coder, name, total, counts, and counts before.
Way = Callable[[Coder, str, int, Sequence[int], Sequence[int]], list[int]]


def code_histogram(
    coder: Coder, chances: Chances, name: str, total: int, counts: Sequence[int], before: Sequence[int]
) -> list[int]:
    """Code counts whose number and total are known.

    Args:
        coder: writes or reads.
        chances: of the coder, to measure with.
        name: of what is counted; histograms of one name learn from each other.
        total: sum of the counts.
        counts: what is written; for a reader, as many zeros.
        before: counts of the same thing, for as many bins; empty: none are known.

    Raises:
        DamagedStreamError: what is read does not add up.
    """
    n_bins = len(counts)
    if n_bins == 0 or total == 0:
        return [0] * n_bins
    ways: list[tuple[str, Way]] = [("even", _code_even)]
    if sum(before) == total:
        ways.append(("same", _code_same))
    ways.append(("single", _code_single))
    if any(before):
        ways.append(("as before", _code_as_before))
    ways.append(("spread", _code_spread))
    # A reader has nothing to choose.
    best = _best_of(chances, ways, name, total, counts, before) if any(counts) else len(ways) - 1
    for place, (way, code) in enumerate(ways):
        if place == len(ways) - 1 or coder.flag(f"{name} {way}", place == best):
            return code(coder, name, total, counts, before)
    raise AssertionError


def _best_of(
    chances: Chances,
    ways: Sequence[tuple[str, Way]],
    name: str,
    total: int,
    counts: Sequence[int],
    before: Sequence[int],
) -> int:
    names = [way for way, _ in ways]
    if "same" in names and list(counts) == list(before):
        return names.index("same")
    if max(counts) == total:
        return names.index("single")
    costs: dict[int, float] = {}
    for place, (way, code) in enumerate(ways):
        if way in {"same", "single"}:
            continue
        meter = Meter(chances)
        for at, other in enumerate(names[: min(place + 1, len(ways) - 1)]):
            meter.flag(f"{name} {other}", at == place)
        code(meter, name, total, counts, before)
        costs[place] = meter.spent
        if way == "even" and meter.spent < _usual_bits(len(counts), total) + _NOT_UNUSUAL_BITS:
            # As cheap as anything can be: the others need not be measured, which is most of the work.
            break
    return min(costs, key=costs.__getitem__)


def _usual_bits(n_bins: int, total: int) -> float:
    """Return the entropy of a total of numbers that fall into each bin with the same chance, about."""
    variance = max(total / n_bins, 1.0)
    return (n_bins - 1) * 0.5 * math.log2(2 * math.pi * math.e * variance) - 0.5 * math.log2(n_bins)


def _code_same(coder: Coder, name: str, total: int, counts: Sequence[int], before: Sequence[int]) -> list[int]:  # noqa: ARG001
    return list(before)


def _code_single(coder: Coder, name: str, total: int, counts: Sequence[int], before: Sequence[int]) -> list[int]:  # noqa: ARG001
    n_bins = len(counts)
    place = coder.bits(next((at for at, count in enumerate(counts) if count), 0), (n_bins - 1).bit_length())
    if place >= n_bins:
        raise DamagedStreamError("a bin that is not there")
    return [total if at == place else 0 for at in range(n_bins)]


def _code_even(coder: Coder, name: str, total: int, counts: Sequence[int], before: Sequence[int]) -> list[int]:  # noqa: ARG001
    coded: list[int] = []
    rest, n_bins = total, len(counts)
    for at, count in enumerate(counts[:-1]):
        left = n_bins - at
        number = _code_near(coder, rest // left, 16 * rest * (left - 1) // (left * left), count)
        rest = _rest_of(rest, number)
        coded.append(number)
    coded.append(rest)
    return coded


def _code_as_before(coder: Coder, name: str, total: int, counts: Sequence[int], before: Sequence[int]) -> list[int]:  # noqa: ARG001
    coded: list[int] = []
    rest, n_bins, rest_before = total, len(counts), sum(before)
    for at, count in enumerate(counts[:-1]):
        # Half a row more in each bin: what was not seen yet may come.
        part, whole = 2 * before[at] + 1, 2 * rest_before + n_bins - at
        variance_16 = 16 * rest * part * (whole - part) // (whole * whole)
        # The chance is known from as many rows only.
        variance_16 += variance_16 * rest // max(rest_before, 1)
        number = _code_near(coder, rest * part // whole, variance_16, count)
        rest_before -= before[at]
        rest = _rest_of(rest, number)
        coded.append(number)
    coded.append(rest)
    return coded


def _code_spread(coder: Coder, name: str, total: int, counts: Sequence[int], before: Sequence[int]) -> list[int]:  # noqa: ARG001
    coded: list[int] = []
    rest, n_bins = total, len(counts)
    was_empty = False
    for at, count in enumerate(counts[:-1]):
        if rest == 0:
            break
        was_empty = coder.flag(f"{name} empty after {was_empty}", count == 0)
        number = 0
        if not was_empty:
            usual = (rest // (n_bins - at)).bit_length()
            number = 1 + code_integer(coder, f"{name} of {usual}", max(count - 1, 0))
        rest = _rest_of(rest, number)
        coded.append(number)
    coded += [0] * (n_bins - 1 - len(coded))
    coded.append(rest)
    return coded


def _rest_of(rest: int, number: int) -> int:
    if not 0 <= number <= rest:
        raise DamagedStreamError("counts that do not add up to their total")
    return rest - number


_ESCAPE: Final = "far away"


def _code_near(coder: Coder, mean: int, variance_16: int, number: int) -> int:
    """Code a number that is expected near a mean."""
    shift = 0
    while variance_16 > GREATEST_VARIANCE:
        variance_16 >>= 2
        shift += 1
    table = normal_table(min(bisect_left(VARIANCES, variance_16), len(VARIANCES) - 1))
    radius, distance = table.radius, number - mean
    high = distance >> shift
    outside = 2 * radius + 1
    symbol = coder.symbol(table, high + radius if -radius <= high <= radius else outside)
    if symbol == outside:
        is_below = coder.flag(f"{_ESCAPE} below", high < 0)
        beyond = code_integer(coder, _ESCAPE, max(abs(high) - radius - 1, 0))
        high = -(beyond + radius + 1) if is_below else beyond + radius + 1
    else:
        high = symbol - radius
    return mean + (high << shift) + (coder.bits(distance & (1 << shift) - 1, shift) if shift else 0)
