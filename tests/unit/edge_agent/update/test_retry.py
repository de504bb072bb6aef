"""The pauses between attempts grow, have an end, and differ from device to device."""

import random

from edge_agent.update.retry import Retry
from tests.unit.edge_agent.examples import ManualClock
from tests.unit.edge_agent.update.simulators import SETTINGS


def pause_of(retry: Retry, clock: ManualClock) -> float:
    """Put an attempt off; return after how long it is due, to a tenth of a second."""
    retry.put_off()
    began_s = clock.now_monotonic_s
    while not retry.is_due:
        clock.advance(0.1)
    return clock.now_monotonic_s - began_s


def test_the_first_attempt_is_due_at_once():
    assert Retry(SETTINGS, ManualClock(), random.Random(1)).is_due


def test_each_pause_is_between_half_and_all_of_twice_the_one_before_up_to_the_longest():
    clock = ManualClock()
    retry = Retry(SETTINGS, clock, random.Random(1))
    for longest_s in (10.0, 20.0, 40.0, 80.0, 100.0, 100.0):
        assert longest_s / 2 <= pause_of(retry, clock) <= longest_s + 0.2
    assert retry.failures == 6


def test_two_devices_do_not_come_back_at_once():
    one, other = (
        pause_of(Retry(SETTINGS, clock, random.Random(n)), clock) for n, clock in enumerate([ManualClock()] * 2)
    )
    assert one != other


def test_a_pause_can_be_ended_and_failures_forgotten():
    clock = ManualClock()
    retry = Retry(SETTINGS, clock, random.Random(1))
    for _ in range(5):
        retry.put_off()
    assert not retry.is_due
    retry.hurry()
    assert (retry.is_due, retry.failures) == (True, 5)
    retry.forget_failures()
    assert pause_of(retry, clock) <= 10.2


def test_failures_without_end_do_not_overflow():
    retry = Retry(SETTINGS, ManualClock(), random.Random(1))
    for _ in range(5000):
        retry.put_off()
    assert retry.failures == 5000
