"""Adds the shares of numbers in their sum, so that none is lost where all of them are tiny."""

import numpy as np

from exporter.programs.program import Affine, Average, Clip, Columns, Complement, Curve, Proportions, Softmax
from exporter.reading.reading import Reading


def add_shares(reading: Reading, places: list[int]) -> int:
    """Add ``x / sum(x)`` of vectors put one behind the other.

    Where all of ``x`` are logistic functions of decisions, they may all be too small for float32, and some runtimes
    compute none below 1e-8: the shares are then the softmax of their logarithms, which are computed of the decisions.
    """
    decisions = [_decision_of(reading, place) for place in places]
    known = [decision for decision in decisions if decision is not None]
    if len(known) < len(places):
        return reading.builder.add(Proportions(reading.join(places)))
    return reading.builder.add(Softmax(_log_logistic(reading, reading.join(known))))


def _decision_of(reading: Reading, place: int) -> int | None:
    """Return the place whose logistic function a vector is: alone, or as the second of a pair."""
    operation = reading.builder.operation(place)
    if isinstance(operation, Columns) and operation.places == (1,):
        pair = reading.builder.operation(operation.of)
        operation = reading.builder.operation(pair.of) if isinstance(pair, Complement) else operation
    return operation.of if isinstance(operation, Curve) and operation.kind == "logistic" else None


def _log_logistic(reading: Reading, decisions: int) -> int:
    """Add ``min(d, 0) - log(1 + exp(-|d|))``, in which nothing overflows."""
    width = reading.builder.width(decisions)
    ones, zeros = np.ones(width), np.zeros(width)
    below = reading.builder.add(Clip(decisions, np.full(width, -np.inf), zeros))
    size = reading.builder.add(Curve(decisions, "abs"))
    falling = reading.builder.add(Curve(reading.builder.add(Affine(size, -ones, zeros)), "exp"))
    rest = reading.builder.add(Curve(reading.builder.add(Affine(falling, ones, ones)), "log"))
    return reading.builder.add(Average((below, rest), (1.0, -1.0)))
