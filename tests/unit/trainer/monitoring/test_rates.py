"""A device over its rate is dropped, counted and told; another device, and labels, are not."""

import pytest

from broker.topics import Channel, DeviceId, FleetId, Topic
from trainer.monitoring.fleet import refused_by_device
from trainer.monitoring.floods import FloodReports
from trainer.monitoring.rates import OverRate, RateLimit, Rates
from trainer.monitoring.store import open_store, store_uri

FLOODER, OTHER = DeviceId("press-1"), DeviceId("press-2")
LIMIT = RateLimit(messages_per_s=1, burst_messages=3, bytes_per_s=100, burst_bytes=1000)


class HandClock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def utc_s(self) -> float:
        return 1e9 + self.now_s


def topic_of(device: DeviceId, channel: Channel = Channel.TELEMETRY) -> Topic:
    return Topic(FleetId("plant"), device, channel)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_more_messages_than_the_bucket_holds_are_dropped_until_it_has_filled(clock):
    rates = Rates(LIMIT, clock.monotonic_s)
    assert [rates.takes(topic_of(FLOODER), 1) for _ in range(5)] == [True, True, True, False, False]
    assert rates.takes(topic_of(OTHER), 1), "another device has a bucket of its own"
    clock.now_s = 2.0
    assert [rates.takes(topic_of(FLOODER), 1) for _ in range(3)] == [True, True, False]
    assert rates.take_over_rate() == (OverRate(FLOODER, 3, 3),)
    assert rates.take_over_rate() == ()


def test_more_bytes_than_the_bucket_holds_are_dropped_though_the_messages_are_few(clock):
    rates = Rates(LIMIT, clock.monotonic_s)
    assert [rates.takes(topic_of(FLOODER), 600) for _ in range(2)] == [True, False]
    assert rates.takes(topic_of(FLOODER), 400)


def test_a_bucket_never_holds_more_than_its_burst(clock):
    rates = Rates(LIMIT, clock.monotonic_s)
    assert rates.takes(topic_of(FLOODER), 1)
    clock.now_s = 1e6
    assert sum(rates.takes(topic_of(FLOODER), 1) for _ in range(10)) == 3


def test_labels_are_not_the_devices_words(clock):
    rates = Rates(LIMIT, clock.monotonic_s)
    assert all(rates.takes(topic_of(FLOODER, Channel.LABELS), 1) for _ in range(10))


def test_the_buckets_of_a_great_fleet_are_bounded(clock, monkeypatch):
    monkeypatch.setattr("trainer.monitoring.rates._MAX_REMEMBERED", 10)
    rates = Rates(LIMIT, clock.monotonic_s)
    for number in range(50):
        assert rates.takes(topic_of(DeviceId(f"press-{number}")), 1)
    assert len(rates._buckets) == 10


def test_a_month_of_windows_at_once_is_within_the_default_rate(clock):
    rates = Rates(RateLimit(), clock.monotonic_s)
    assert all(rates.takes(topic_of(FLOODER), 600) for _ in range(30 * 24 * 6))


def test_a_flood_is_counted_in_the_store_and_told_once_an_hour(tmp_path, clock):
    store = open_store(store_uri(tmp_path / "fleet.db"))
    reports = FloodReports(store, clock)
    assert reports.report(()) == ()
    (alert,) = reports.report((OverRate(FLOODER, 7, 700),))
    assert (alert.kind, alert.scope) == ("device_flood", f"device:{FLOODER}")
    assert "fieldloop device revoke press-1" in alert.text
    assert reports.report((OverRate(FLOODER, 2, 200),)) == ()
    clock.now_s = 3601
    assert len(reports.report((OverRate(FLOODER, 1, 100),))) == 1
    assert refused_by_device(store) == {FLOODER: 10}
    store.close()
