"""Two agents of one identity are told from one that was started again."""

import pytest

from broker.messages import Status
from broker.topics import DeviceId
from tests.unit.trainer.simulated_fleet import ManualClock
from trainer.monitoring.doubles import Double, DoubleReports, Doubles

DEVICE = DeviceId("press-1")


def found(*said: tuple[str, float, bool]) -> tuple[Double, ...]:
    """Return the doubles that a list of starts, times and links tells of."""
    doubles = Doubles()
    for boot, at_utc_s, online in said:
        doubles.see(DEVICE, Status(online=online, at_utc_s=at_utc_s, boot_id=boot, agent_version="1"))
    return doubles.take()


def test_a_start_that_speaks_again_after_another_one_is_a_double():
    assert found(("a", 1, True), ("b", 2, True), ("a", 3, True)) == (Double(DEVICE, ("b", "a")),)


@pytest.mark.parametrize(
    "said",
    [
        (("a", 1, True), ("a", 2, True)),
        (("a", 1, True), ("b", 2, True), ("c", 3, True), ("d", 4, True)),
        # The last will of the one before comes late.
        (("a", 1, True), ("b", 2, True), ("a", 1, False), ("b", 3, True)),
        # A broker delivers again what was not acknowledged.
        (("a", 1, True), ("b", 2, True), ("a", 1, True), ("b", 2, True)),
    ],
)
def test_restarts_wills_and_old_messages_are_none(said):
    assert found(*said) == ()


def test_a_double_is_told_once_an_hour():
    clock = ManualClock()
    reports = DoubleReports(clock)
    double = Double(DEVICE, ("a", "b"))
    (alert,) = reports.report([double])
    assert (alert.kind, alert.scope) == ("device_double", "device:press-1")
    assert "a and b" in alert.text
    assert reports.report([double]) == ()
    clock.now_s += 3601
    assert len(reports.report([double])) == 1
