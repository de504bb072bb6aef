"""Two processes with one certificate at a real Mosquitto: each says so, and people are told."""

import logging
import random
from typing import TYPE_CHECKING

import pytest

from broker.client import WireClient
from broker.identity.names import Role
from broker.messages import Status, encode
from broker.servers.mosquitto import find_mosquitto
from broker.topics import Channel, DeviceId, FleetId, Topic
from tests.fleet_broker import CLOCK, Credentials, TestFleet
from tests.waiting import wait_until
from trainer.monitoring.doubles import DoubleReports
from trainer.monitoring.receiver import Monitor
from trainer.monitoring.store import open_store, store_uri

if TYPE_CHECKING:
    from trainer.monitoring.alerts import Alert

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(find_mosquitto() is None, reason="no mosquitto here: apt-get install mosquitto"),
]
PLANT, DEVICE = FleetId("plant"), DeviceId("press-1")


class Agent:
    """What of an agent speaks on each new link."""

    def __init__(self, endpoint, who: Credentials, boot_id: str) -> None:
        self.boot_id = boot_id
        self.client = WireClient(
            endpoint,
            DEVICE,
            filters=(),
            on_delivery=lambda _: None,
            on_link=self._on_link,
            rng=random.Random(boot_id),
            tls=who.context(),
        )
        self.client.start()

    def _on_link(self, is_up: bool) -> None:  # noqa: FBT001 - as the client calls it
        if is_up:
            status = Status(online=True, at_utc_s=CLOCK.utc_s(), boot_id=self.boot_id, agent_version="1")
            self.client.publish(Topic(PLANT, DEVICE, Channel.STATUS), encode(status))


def test_two_agents_of_one_identity_say_so_and_the_monitor_tells_people(tmp_path, caplog):
    fleet = TestFleet(tmp_path)
    device, service = fleet.issue(Role.DEVICE, DEVICE), fleet.issue(Role.TRAINER, "loop")
    store = open_store(store_uri(tmp_path / "fleet.db"))
    with caplog.at_level(logging.WARNING, "broker.client"), fleet.broker() as broker:
        endpoint = broker.process.endpoint
        monitor = Monitor(endpoint, PLANT, store, clock=CLOCK, rng=random.Random(1), tls=service.context())
        monitor.start()
        wait_until(lambda: monitor.client.is_connected)
        agents = [Agent(endpoint, device, boot) for boot in ("a", "b")]
        alerts: list[Alert] = []

        def told() -> bool:
            alerts.extend(DoubleReports(CLOCK).report(monitor.receiver.doubles.take()))
            return bool(alerts) and "Another process may have this name" in caplog.text

        wait_until(told, 30, "both are told")
        for agent in agents:
            agent.client.close()
        monitor.close()
    store.close()
    assert {alert.scope for alert in alerts} == {"device:press-1"}
