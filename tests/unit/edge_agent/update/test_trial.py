"""The verdict of a trial."""

import pytest

from edge_agent.bundle import TrialRules
from edge_agent.update.trial import Evidence, Outcome, judge

RULES = TrialRules(rows=20, max_error_share=0.1, max_latency_us=100.0, max_starts=3, timeout_s=60.0)


def evidence(**changes: float | None) -> Evidence:
    values: dict[str, float | None] = {
        "rows": 20,
        "errors": 0,
        "refused": 0,
        "median_latency_us": 50.0,
        "starts": 0,
        "elapsed_s": 1.0,
    }
    return Evidence(**(values | changes))  # type: ignore[arg-type]  # names and types are those of the class


@pytest.mark.parametrize(
    ("memory_bytes", "manifest", "device", "outcome"),
    [
        (100, 100, None, Outcome.HEALTHY),
        (101, 100, None, Outcome.FAILED),
        (101, None, 100, Outcome.FAILED),
        (101, 100, 200, Outcome.FAILED),
        (101, 200, 100, Outcome.FAILED),
        (101, 200, 200, Outcome.HEALTHY),
        (10**12, None, None, Outcome.HEALTHY),
        (None, 1, 1, Outcome.HEALTHY),
    ],
)
def test_memory_is_judged_by_the_smaller_of_two_bounds(
    memory_bytes: int | None, manifest: int | None, device: int | None, outcome: Outcome
):
    rules = TrialRules(rows=20, max_memory_bytes=manifest)
    verdict = judge(evidence(memory_bytes=memory_bytes), rules, device)
    assert (verdict.outcome, "bytes of memory" in verdict.reason) == (outcome, outcome is Outcome.FAILED)


def test_too_much_memory_ends_a_trial_at_once():
    assert judge(evidence(rows=1, memory_bytes=101), TrialRules(rows=20), 100).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("changes", "outcome", "reason"),
    [
        ({}, Outcome.HEALTHY, "20 rows scored"),
        ({"rows": 19}, Outcome.PENDING, "19 of 20"),
        ({"rows": 18, "errors": 2}, Outcome.HEALTHY, "2 errors"),
        ({"rows": 17, "errors": 3}, Outcome.FAILED, "failed on 3 of 20"),
        ({"rows": 0, "errors": 2}, Outcome.PENDING, "2 of 20"),
        ({"rows": 0, "errors": 3}, Outcome.FAILED, "failed on 3 of 3"),
        ({"median_latency_us": 100.1}, Outcome.FAILED, "median latency 100.1 us"),
        ({"rows": 5, "median_latency_us": 500.0}, Outcome.PENDING, "5 of 20"),
        ({"starts": 3}, Outcome.HEALTHY, "20 rows"),
        ({"starts": 4}, Outcome.FAILED, "started 4 times, at most 3"),
        ({"rows": 0, "starts": 4, "median_latency_us": None}, Outcome.FAILED, "started 4 times"),
        ({"rows": 19, "elapsed_s": 60.0}, Outcome.FAILED, "19 of 20 rows came within 60 s"),
        ({"rows": 20, "elapsed_s": 60.0}, Outcome.HEALTHY, "20 rows"),
        ({"rows": 0, "refused": 20, "median_latency_us": None}, Outcome.FAILED, "refused each of the first 20"),
        ({"rows": 0, "refused": 19, "median_latency_us": None}, Outcome.PENDING, "0 of 20"),
        ({"rows": 1, "refused": 500}, Outcome.PENDING, "1 of 20"),
    ],
)
def test_the_verdict_follows_the_manifest_s_rules(changes: dict[str, float | None], outcome: Outcome, reason: str):
    verdict = judge(evidence(**changes), RULES)
    assert (verdict.outcome, reason in verdict.reason) == (outcome, True), verdict


def test_without_a_limit_time_and_latency_are_not_judged():
    rules = TrialRules(rows=20)
    assert judge(evidence(rows=0, elapsed_s=1e9, median_latency_us=None), rules).outcome is Outcome.PENDING
    assert judge(evidence(median_latency_us=1e9), rules).outcome is Outcome.HEALTHY


def test_by_default_one_error_fails_a_trial():
    assert judge(evidence(rows=3, errors=1), TrialRules(rows=20)).outcome is Outcome.FAILED
