"""A broker that comes and goes costs no record: what it took and forgot is sent again."""

import dataclasses
from pathlib import Path

import pytest

from broker.servers.local import start_local_broker
from edge_agent.clock import Clock
from tests.crash.device import Device
from tests.crash.nursery import Nursery
from tests.crash.recording import Recording
from tests.crash.witness import DEVICE
from tests.crash.world import World
from tests.ports import free_port
from tests.waiting import wait_until

FLAPS = 4
# Both sides wait longer after each failure, and so do records that nobody stored.
PATIENCE_S = 150


@pytest.mark.slow
def test_a_broker_that_dies_again_and_again_costs_nothing(
    world: World, recording: Recording, nursery: Nursery, place: Path, clock: Clock
):
    folder = place / "flapping"
    folder.mkdir()
    broker = start_local_broker(folder / "broker", port=free_port())
    port = broker.endpoint.port
    device = Device(dataclasses.replace(world, broker=broker), nursery, folder, clock)
    try:
        device.begin_installed(recording)
        device.witness.start()
        wait_until(lambda: device.witness.is_connected, 30, "the receiver is connected")
        device.start()
        for _ in range(FLAPS):
            rows = device.witness.rows(DEVICE)
            # By SIGKILL: what the broker had acknowledged and not passed on yet is lost with it.
            broker.process.kill()
            broker.process.wait()
            broker = start_local_broker(folder / "broker", port=port)
            assert device.live_until(device.has_more_rows(rows), PATIENCE_S), device.log
        # An order that a broker has forgotten is not the device's to remember.
        wait_until(lambda: device.witness.is_connected, PATIENCE_S, "the receiver is connected again")
        order = device.order(world.bundles[1])
        assert device.live_until(lambda: device.has_settled(order, "committed"), PATIENCE_S), device.log
        assert device.stop() == 0
        assert device.starts == 1
        assert device.findings() == []
    finally:
        device.close()
        broker.stop()
