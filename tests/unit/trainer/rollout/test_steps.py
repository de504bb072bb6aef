import pytest

from broker.topics import DeviceId
from trainer.rollout.steps import DeviceProgress, RolloutRules, next_step

A, B, C = DeviceId("a"), DeviceId("b"), DeviceId("c")
RINGS = ((A,), (B, C))
NOW = 1000.0


def progress_of(outcome, *, online=True, ordered_s_ago=None, sent_s_ago=None, reason=""):
    """Progress of a device; an order that is not said to be sent waits for a link."""
    ordered, sent = (None if ago is None else NOW - ago for ago in (ordered_s_ago, sent_s_ago))
    return DeviceProgress(outcome, online, ordered, sent, reason)


NEW = progress_of("pending")
ABSENT = progress_of("pending", online=False)
WORKING = progress_of("pending", ordered_s_ago=5000, sent_s_ago=10)
SILENT = progress_of("pending", ordered_s_ago=5000, sent_s_ago=901)
UNSENT = progress_of("pending", ordered_s_ago=5000)
AWAY = progress_of("pending", online=False, ordered_s_ago=10, sent_s_ago=10)
AWAY_UNSENT = progress_of("pending", online=False, ordered_s_ago=5000)
GOOD = progress_of("committed", ordered_s_ago=10, sent_s_ago=10)
HAS_IT = progress_of("committed")
BAD = progress_of("failed", ordered_s_ago=10, sent_s_ago=10, reason="latency")


@pytest.mark.parametrize(
    ("a", "b", "c", "kind", "devices"),
    [
        (NEW, NEW, NEW, "order", (A,)),
        (WORKING, NEW, NEW, "wait", (A,)),
        (GOOD, NEW, NEW, "order", (B, C)),
        (GOOD, WORKING, GOOD, "wait", (B,)),
        (GOOD, GOOD, GOOD, "done", ()),
        (GOOD, GOOD, AWAY, "done", ()),
        (GOOD, GOOD, SILENT, "done", ()),
        (GOOD, ABSENT, NEW, "order", (B, C)),
        (HAS_IT, NEW, NEW, "order", (B, C)),
        (HAS_IT, HAS_IT, HAS_IT, "done", ()),
        (HAS_IT, NEW, HAS_IT, "order", (B,)),
        (BAD, NEW, NEW, "halt", (A,)),
        (GOOD, BAD, GOOD, "halt", (A, B, C)),
        (GOOD, BAD, WORKING, "halt", (A, B, C)),
        (AWAY, NEW, NEW, "order", (B,)),
        (SILENT, NEW, NEW, "order", (B,)),
        (AWAY, WORKING, NEW, "wait", (B,)),
        (AWAY, GOOD, NEW, "order", (C,)),
        (AWAY, ABSENT, NEW, "order", (C,)),
        (AWAY, ABSENT, ABSENT, "wait", ()),
        (AWAY, AWAY, AWAY, "wait", ()),
        (UNSENT, NEW, NEW, "wait", (A,)),
        (AWAY_UNSENT, NEW, NEW, "wait", (A,)),
        (GOOD, UNSENT, GOOD, "wait", (B,)),
        (GOOD, AWAY_UNSENT, SILENT, "wait", (B,)),
        (AWAY, UNSENT, NEW, "wait", (B,)),
    ],
)
def test_the_next_step_follows_its_table(a, b, c, kind, devices):
    step = next_step(RINGS, {A: a, B: b, C: c}, RolloutRules(), NOW)
    assert (step.kind, step.devices) == (kind, devices)


def test_as_many_failures_as_are_allowed_do_not_halt():
    progress = {A: GOOD, B: BAD, C: GOOD}
    assert next_step(RINGS, progress, RolloutRules(max_failures=1), NOW).kind == "done"


def test_the_reason_of_a_halt_names_device_and_cause():
    assert "a: latency" in next_step(RINGS, {A: BAD, B: NEW, C: NEW}, RolloutRules(), NOW).reason


def test_a_bundle_that_nobody_proved_goes_no_further_even_if_failures_are_allowed():
    step = next_step(RINGS, {A: BAD, B: ABSENT, C: ABSENT}, RolloutRules(max_failures=1), NOW)
    assert step.kind == "wait"


def test_an_empty_first_ring_is_passed_over():
    assert next_step(((), (A,)), {A: NEW}, RolloutRules(), NOW).devices == (A,)
