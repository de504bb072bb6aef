"""A customised image does its first run on arm64, and scores.

dpkg, Python and the agent are those of arm64, each emulated; systemd is this machine's, for qemu's user
mode can be no first process. There is no image of Raspberry Pi OS to be had here: this has its layout, and a Debian 12
stands for its root.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.servers.local import start_local_broker
from exporter.image.customise.customising import Wanted, customise
from exporter.image.customise.package import load_package
from tests.cards import make_user_files
from tests.debian_machine import HERE, Machine, Root
from tests.integration.deb.conftest import BuildPackage
from tests.integration.exporter.image.board import insert, make_board, start_first
from tests.raspberry_image import LINES, Layout, make_image
from tests.receiver import Receiver
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
EMULATOR = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
WITHIN_S = 600


@dataclass(frozen=True)
class Started:
    """A board after its first start, and who listens to it."""

    machine: Machine
    firmware: Path
    receiver: Receiver

    def wait_until_it_scores(self) -> None:
        rows = self.receiver.rows("press-1")
        wait_until(lambda: self.receiver.rows("press-1") > rows + 50, WITHIN_S, f"rows are scored; {self._told()}")

    def _told(self) -> str:
        return self.machine.run("systemctl", "status", "--no-pager", "fieldloop-agent", check=False).stdout


@pytest.fixture(scope="module")
def started(package_of: BuildPackage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A board that was started twice: once for the first run, and then as ever."""
    if not EMULATOR.exists() or "enabled" not in EMULATOR.read_text():
        pytest.skip("this machine does not start programs of arm64: sudo apt-get install qemu-user-static")
    if HERE != "amd64":
        pytest.skip(f"it is for the x86-64 of most machines, and this is {HERE}")
    folder = tmp_path_factory.mktemp("card")
    with contextlib.ExitStack() as opened:
        broker = start_local_broker(folder / "broker")
        opened.callback(broker.stop)
        receiver = Receiver(broker.endpoint)
        receiver.start()
        opened.callback(receiver.close)
        user = make_user_files(folder / "user")
        user.set_agent(broker_port=broker.endpoint.port)
        image = make_image(folder, Layout(architecture="arm64"))
        customise(image, folder / "card.img", Wanted(user.card, (load_package(package_of("arm64", "0.1.0")),)))
        (folder / "board").mkdir()
        board: Root = make_board(folder / "board", architecture="arm64")
        firmware = insert(folder / "card.img", board)
        start_first(board)
        machine = Machine(board)
        opened.callback(machine.stop)
        yield Started(machine, firmware, receiver)


def test_after_its_first_run_a_customised_card_scores_on_arm64(started: Started):
    assert started.machine.run("uname", "--machine").stdout == "aarch64\n"
    started.wait_until_it_scores()
    log = (started.firmware / "fieldloop-first-run.log").read_text()
    assert "fieldloop-agent 0.1.0 installed" in log
    assert "ended with 0" in log
    assert (started.firmware / "cmdline.txt").read_text() == LINES["bookworm"] + "\n"
