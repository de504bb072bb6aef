"""Decides what a spool over its bound gives up: a pure function over what it holds.

The rule, in this order, until the rest is well below the bound:

1. Merge two windows, neighbours of one bundle and variant, of those merged least often the oldest pair: only time
   resolution is lost, no count.
2. Drop the oldest samples.
3. Drop the oldest windows.
4. Drop the oldest events: they are few, and tell what happened to the device itself.

What is too old has gone before: age is a bound of its own (`edge_agent.telemetry.spool`).

A record that may have been sent already is never merged: the receiver may hold it, and would count its rows twice.
"""

import itertools
from collections.abc import Sequence

from msgspec import Struct

from broker.topics import Channel

# A merged window of more parts says too little about when.
MAX_PARTS = 64


class Entry(Struct, frozen=True):
    """One record as thinning sees it.

    Attributes:
        group: windows of one group may be merged (bundle and variant); empty for other channels.
        parts: windows that were merged into it, itself included.
    """

    sequence: int
    channel: Channel
    group: str = ""
    parts: int = 1


class Merge(Struct, frozen=True):
    """Put the window of ``second`` into that of ``first``, which keeps its place."""

    first: int
    second: int


class Drop(Struct, frozen=True):
    """Give up one record."""

    sequence: int


def plan_thinning(entries: Sequence[Entry], offered_through: int) -> list[Merge] | list[Drop]:
    """Return the next steps of the rule, in order; the caller does as many as it needs, then asks again.

    It asks again because only then is the size of a merged window known. Merges of one answer touch each window once.

    Args:
        entries: what the spool holds, by ascending sequence.
        offered_through: the highest sequence that may have been sent.

    Returns:
        Merges, while there are any; else drops, of everything; empty when there is nothing left.
    """
    windows = [entry for entry in entries if entry.channel is Channel.TELEMETRY and entry.sequence > offered_through]
    pairs = [
        (first, second)
        for first, second in itertools.pairwise(windows)
        if first.group == second.group and first.parts + second.parts <= MAX_PARTS
    ]
    if not pairs:
        order = (Channel.SAMPLES, Channel.TELEMETRY, Channel.EVENTS)
        return [Drop(e.sequence) for e in sorted(entries, key=lambda e: (order.index(e.channel), e.sequence))]
    fewest = min(first.parts + second.parts for first, second in pairs)
    merges: list[Merge] = []
    taken = 0
    for first, second in pairs:
        if first.parts + second.parts == fewest and first.sequence > taken:
            merges.append(Merge(first.sequence, second.sequence))
            taken = second.sequence
    return merges
