"""Decides by labels whether a loss is real: the second of the three steps ask, confirm, mend.

Pure. Only rows that were chosen at random count, asked for or of the background: uncertain rows are wrong more often
than others. And only rows that came after the ask: earlier ones may have given the sign, and would be counted twice.
"""

import math
from collections.abc import Sequence

from msgspec import Struct

from edge_agent.bundle import Task
from trainer.monitoring.quality import Expectation
from trainer.monitoring.significance import greater_error_p
from trainer.project.fleet import MonitoringSection


class Confirmation(Struct, frozen=True):
    """What the asked labels say.

    Attributes:
        task: of the bundle; says what the numbers below mean.
        verdict: ``confirmed``, ``cleared``, or ``undecided`` (more labels are needed).
        missing: labels that are still needed for a verdict.
        error, expected, tolerated: share of wrong rows, or mean absolute error.
        loss: points of accuracy, or relative rise of the error.
        p: chance of such an error if the true one were `tolerated`.
    """

    task: Task
    verdict: str
    labels: int
    missing: int
    error: float
    expected: float
    tolerated: float
    loss: float
    p: float
    reason: str


def confirm(
    errors: Sequence[float], expectation: Expectation, rules: MonitoringSection, wanted: int | None = None
) -> Confirmation:
    """Confirm or clear a loss.

    Args:
        errors: ``(n,)`` errors of the rows after the ask whose labels have come: 0 or 1, or absolute errors.
        expectation: what is usual for the bundle that scored them.
        rules: of the project.
        wanted: labels for a verdict; None: ``rules.ask_labels``. Looking at fewer would find a loss by looking often.
    """
    wanted = rules.ask_labels if wanted is None else wanted
    n = len(errors)
    tolerated = expectation.tolerated(rules.confirm_margin)
    error = math.fsum(errors) / n if n else 0.0
    loss = expectation.loss_of(error) if n else 0.0
    p = greater_error_p(expectation.task, errors, tolerated)
    if n < wanted:
        verdict = "undecided"
    elif p < rules.confirm_p:
        verdict = "confirmed"
    else:
        verdict = "cleared"
    what = "of the rows wrong" if expectation.task == "classification" else "mean absolute error"
    reason = {
        "undecided": f"{n} of {wanted} labels of rows after the ask have come",
        "confirmed": (
            f"{n} labels: {error:.3g} {what}, {expectation.error:.3g} is usual, {tolerated:.3g} tolerated;"
            f" chance alone would do that with p {p:.2g} < {rules.confirm_p}"
        ),
        "cleared": (
            f"{n} labels: {error:.3g} {what}, {expectation.error:.3g} is usual, {tolerated:.3g} tolerated;"
            f" that is chance (p {p:.2g})"
        ),
    }[verdict]
    missing = max(0, wanted - n)
    return Confirmation(expectation.task, verdict, n, missing, error, expectation.error, tolerated, loss, p, reason)
