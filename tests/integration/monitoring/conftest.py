"""A real broker of each kind, and devices that speak to it through the real client."""

import itertools
import os
import random
import threading

import pytest

from broker.client import WireClient
from broker.errors import LinkError
from broker.messages import Status, Stored, encode, parse_as
from broker.servers.local import start_local_broker
from broker.servers.mosquitto import find_mosquitto
from broker.topics import Channel, device_filters
from edge_agent.clock import SystemClock
from tests.ports import free_port
from tests.unit.trainer.simulated_fleet import FLEET, SimulatedDevice
from tests.waiting import wait_until
from trainer.monitoring.receiver import Monitor
from trainer.monitoring.store import open_store, store_uri

_NUMBERS = itertools.count()


@pytest.fixture(params=[pytest.param("mosquitto", marks=pytest.mark.mosquitto), "amqtt"])
def broker(request, tmp_path):
    if request.param == "mosquitto" and find_mosquitto() is None:
        pytest.skip("no mosquitto is installed: apt-get install mosquitto")
    started = start_local_broker(tmp_path / "broker", port=free_port(), kind=request.param)
    yield started
    started.stop()


class WiredDevice(SimulatedDevice):
    """A device with a spool: keeps every record until the monitor says that it is stored."""

    def __init__(self, broker, name, **how):
        super().__init__(name, **how)
        self.marks: list[Stored] = []
        self.inbox = []
        self.spool = {}
        self._lock = threading.Lock()
        self.client = WireClient(
            broker.endpoint,
            f"device-{name}",
            filters=device_filters(FLEET, self.name),
            on_delivery=self._hear,
            rng=random.Random(1),
            keepalive_s=5,
        )
        self.client.start()
        wait_until(lambda: self.client.is_connected)

    def _hear(self, delivery):
        if delivery.topic.channel is Channel.STORED:
            mark = parse_as(Stored, Channel.STORED, delivery.payload)
            with self._lock:
                self.marks.append(mark)
                if mark.epoch == self.epoch:
                    self.spool = {s: d for s, d in self.spool.items() if s > mark.sequence}
        else:
            self.inbox.append(delivery)

    def put(self, channel, body):
        delivery = self.record(channel, body)
        with self._lock:
            self.spool[self.sequence] = delivery
        return delivery

    def send(self, delivery):
        try:
            self.client.publish_and_wait(delivery.topic, delivery.payload, 10)
        except LinkError:
            return False
        return True

    def send_spool(self):
        with self._lock:
            waiting = [self.spool[s] for s in sorted(self.spool)]
        return all(self.send(delivery) for delivery in waiting)

    def say_status(self, bundle, **how):
        self.send(self.status(bundle, **how))

    def close(self):
        self.client.publish(self.topic(Channel.STATUS), encode(Status(False, 0.0, "boot", "0.1")))
        self.client.close()


@pytest.fixture
def make_device(broker):
    devices = []

    def make(name, **how):
        devices.append(WiredDevice(broker, name, **how))
        return devices[-1]

    yield make
    for device in devices:
        device.client.close()


def fleet_database(kind, request, tmp_path):
    """The address of an empty database of that kind."""
    if kind == "sqlite":
        return store_uri(tmp_path / "fleet.db")
    return request.getfixturevalue("postgres").new_database(f"fleet-{os.getpid()}-{next(_NUMBERS)}")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def store(request, tmp_path):
    opened = open_store(fleet_database(request.param, request, tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def make_monitor(broker, store):
    monitors = []

    def make(**how):
        monitor = Monitor(broker.endpoint, FLEET, store, clock=SystemClock(), rng=random.Random(2), **how)
        monitors.append(monitor)
        monitor.start()
        wait_until(lambda: monitor.client.is_connected)
        return monitor

    yield make
    for monitor in monitors:
        monitor.close()
