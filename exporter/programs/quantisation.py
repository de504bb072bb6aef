"""Chooses scales for int8; it knows no file format.

The rules are those of https://ai.google.dev/edge/litert/models/quantization_spec.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exporter.models.model import Rows

Floats = NDArray[np.float64]
Int8s = NDArray[np.int8]

_LIMITS: Final = np.iinfo(np.int8)
_STEPS: Final = _LIMITS.max - _LIMITS.min
# A scale below float32's least normal number would be stored as 0, or not exactly.
_LEAST_SCALE: Final = float(np.finfo(np.float32).tiny)
# Columns whose sizes differ by more than this are brought to one size.
_UNEVEN: Final = 2.0
# How far from its grid a number may lie, in steps.
_ON_GRID: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Quantisation:
    """``real = (stored - zero_point) * scale``; one scale, or one for each index of the first axis."""

    scales: tuple[float, ...]
    zero_point: int = 0


def quantisation_of(values: Rows) -> Quantisation:
    """Return the int8 quantisation that covers all values, and zero exactly."""
    finite = values[np.isfinite(values)]
    low, high = float(np.min(finite, initial=0.0)), float(np.max(finite, initial=0.0))
    scale = float(np.float32(max((high - low) / _STEPS, _LEAST_SCALE))) if high > low else 1.0
    return Quantisation((scale,), int(np.clip(round(_LIMITS.min - low / scale), _LIMITS.min, _LIMITS.max)))


def quantised(values: NDArray[np.floating], quantisation: Quantisation) -> NDArray[np.float64]:
    """Return the integers, as float64, that stand for real numbers under one scale; what lies outside is cut off."""
    stored = np.round(np.asarray(values, dtype=np.float64) / quantisation.scales[0]) + quantisation.zero_point
    return np.clip(stored, _LIMITS.min, _LIMITS.max)


def dequantised(stored: NDArray[np.float64], quantisation: Quantisation) -> Floats:
    """Return the real numbers that integers stand for under one scale."""
    return (stored - quantisation.zero_point) * quantisation.scales[0]


def quantise_weights(weights: Floats, *, has_one_scale: bool = False) -> tuple[Int8s, Quantisation]:
    """Return ``(n_out, n_in)`` weights in int8, symmetric, with a scale for each output, or one for all."""
    scales = np.max(np.abs(weights), axis=None if has_one_scale else 1, keepdims=True).ravel() / _LIMITS.max
    scales = np.where(scales > 0, np.maximum(scales, _LEAST_SCALE), 1.0)
    scales = scales.astype(np.float32).astype(np.float64)
    stored = np.clip(np.round(weights / scales[:, np.newaxis]), -_LIMITS.max, _LIMITS.max).astype(np.int8)
    return stored, Quantisation(tuple(scales.tolist()))


def quantise_columns(vectors: Floats) -> tuple[Int8s, Floats, Floats]:
    """Return ``(n, w)`` vectors in int8 with the zero and the scale of each column: ``stored * scale + zero``.

    A column whose numbers lie on a grid of at most 256 steps, as integers do, is kept exactly.
    """
    lows, highs = vectors.min(axis=0), vectors.max(axis=0)
    scales = np.array([_step_of(column) for column in vectors.T])
    scales = np.where(scales > 0, scales, (highs - lows) / _STEPS)
    scales = np.where(scales > 0, scales, 1.0)
    stored = np.round((vectors - lows) / scales + _LIMITS.min)
    return stored.astype(np.int8), lows - _LIMITS.min * scales, scales


def sizes_of(entering: Rows) -> Floats:
    """Return what each column of ``(n, w)`` is divided by: its greatest size where columns differ much, else 1."""
    sizes = np.max(np.abs(entering), axis=0, where=np.isfinite(entering), initial=0.0).astype(np.float64)
    sizes = np.where(sizes > 0, sizes, 1.0)
    return sizes if sizes.max() > _UNEVEN * sizes.min() else np.ones_like(sizes)


def _step_of(column: Floats) -> float:
    """Return the step of the grid that a column lies on, or 0."""
    values = np.unique(column)
    if len(values) < 2:  # noqa: PLR2004 - a step is between two
        return 0.0
    steps = np.diff(values)
    step = float(steps[steps > _ON_GRID * steps.max()].min())
    places = (values - values[0]) / step
    is_on_grid = places[-1] <= _STEPS and np.all(np.abs(places - np.round(places)) < _ON_GRID)
    return (values[-1] - values[0]) / round(places[-1]) if is_on_grid else 0.0
