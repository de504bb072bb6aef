"""Judges a trial: from what a new bundle did on this device to healthy, failed, or not yet known."""

import enum

from msgspec import Struct

from edge_agent.bundle import TrialRules


class Outcome(enum.Enum):
    """How a trial stands."""

    PENDING = "pending"
    HEALTHY = "healthy"
    FAILED = "failed"


class Evidence(Struct, frozen=True):
    """What a bundle did since its trial began.

    Attributes:
        rows: rows that it scored.
        errors: rows on which scoring itself failed.
        refused: rows that its schema did not take.
        median_latency_us: of the scored rows; None before the first.
        starts: unclean starts of the agent during the trial.
        elapsed_s: since the trial began, in this process.
        memory_bytes: greatest resident memory of the agent seen meanwhile; None: not told.
    """

    rows: int
    errors: int
    refused: int
    median_latency_us: float | None
    starts: int
    elapsed_s: float
    memory_bytes: int | None = None


class Verdict(Struct, frozen=True):
    """An outcome with its reason."""

    outcome: Outcome
    reason: str


def judge(evidence: Evidence, rules: TrialRules, max_memory_bytes: int | None = None) -> Verdict:
    """Return the verdict of a trial under the manifest's rules and the device's own bound of memory.

    Crashes count first: a bundle that takes the process down leaves no other evidence. A bundle that refuses every
    row has not proved anything, whoever is to blame, so it may not displace one that did.
    """
    failure = _failure_of(evidence, rules) or _excess_of(evidence, rules, max_memory_bytes)
    if failure is not None:
        return Verdict(Outcome.FAILED, failure)
    tried = evidence.rows + evidence.errors
    if tried < rules.rows:
        return Verdict(Outcome.PENDING, f"{tried} of {rules.rows} rows")
    median_us = evidence.median_latency_us
    latency = "" if median_us is None else f", median latency {median_us:.1f} us"
    return Verdict(Outcome.HEALTHY, f"{evidence.rows} rows scored, {evidence.errors} errors{latency}")


def _failure_of(evidence: Evidence, rules: TrialRules) -> str | None:
    if evidence.starts > rules.max_starts:
        return f"the agent had to be started {evidence.starts} times, at most {rules.max_starts} are allowed"
    tried = evidence.rows + evidence.errors
    # Judged against the whole trial, so that a first bad row does not fail what allows some.
    if evidence.errors > rules.max_error_share * max(tried, rules.rows):
        share = f"at most a share of {rules.max_error_share:g} may"
        return f"scoring failed on {evidence.errors} of {tried} rows, {share}"
    if evidence.rows == 0 and evidence.refused >= rules.rows:
        return f"its schema refused each of the first {evidence.refused} rows"
    median_us, limit_us = evidence.median_latency_us, rules.max_latency_us
    if tried >= rules.rows and limit_us is not None and median_us is not None and median_us > limit_us:
        return f"median latency {median_us:.1f} us, at most {limit_us:.1f} us are allowed"
    if tried < rules.rows and rules.timeout_s is not None and evidence.elapsed_s >= rules.timeout_s:
        return f"only {tried} of {rules.rows} rows came within {rules.timeout_s:g} s"
    return None


def _excess_of(evidence: Evidence, rules: TrialRules, max_memory_bytes: int | None) -> str | None:
    """Return what is wrong with the memory: at once, for more rows do not give it back, and it may be needed now."""
    bounds = [bound for bound in (rules.max_memory_bytes, max_memory_bytes) if bound is not None]
    taken = evidence.memory_bytes
    if not bounds or taken is None or taken <= min(bounds):
        return None
    return f"the agent took {taken} bytes of memory, at most {min(bounds)} are allowed"
