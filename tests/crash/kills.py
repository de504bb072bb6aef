"""Kills a device's agent again and again, in the midst of scoring and of updates."""

import random
import threading
from pathlib import Path

from edge_agent.clock import Clock
from tests.crash.device import Device
from tests.crash.findings import Finding
from tests.crash.nursery import Nursery
from tests.crash.witness import DEVICE
from tests.crash.world import World
from tests.waiting import wait_until


def survive_kills(
    world: World, nursery: Nursery, folder: Path, clock: Clock, kills: int, chance: random.Random
) -> list[Finding]:
    """Kill one device's agent so often, then let it come to rest; return what must not be."""
    folder.mkdir()
    device = Device(world, nursery, folder, clock, source="rows_per_second = 200")
    try:
        device.witness.start()
        wait_until(lambda: device.witness.is_connected, 30, "the receiver is connected")
        order = device.order(world.bundles[0])
        device.live_until(lambda: device.has_settled(order, "committed"))
        for kill in range(kills):
            if kill % 4 == 1:
                # In the midst of fetching, proving, trying, committing it, or rolling it back.
                device.order(world.bundles[kill // 4 % 3])
            threading.Event().wait(chance.uniform(0.0, 1.0))
            device.kill()
            device.start()
        last = device.order(world.bundles[1])
        rows = device.witness.rows(DEVICE)
        if not device.live_until(lambda: device.has_settled(last, "committed")):
            return [Finding("not back", f"the last order was not carried out; log: {device.log[-500:]}")]
        if not device.live_until(lambda: device.witness.rows(DEVICE) >= rows + 60):
            return [Finding("not back", "no more rows came")]
        return ([] if device.stop() == 0 else [Finding("not back", "it did not stop")]) + device.findings()
    finally:
        device.close()
