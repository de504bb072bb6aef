"""Decides whether to ask for labels: the first of the three steps ask, confirm, mend.

Pure: the same evidence gives the same answer. A sign is not a loss; what it may cost is a few labels.
"""

import math
from collections.abc import Sequence

from msgspec import Struct

from trainer.monitoring.quality import Expectation, QualityEstimate
from trainer.monitoring.significance import greater_error_p
from trainer.project.fleet import MonitoringSection

# Fewer background labels than this share of `background_labels` are not tested yet.
_ENOUGH = 0.5


class BackgroundTest(Struct, frozen=True):
    """The latest background labels against what is tolerated; errors as share of rows, or mean absolute error."""

    labels: int
    error: float
    tolerated: float
    p: float


class AskDecision(Struct, frozen=True):
    """Whether labels are asked for, how many, why, and all that was looked at.

    Attributes:
        verdict: ``ask``, ``quiet`` (no sign), ``cooling_down`` or ``no_budget`` (a sign, but no label may be wanted).
    """

    verdict: str
    rows: int
    reason: str
    estimate: QualityEstimate | None
    background: BackgroundTest | None
    budget: int


def label_budget(rows_scored: int, labels_wanted: int, max_label_share: float) -> int:
    """Return how many more labels may be wanted of a device (or of a fleet, added up)."""
    return max(0, math.floor(rows_scored * max_label_share) - labels_wanted)


def judge_background(
    errors: Sequence[float], expectation: Expectation, rules: MonitoringSection
) -> BackgroundTest | None:
    """Test the latest background labels; None while there are too few.

    Args:
        errors: ``(n,)`` errors of background rows, the latest last: 0 or 1, or absolute errors.
        expectation: what is usual for the bundle.
        rules: of the project.
    """
    latest = list(errors)[-rules.background_labels :]
    if len(latest) < max(1, _ENOUGH * rules.background_labels):
        return None
    tolerated = expectation.tolerated(rules.confirm_margin)
    return BackgroundTest(
        labels=len(latest),
        error=math.fsum(latest) / len(latest),
        tolerated=tolerated,
        p=greater_error_p(expectation.task, latest, tolerated),
    )


def decide_ask(
    *,
    estimate: QualityEstimate | None,
    background: BackgroundTest | None,
    cooling_down: bool,
    budget: int,
    rules: MonitoringSection,
) -> AskDecision:
    """Decide whether to ask for labels.

    Args:
        estimate: of the latest windows of the bundle now running.
        background: test of the latest background labels.
        cooling_down: whether an ask or a run was so recent that none is allowed.
        budget: labels that may still be wanted, see `label_budget`.
        rules: of the project.
    """
    reasons = []
    if estimate is not None and estimate.loss > rules.ask_drop and estimate.z > rules.ask_z:
        reasons.append(
            f"estimated quality {estimate.estimated:.3g} where {estimate.expected:.3g} is usual"
            f" (loss {estimate.loss:.3f} > {rules.ask_drop}, z {estimate.z:.1f} > {rules.ask_z})"
        )
    if background is not None and background.p < rules.background_p:
        reasons.append(
            f"the latest {background.labels} background labels show an error of {background.error:.3g},"
            f" {background.tolerated:.3g} is tolerated (p {background.p:.2g} < {rules.background_p})"
        )
    rows = min(rules.ask_labels, budget)
    if not reasons:
        verdict, rows, reason = "quiet", 0, "no sign of a loss"
    elif cooling_down:
        verdict, rows, reason = "cooling_down", 0, "a sign, but it is too soon to ask again: " + "; ".join(reasons)
    elif rows < rules.ask_labels:
        # A test on fewer labels than planned would neither confirm nor clear: better to wait for the budget to grow.
        verdict, rows, reason = "no_budget", 0, f"a sign, but only {budget} labels may be wanted: " + "; ".join(reasons)
    else:
        verdict, reason = "ask", "; ".join(reasons)
    return AskDecision(verdict, rows, reason, estimate, background, budget)
