"""A farm of emulated boards, by the commands that people type."""

import json
import os
import pty
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_card import tiny_card
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
BOOT_S = 200.0


class Farm:
    """The commands in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-P", "-m", "trainer.cli", "farm", *arguments]
        done = subprocess.run(command, cwd=self.folder, check=False, capture_output=True, text=True, timeout=250)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def boards(self) -> dict[str, dict[str, Any]]:
        return {board["name"]: board for board in json.loads(self("list", "--json"))}

    def wait_for(self, name: str, said: str) -> None:
        log = self.folder / "farm" / name / "console.log"
        wait_until(lambda: said in log.read_text(errors="replace"), BOOT_S, f"{name} says {said}")


def has_ended(pid: int) -> bool:
    """Tell whether a process runs no more; what only waits to be buried does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    farm = Farm(tmp_path)
    yield farm
    farm("down", "--forget", "--wait", "0")


def test_boards_of_one_image_have_cards_of_their_own_and_go_on_after_a_stop(farm: Farm):
    card = tiny_card()
    assert "virt-2 runs, 80 at 127.0.0.1:" in farm(
        "up", "--image", str(card), "-n", "2", "--board", "virt", "--port", "80", "--memory", "256", "--cpus", "1"
    )
    for name, board in farm.boards().items():
        assert board["running"]
        farm.wait_for(name, "tiny: serves")
        port = board["forwards"][0]["host_port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/starts", timeout=20) as answer:
            assert answer.read() == b"1\n"
    pids = {name: board["process"]["pid"] for name, board in farm.boards().items()}
    farm("up", "-n", "2", "--board", "virt")
    assert {name: board["process"]["pid"] for name, board in farm.boards().items()} == pids
    join_and_leave_the_console(farm, "virt-1")

    assert farm("down", "virt-2") == "virt-2 stopped\n"
    assert [board["running"] for board in farm.boards().values()] == [True, False]
    assert has_ended(pids["virt-2"])
    assert "start 1 from" in farm("logs", "virt-2", "--follow")

    farm("up", "-n", "2", "--board", "virt")
    farm.wait_for("virt-2", "start 2 from")
    assert "start 2 from" not in farm("logs", "virt-1")
    assert farm.boards()["virt-2"]["forwards"][0]["guest_port"] == 80

    assert farm("down", "--wait", "0", "--forget") == "".join(
        f"virt-{number} stopped: its power was cut, its card is gone\n" for number in (1, 2)
    )
    assert "no board in farm" in farm("list")
    for pid in pids.values():
        assert has_ended(pid)


def join_and_leave_the_console(farm: Farm, name: str) -> None:
    ours, theirs = pty.openpty()
    joined = subprocess.Popen(
        [sys.executable, "-P", "-m", "trainer.cli", "farm", "console", name],
        cwd=farm.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""

    def has_said(text: bytes) -> bool:
        nonlocal said
        said += os.read(ours, 4096)
        return text in said

    wait_until(lambda: has_said(b"Ctrl-] leaves"), 30)
    os.write(ours, b"hello\r")
    wait_until(lambda: has_said(b"tiny: heard hello"), 30)
    os.write(ours, b"\x1d")
    assert joined.wait(30) == 0
    os.close(ours)
    assert farm.boards()[name]["running"]


def test_an_emulated_raspberry_pi_is_the_default_and_has_no_power_button(farm: Farm):
    farm("up", "--image", str(tiny_card()))
    assert farm.boards()["pi3-1"]["machine"] == "raspi3b"
    assert farm("down") == "pi3-1 stopped: its power was cut\n"


def test_a_farm_without_an_image_says_where_to_get_one(farm: Farm):
    assert "fieldloop image build makes one" in farm("up", "-n", "3", code=17)
    assert "has no board virt-9" in farm("logs", "virt-9", code=17)
    assert "does not run" not in farm("list")


def test_a_board_that_qemu_refuses_is_reported_with_what_qemu_said(farm: Farm):
    refused = farm("up", "--image", str(tiny_card()), "--board", "virt", "--memory", "99999999", code=17)
    assert "virt-1 did not start: " in refused
