"""Prints a digest of the features of fixed readings: ``python -m tests.unit.edge_agent.scoring.window_bits``.

It imports what a device has, and nothing else, so that any interpreter on any processor can run it.
"""

import hashlib
import sys

import numpy as np
from numpy.typing import NDArray

from edge_agent.raw_signal import Band
from edge_agent.scoring.windows import Extractor, windows_of
from tests.unit.edge_agent.signals import vibration

SIZES = (2, 3, 16, 17, 64, 100, 127, 128, 255, 256, 1000, 1024)
N_WINDOWS = 100


def readings(n: int) -> NDArray[np.float64]:
    """Readings that no generator of numpy has a part in, ``(n, 2)``, a few of them missing."""
    state, values = 1, []
    for _ in range(2 * n):
        state = (state * 1103515245 + 12345) % 2**31
        values.append(float("nan") if state % 997 == 0 else state / 2**29 - 2.0)
    return np.array(values).reshape(n, 2)


def digest() -> str:
    """Return the SHA-256 over the bits of all features, in hex."""
    found = hashlib.sha256()
    known = readings(max(SIZES) * N_WINDOWS)
    for size in SIZES:
        bands = (Band(0.0, 50.0),) if size < 16 else (Band(0.0, 20.0), Band(20.0, 50.0))
        extractor = Extractor(vibration(size=size, step=size, max_missing=size // 20, bands=bands))
        part = known[: size * N_WINDOWS]
        features = windows_of(extractor, part, np.zeros(len(part), dtype=np.bool_)).features
        # A NaN is a NaN, whatever its sign.
        found.update(np.where(np.isnan(features), np.float32(np.nan), features).astype("<f4").tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    sys.stdout.write(f"{digest()} numpy {np.__version__}\n")
