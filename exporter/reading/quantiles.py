"""Reads transformers that look where a number stands among those of the training rows."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import QuantileTransformer

from exporter.programs.program import Interpolate
from exporter.reading.reading import Readers, Reading

Floats = NDArray[np.float64]


def _quantiles(reading: Reading, transformer: Any, place: int) -> int:
    if transformer.output_distribution != "uniform":
        raise reading.refuse(transformer, f"to a {transformer.output_distribution} distribution")
    columns = np.asarray(transformer.quantiles_, dtype=np.float64).T
    if not np.isfinite(columns).all():
        raise reading.refuse(transformer, "with a column that had no values in training")
    knots = tuple(_knots_of(quantiles) for quantiles in columns)
    # Private, but the one place that says what a number becomes that several quantiles are.
    answers = tuple(
        np.asarray(transformer._transform_col(xs.copy(), quantiles, inverse=False), dtype=np.float64)
        for xs, quantiles in zip(knots, columns, strict=True)
    )
    return reading.builder.add(Interpolate(place, knots, answers))


def _knots_of(quantiles: Floats) -> Floats:
    """Return the points between which the function of float32 numbers is linear, ascending.

    It jumps where several quantiles are one number, and at both ends: there are knots before, at and behind it.
    """
    numbers, counts = np.unique(quantiles, return_counts=True)
    jumps = np.unique(np.concatenate([numbers[counts > 1], numbers[[0, -1]]])).astype(np.float32)
    sides = [np.nextafter(jumps, np.float32(end)) for end in (-np.inf, np.inf)]
    return np.unique(np.concatenate([numbers[counts == 1], jumps, *sides]).astype(np.float64))


READERS: Final[Readers] = {QuantileTransformer: {"transform": _quantiles}}
