"""Float32 numbers in their order: which of them decide as a float64 threshold does, and which stand next to each other.

Every float32 has an *ordinal*, an integer that grows with it: neighbours differ by one, both zeros have 0, infinities
stand at the ends. A search over all float32 numbers is thus a search over integers.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Float32s = NDArray[np.float32]
Ordinals = NDArray[np.int64]

# Of infinity; minus infinity has the negative.
LAST_ORDINAL: Final = 0x7F800000


def not_above(thresholds: Floats) -> Float32s:
    """Return the greatest float32 not above each threshold.

    For a float32 ``x``, ``x <= t`` holds exactly if ``x <= not_above(t)``; the nearest float32 may lie above ``t`` and
    let a row pass that the library sends the other way.
    """
    with np.errstate(over="ignore"):
        rounded = np.asarray(thresholds, dtype=np.float64).astype(np.float32)
    is_above = rounded.astype(np.float64) > thresholds
    return np.asarray(np.where(is_above, np.nextafter(rounded, np.float32(-np.inf)), rounded), dtype=np.float32)


def below(thresholds: Float32s) -> Float32s:
    """Return the greatest float32 below each threshold, which decides by ``<=`` as the threshold does by ``<``.

    Below zero that is a denormal number; a unit that takes denormal numbers for zero takes it for zero, too.
    """
    with np.errstate(over="ignore"):
        return np.nextafter(np.asarray(thresholds, dtype=np.float32), np.float32(-np.inf))


def ordinals_of(values: Float32s) -> Ordinals:
    """Return the ordinals of numbers that are not NaN."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def at_ordinals(ordinals: Ordinals) -> Float32s:
    """Return the numbers that have these ordinals, each from ``-LAST_ORDINAL`` to ``LAST_ORDINAL``."""
    magnitudes = np.abs(ordinals).astype(np.int32).view(np.float32)
    return np.asarray(np.where(np.asarray(ordinals) < 0, -magnitudes, magnitudes), dtype=np.float32)
