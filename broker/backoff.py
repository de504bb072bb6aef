"""How long to wait before trying again: exponential with jitter, so that a fleet does not come back in step."""

import random

BASE_S = 0.5
CAP_S = 30.0
_MAX_DOUBLINGS = 32


def backoff_s(failures: int, rng: random.Random, *, base_s: float = BASE_S, cap_s: float = CAP_S) -> float:
    """Return the seconds to wait after ``failures`` failures in a row (0 counts as 1).

    The wait doubles from ``base_s`` to ``cap_s``; the upper half of it is left to chance, so that it is never so short
    that a dead broker is hammered.
    """
    doublings = min(max(failures, 1) - 1, _MAX_DOUBLINGS)
    full_s: float = min(cap_s, base_s * 2**doublings)
    return full_s * rng.uniform(0.5, 1.0)
