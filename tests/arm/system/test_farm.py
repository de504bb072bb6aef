"""A farm of three boards of one real card: each enrols under a name of its own, and scores."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.image.emulation.machines import BOARDS
from tests.arm.system.cards import build_card
from tests.arm.system.power_cuts import BOOT_S
from tests.arm.system.test_other_cards import ALL
from tests.arm.system.world import CardWorld
from tests.conftest import REPOSITORY
from tests.waiting import wait_until

N_BOARDS = 3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(ALL not in os.environ, reason=f"takes minutes: make test-arm runs it, or {ALL}=1"),
]


@pytest.mark.parametrize("board", BOARDS)
def test_three_boards_enrol_under_three_names_and_score(board: str, world: CardWorld, tmp_path: Path):
    prefix = f"{board}-farm-"
    card = world.describe_card(f"farm-{board}", device=f"{prefix}*", uses=N_BOARDS)
    image = build_card(card, tmp_path / "card.img")
    farm = ("--folder", str(tmp_path / "farm"))
    try:
        run("up", "--image", str(image), "-n", str(N_BOARDS), "--board", board, *farm)
        wait_until(lambda: len(world.scoring(prefix)) == N_BOARDS, N_BOARDS * BOOT_S, "three boards score")
    finally:
        run("down", "--wait", "0", *farm)
    register = world.fleet.open_register()
    names = {identity.name for identity in register.view().active}
    register.close()
    assert world.scoring(prefix) <= names


def run(*words: str) -> None:
    command = [sys.executable, "-P", "-m", "trainer.cli", "farm", *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=BOOT_S)
    assert done.returncode == 0, done.stderr
