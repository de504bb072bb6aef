"""A disk that runs full at one write of an update, and has room again after some refusals."""

import random
from pathlib import Path
from typing import Final

from edge_agent.clock import Clock
from tests.crash.device import Device
from tests.crash.findings import Finding
from tests.crash.nursery import Nursery
from tests.crash.recording import Recording
from tests.crash.shim import Control, Shim
from tests.crash.witness import DEVICE
from tests.crash.world import World
from tests.waiting import wait_until

# After so many refusals there is room again.
REFUSALS: Final = (1, 2, 5, 20, 80)
NEVER: Final = -1
MORE_ROWS: Final = 60


class FullDisks:
    """Updates on disks that run full; `survive` may be called by several threads."""

    def __init__(
        self, world: World, recording: Recording, nursery: Nursery, shim: Shim, folder: Path, clock: Clock
    ) -> None:
        """Join the parts; the nursery must be under the shim."""
        self._world = world
        self._recording = recording
        self._nursery = nursery
        self._shim = shim
        self._folder = folder
        self._clock = clock

    def survive(self, number: int, seed: int = 1) -> tuple[list[Finding], int]:
        """Have the disk run full at one of the calls that take room.

        Args:
            number: of that call; `NEVER`: it does not run full.
            seed: chooses when there is room again.

        Returns:
            What must not be, and how many calls took room.
        """
        folder = self._folder / f"full{number}s{seed}"
        folder.mkdir()
        control = Control(folder / "control")
        watching = self._shim.watching(folder / "disk", control=control)
        device = Device(self._world, self._nursery, folder, self._clock, environment=watching)
        try:
            device.begin_installed(self._recording)
            device.witness.start()
            wait_until(lambda: device.witness.is_connected, 30, "the receiver is connected")
            if number >= 0:
                control.fill_from(number, random.Random(f"{number} {seed}").choice(REFUSALS))
            order = device.order(self._world.bundles[1])
            rows = device.witness.rows(DEVICE)
            if not device.live_until(lambda: device.has_settled(order, "committed")):
                return [Finding("not back", f"the update was not committed; log: {device.log[-500:]}")], 0
            if not device.live_until(lambda: device.witness.rows(DEVICE) >= rows + MORE_ROWS):
                return [Finding("not back", "no more rows came")], 0
            if device.stop() != 0:
                return [Finding("not back", "it did not stop")], 0
            return device.findings(), control.growths
        finally:
            device.close()
            control.close()
