"""Which trial is taken, and which ones are not beaten in quality, size and latency at once: pure decisions."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

ChoiceRule = Literal["best", "smaller"]


class Contender(Struct, frozen=True):
    """What one whole trial measured.

    Attributes:
        quality: on all judged rows, higher is better.
        blocks: quality of each block.
        size_bytes, latency_us: estimated; None where the model has no form for devices.
    """

    number: int
    family: str
    quality: float
    blocks: tuple[float, ...]
    size_bytes: int | None
    latency_us: float | None


class Budget(Struct, frozen=True):
    """What devices can take; None: not judged."""

    max_size_bytes: int
    max_latency_us: float | None


def pareto_front(contenders: Sequence[Contender]) -> tuple[Contender, ...]:
    """Return those that no other one matches in everything and beats in something, the best quality first.

    Of equals the first is kept. Those of unknown cost are left out.
    """
    known = [one for one in contenders if one.size_bytes is not None and one.latency_us is not None]
    ordered = sorted(known, key=lambda one: (-one.quality, one.size_bytes, one.latency_us, one.number))
    front: list[Contender] = []
    for one in ordered:
        # What stands before it is at least as good: it must be smaller or faster than each of those.
        if not any(_costs_no_more(better, one) for better in front):
            front.append(one)
    return tuple(front)


def fits(contender: Contender, budget: Budget) -> bool:
    """Tell whether a trial is within the budget, as far as its cost is known."""
    if contender.size_bytes is not None and contender.size_bytes > budget.max_size_bytes:
        return False
    latency_us, most_us = contender.latency_us, budget.max_latency_us
    return latency_us is None or most_us is None or latency_us <= most_us


def choose(contenders: Sequence[Contender], budget: Budget, rule: ChoiceRule) -> int:
    """Return the place of the trial that is taken.

    Of those within the budget (of all, when none is: the gate measures and judges) the one of the best quality; with
    the rule ``smaller`` the smallest of those that are not worse than it by more than one standard error of their
    differences, block by block (Breiman et al., Classification and Regression Trees, 1984, section 3.4.3; paired,
    because blocks differ in how hard they are).

    Args:
        contenders: at least one.
        budget: of the devices.
        rule: see above.
    """
    within = [place for place, one in enumerate(contenders) if fits(one, budget)] or list(range(len(contenders)))
    best = max(within, key=lambda place: (contenders[place].quality, -place))
    if rule == "best" or contenders[best].size_bytes is None:
        return best
    alike = [place for place in within if _is_as_good(contenders[place], contenders[best])]
    return min(alike, key=lambda place: (_size_of(contenders[place]), -contenders[place].quality, place))


def _is_as_good(one: Contender, best: Contender) -> bool:
    differences = np.array(best.blocks) - np.array(one.blocks)
    if len(differences) < 2:  # noqa: PLR2004 - of one block nothing is known but its number
        return one.quality >= best.quality
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return bool(differences.mean() <= error)


def _size_of(one: Contender) -> float:
    return np.inf if one.size_bytes is None else float(one.size_bytes)


def _costs_no_more(one: Contender, other: Contender) -> bool:
    assert one.size_bytes is not None  # noqa: S101 - only those of known cost are compared
    assert other.size_bytes is not None  # noqa: S101
    assert one.latency_us is not None  # noqa: S101
    assert other.latency_us is not None  # noqa: S101
    return one.size_bytes <= other.size_bytes and one.latency_us <= other.latency_us
