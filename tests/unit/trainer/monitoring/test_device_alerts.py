"""A device whose messages are refused, or that tells an error, becomes an alert: once an hour, together with others."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.client import Delivery
from broker.messages import Epoch, Event, RecordKey, encode_body, encode_record
from broker.topics import Channel, DeviceId, FleetId, Topic
from tests.unit.trainer.simulated_fleet import ManualClock
from trainer.monitoring.device_alerts import DeviceAlerts
from trainer.monitoring.floods import FloodReports
from trainer.monitoring.intake import Intake
from trainer.monitoring.rates import OverRate
from trainer.monitoring.store import Store, open_store, store_uri

ONE, TWO = DeviceId("press-1"), DeviceId("press-2")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(0.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(store_uri(tmp_path / "fleet.db"))
    yield opened
    opened.close()


def comes(device: DeviceId, channel: Channel, payload: bytes) -> Delivery:
    return Delivery(Topic(FleetId("plant"), device, channel), payload, retained=False)


def error(
    device: DeviceId, sequence: int, reason: str, *, severity: str = "error", order: str | None = None
) -> Delivery:
    event = Event("error", 1e9, severity, reason, None, order)
    return comes(device, Channel.EVENTS, encode_record(RecordKey(Epoch(1), sequence, sequence - 1), encode_body(event)))


def test_a_device_whose_messages_are_refused_is_told_once_an_hour(store, clock):
    intake, alerts = Intake(store, clock), DeviceAlerts(store, clock)
    assert alerts.look(0) == ()
    clock.now_s = 10
    intake.take([comes(ONE, Channel.STATUS, b"\x07")] * 3)
    (alert,) = alerts.look(0)
    assert (alert.kind, alert.scope) == ("messages_refused", "device:press-1")
    assert "press-1: status: " in alert.text
    assert "version 7" in alert.text
    clock.now_s = 60
    intake.take([comes(ONE, Channel.STATUS, b"\x07")])
    assert alerts.look(0) == ()
    clock.now_s = 3700
    intake.take([comes(ONE, Channel.STATUS, b"\x07")])
    assert len(alerts.look(0)) == 1


def test_many_devices_at_once_are_one_alert(store, clock):
    intake, alerts = Intake(store, clock), DeviceAlerts(store, clock)
    intake.take([comes(DeviceId(f"press-{number}"), Channel.STATUS, b"") for number in range(30)])
    (alert,) = alerts.look(0)
    assert alert.scope == "fleet"
    assert "and 20 more devices" in alert.text
    evidence = alert.evidence
    assert isinstance(evidence, dict)
    assert (evidence["devices"], len(evidence["told"])) == (30, 10)


def test_an_error_that_a_device_tells_of_itself_is_told_and_what_an_order_brought_is_the_rollouts(store, clock):
    intake, alerts = Intake(store, clock), DeviceAlerts(store, clock)
    intake.take([error(ONE, 1, "two may hold its key\x1b[2J"), error(TWO, 1, "refused", order="order-1")])
    intake.take([error(TWO, 2, "only a word", severity="info")])
    (alert,) = alerts.look(0)
    assert (alert.kind, alert.scope) == ("device_error", "device:press-1")
    assert "two may hold its key?[2J" in alert.text


def test_what_is_in_the_store_already_is_not_told_again(store, clock):
    Intake(store, clock).take([error(ONE, 1, "long ago"), comes(TWO, Channel.STATUS, b"\x07")])
    clock.now_s = 10
    assert DeviceAlerts(store, clock).look(0) == ()


def test_topics_outside_the_layout_are_told(store, clock):
    alerts = DeviceAlerts(store, clock)
    assert alerts.look(0) == ()
    clock.now_s = 10
    (alert,) = alerts.look(4)
    assert (alert.kind, alert.scope) == ("topics_refused", "fleet")
    assert "4 messages" in alert.text
    clock.now_s = 20
    assert alerts.look(9) == ()


def test_floods_are_told_by_their_own_alert(store, clock):
    alerts = DeviceAlerts(store, clock)
    FloodReports(store, clock).report((OverRate(ONE, 7, 700),))
    assert alerts.look(0) == ()


def test_it_looks_every_few_seconds_and_misses_nothing_meanwhile(store, clock):
    intake, alerts = Intake(store, clock), DeviceAlerts(store, clock)
    alerts.look(0)
    clock.now_s = 1
    intake.take([comes(ONE, Channel.STATUS, b"\x07")])
    assert alerts.look(0) == ()
    clock.now_s = 6
    assert len(alerts.look(0)) == 1
