"""How unlike the rows of training a row is: the mean surprise of its features, in bits.

A value is as surprising as its bin of the manifest's reference was rare in training. Features count as if they were
independent, so that a row whose values are usual, each by itself, does not stand out. It takes some microseconds a row,
and is asked only while somebody wants labels.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

from edge_agent.bundle import FeatureReference


class Novelty:
    """Knows the references of one bundle."""

    __slots__ = ("_references", "_surprises")

    def __init__(self, references: Sequence[FeatureReference]) -> None:
        """Only take them: what is computed of them is computed when a row is first asked about."""
        self._references = references
        self._surprises: list[list[float]] = []

    def of(self, values: Sequence[float]) -> float:
        """Return the mean surprise of a row.

        Args:
            values: ``(n_features,)`` as the model gets them; NaN where missing.
        """
        if not self._surprises:
            self._surprises = [_surprises(reference) for reference in self._references]
        total = 0.0
        for value, reference, surprises in zip(values, self._references, self._surprises, strict=True):
            # The last place is that of a missing value, which alone does not equal itself.
            total += surprises[-1 if value != value else bisect_right(reference.edges, value)]  # noqa: PLR0124
        return total / len(self._surprises)


def _surprises(reference: FeatureReference) -> list[float]:
    """Return the bits by bin, those of a missing value last; one row more is counted in each (Laplace's rule)."""
    counts = [sum(block[place] for block in reference.blocks) for place in range(len(reference.edges) + 1)]
    counts.append(reference.missing)
    total = sum(counts) + len(counts)
    return [math.log2(total / (count + 1)) for count in counts]
