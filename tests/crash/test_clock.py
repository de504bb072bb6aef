"""A wall clock that jumps by ten years, forth and back, stops no scoring and no update for good."""

from pathlib import Path

import pytest

from edge_agent.clock import Clock
from tests.crash.device import Device
from tests.crash.nursery import Nursery
from tests.crash.recording import Recording
from tests.crash.shim import Control, Shim
from tests.crash.witness import DEVICE
from tests.crash.world import World
from tests.waiting import wait_until

TEN_YEARS_S = 10 * 365 * 24 * 3600


def more_rows(device: Device, n_rows: int = 60) -> None:
    """Have a device live on until so many more of its rows are stored."""
    rows = device.witness.rows(DEVICE)
    assert device.live_until(lambda: device.witness.rows(DEVICE) >= rows + n_rows), device.log


@pytest.mark.parametrize("jump_s", [TEN_YEARS_S, -TEN_YEARS_S], ids=["forth", "back"])
def test_a_clock_that_jumps_by_ten_years_costs_nothing(
    world: World, recording: Recording, nursery: Nursery, shim: Shim, place: Path, clock: Clock, jump_s: int
):
    folder = place / f"clock{jump_s}"
    folder.mkdir()
    control = Control(folder / "control")
    watching = shim.watching(folder / "disk", control=control)
    device = Device(world, nursery, folder, clock, environment=watching)
    try:
        device.begin_installed(recording)
        device.witness.start()
        wait_until(lambda: device.witness.is_connected, 30, "the receiver is connected")
        device.start()
        more_rows(device)
        control.set_clock_wrong(jump_s)
        more_rows(device)
        order = device.order(world.bundles[1])
        if jump_s > 0:
            # What was signed has expired by then: that may be the clock's fault, so the order stays.
            assert device.live_until(lambda: device.witness.events(DEVICE, "error")), device.log
            assert "this device's clock is wrong" in device.witness.events(DEVICE, "error")[0].reason
            more_rows(device)
            # Started in the wrong year as well.
            device.kill()
            more_rows(device)
            control.set_clock_wrong(0)
        assert device.live_until(lambda: device.has_settled(order, "committed")), device.log
        control.set_clock_wrong(0)
        more_rows(device)
        assert device.stop() == 0
        assert device.findings() == []
        windows = device.witness.windows(DEVICE)
        assert any(abs(window.started_utc_s - clock.utc_s()) > TEN_YEARS_S / 2 for window in windows)
    finally:
        device.close()
        control.close()
