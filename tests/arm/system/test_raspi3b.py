"""A finished card on an emulated Raspberry Pi 3B: its own device tree and card reader, network on USB, no clock."""

from pathlib import Path

import pytest

from tests.arm.system.board import Board
from tests.arm.system.power_cuts import BOOT_S
from tests.arm.system.world import CardWorld
from tests.crash.witness import DEVICE
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_finished_card_comes_to_its_first_score(world: CardWorld, image: Path, tmp_path: Path):
    board = Board(tmp_path / "raspi3b", image, "raspi3b")
    board.start()
    try:
        wait_until(lambda: world.witness.windows(DEVICE), 2 * BOOT_S, lambda: f"a window arrives; {board.account()}")
        status = world.witness.status(DEVICE)
        assert status is not None
        assert status.online
    finally:
        board.remove()
