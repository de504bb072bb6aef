"""Whatever an update server does, the device scores; and takes the update once the server is honest."""

import dataclasses
from pathlib import Path

import pytest

from edge_agent.clock import Clock
from tests.crash.device import Device
from tests.crash.hostile_server import Malice, open_server
from tests.crash.nursery import Nursery
from tests.crash.recording import Recording
from tests.crash.witness import DEVICE
from tests.crash.world import World
from tests.waiting import wait_until

QUICKLY = "timeout_s = 0.5\nmin_bytes_per_s = 1000.0\nstage_timeout_s = 20.0"
ENDS = ("refused", "error")


# Where: in the first answer of all, in what is asked for next, in what is fetched last.
PLACES: tuple[tuple[Malice, str], ...] = (
    ("stalls", "timestamp.json"),
    ("stalls", "model.onnx"),
    ("drips", "manifest.json"),
    ("cuts", "timestamp.json"),
    ("cuts", "model.onnx"),
    ("says_less", "timestamp.json"),
    ("says_less", "model.onnx"),
    ("says_more", "manifest.json"),
    ("never_ends", "timestamp.json"),
    ("never_ends", "model.onnx"),
)


@pytest.mark.parametrize(("malice", "name"), PLACES)
def test_a_server_that_misbehaves_costs_nothing(
    world: World, recording: Recording, nursery: Nursery, place: Path, clock: Clock, malice: Malice, name: str
):
    folder = place / f"{malice}-{name.partition('.')[0]}"
    folder.mkdir()
    with open_server(world.repository) as server:
        device = Device(dataclasses.replace(world, url=server.url), nursery, folder, clock, repository=QUICKLY)
        try:
            device.begin_installed(recording)
            device.witness.start()
            wait_until(lambda: device.witness.is_connected, 30, "the receiver is connected")
            server.malice, server.name = malice, name
            order = device.order(world.bundles[1])
            assert device.live_until(
                lambda: any(device.witness.events(DEVICE, kind) for kind in ENDS) and server.spoilt
            ), device.log
            rows = device.witness.rows(DEVICE)
            assert device.live_until(lambda: device.witness.rows(DEVICE) >= rows + 60), device.log
            server.malice = "none"
            if device.witness.events(DEVICE, "refused"):
                # What is altered is refused for good: somebody looks at it, and orders it again.
                order = device.order(world.bundles[1])
            assert device.live_until(lambda: device.has_settled(order, "committed")), device.log
            assert device.stop() == 0
            assert device.starts == 1
            assert device.findings() == []
        finally:
            device.close()
