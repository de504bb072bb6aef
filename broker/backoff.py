"""How long to wait before trying again: exponential with jitter, so that a fleet does not come back in step."""

import random

BASE_S = 0.5
CAP_S = 30.0
# A link that held so long shows that connecting works; a shorter one may be one of two that end each other.
STEADY_S = 30.0
# So many links in a row that came up and did not hold are told, and may be waited for longer than a broker that is
# away: two processes of one name leave each other in peace for most of the time.
CUT_SHORT = 3
CUT_SHORT_CAP_S = 120.0
_MAX_DOUBLINGS = 32


def backoff_s(failures: int, rng: random.Random, *, base_s: float = BASE_S, cap_s: float = CAP_S) -> float:
    """Return the seconds to wait after ``failures`` failures in a row (0 counts as 1).

    The wait doubles from ``base_s`` to ``cap_s``; the upper half of it is left to chance, so that it is never so short
    that a dead broker is hammered.
    """
    doublings = min(max(failures, 1) - 1, _MAX_DOUBLINGS)
    full_s: float = min(cap_s, base_s * 2**doublings)
    return full_s * rng.uniform(0.5, 1.0)


def return_s(failures: int, rng: random.Random, *, spread_s: float, cap_s: float = CAP_S) -> float:
    """Return the seconds to wait for one of a fleet whose steady link broke: the others' broke too, most likely.

    The first attempts of all are spread evenly over ``spread_s``, and who finds no broker then waits no shorter than
    that on average. A shorter wait would gather those who failed while the broker was away behind it: the first second
    of a broker that was away for one second, or for ten, would see most of them.

    Args:
        failures: in a row, the end of the steady link counted.
        rng: chance.
        spread_s: the fleet's devices divided by the links that its broker takes in a second, or more.
        cap_s: the longest wait, where that is not twice ``spread_s``.
    """
    if failures <= 1:
        return rng.uniform(0.0, spread_s)
    return backoff_s(failures, rng, base_s=spread_s, cap_s=max(cap_s, 2 * spread_s))


def failures_after(failures: int, link_s: float) -> int:
    """Return the failures in a row once a link has ended that held for ``link_s`` seconds (0: it never came up).

    Only a steady link ends the row. Clients that share one name end each other's links as fast as they may connect.
    """
    return 1 if link_s >= STEADY_S else failures + 1


def cut_short_after(row: int, link_s: float) -> int:
    """Return how many links in a row came up and did not hold, once one has ended (0 s: it never came up)."""
    return row + 1 if 0.0 < link_s < STEADY_S else 0


def cap_after(cut_short: int) -> float:
    """Return the longest wait after so many links in a row that came up and did not hold."""
    return CUT_SHORT_CAP_S if cut_short >= CUT_SHORT else CAP_S
