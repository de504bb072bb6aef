"""Two one-sided tests: is an error greater than expected, or is it chance?"""

import math
from collections.abc import Sequence

from scipy.special import bdtrc, stdtr

from edge_agent.bundle import Task


def binomial_p(wrong: int, n: int, expected_error: float) -> float:
    """Return the chance of at least ``wrong`` of ``n`` rows wrong when each is wrong with ``expected_error``.

    Exact one-sided binomial test.
    """
    if wrong <= 0 or n <= 0:
        return 1.0
    if expected_error <= 0:
        return 0.0
    if expected_error >= 1:
        return 1.0
    return float(bdtrc(wrong - 1, n, expected_error))


def mean_above_p(values: Sequence[float], expected: float) -> float:
    """Return the one-sided p of Student's t-test that the mean of ``values`` is not above ``expected``."""
    n = len(values)
    if n < 2:  # noqa: PLR2004 - one value has no spread
        return 1.0
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    if variance == 0:
        return 0.0 if mean > expected else 1.0
    return float(1.0 - stdtr(n - 1, (mean - expected) / math.sqrt(variance / n)))


def greater_error_p(task: Task, errors: Sequence[float], tolerated: float) -> float:
    """Return the chance of errors like these if the true mean error were ``tolerated``.

    Args:
        task: classification: errors are 0 or 1, the binomial test; regression: absolute errors, the t-test.
        errors: ``(n_rows,)``.
        tolerated: share of wrong rows, or mean absolute error.
    """
    if task == "classification":
        return binomial_p(sum(error > 0 for error in errors), len(errors), tolerated)
    return mean_above_p(errors, tolerated)
