"""On a board of arm64 that has a system already, the agent comes by ssh, and by the first start of a customised image.

The system is a whole Debian that starts in an emulated machine: its sshd, sudo, dpkg and systemd are those of arm64.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from exporter.image.customise.customising import Wanted, customise
from exporter.image.customise.package import load_package
from exporter.image.emulation.command_line import Forward
from exporter.image.over_ssh.cli import app
from tests.arm.system.board import Board
from tests.arm.system.debian_board import make_debian_image
from tests.arm.system.power_cuts import BOOT_S
from tests.arm.system.test_other_cards import ALL
from tests.arm.system.world import CardWorld
from tests.integration.deb.conftest import BuildPackage
from tests.ports import free_port
from tests.raspberry_image import boot_partition
from tests.ssh_board import answers_ssh
from tests.ssh_client import SshClient
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(ALL not in os.environ, reason=f"takes minutes: make test-arm runs it, or {ALL}=1"),
]
WAIT_S = 600


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of who installs."""
    key = tmp_path_factory.mktemp("key") / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "someone", "-f", str(key)], check=True)
    return key


@pytest.fixture(scope="module")
def system(image: Path, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image of a board without the agent."""
    return make_debian_image(tmp_path_factory.mktemp("system"), image, key)


def test_over_ssh_it_is_installed_and_scores_and_twice_is_once(
    world: CardWorld, system: Path, key: Path, package_of: BuildPackage, tmp_path: Path
):
    ssh = SshClient(tmp_path, key, free_port())
    card = world.describe_card("over-ssh", device="desk-*")
    package = package_of("arm64", "0.1.0")
    command = ["install", ssh.address, "--card", str(card), "--package", str(package), "--accept-new-host-key"]
    board = Board(tmp_path / "virt", system, "virt", (Forward(ssh.port, 22),))
    board.start()
    try:
        wait_until(lambda: answers_ssh(ssh.port), BOOT_S, lambda: f"its server of SSH answers; {board.account()}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", ssh.path)
            done = CliRunner().invoke(app, [*command, "--wait", str(WAIT_S)])
            assert done.exit_code == 0, done.output
            assert "fieldloop-agent 0.1.0 installed" in done.output
            wait_until(lambda: world.scoring("desk-"), BOOT_S, f"a window arrives; {done.output}")
            again = CliRunner().invoke(app, [*command, "--wait", str(WAIT_S), "--json"])
        assert again.exit_code == 0, again.output
        steps = json.loads(again.stdout)["steps"]
        assert steps[0] == "fieldloop-agent 0.1.0 was there already"
        assert "0 files written" in steps
        assert ssh.run("uname -m") == "aarch64\n"
    finally:
        board.remove()


def test_the_first_start_of_a_customised_image_installs_it_and_the_second_scores(
    world: CardWorld, system: Path, package_of: BuildPackage, tmp_path: Path
):
    card = world.describe_card("customised", device="own-*")
    customised = tmp_path / "customised.img"
    customise(system, customised, Wanted(card, (load_package(package_of("arm64", "0.1.0")),)))
    # The command line that it is started by is read when it is switched on, so it must not restart by itself.
    first = Board(tmp_path / "first", customised, "virt", restarts=False)
    first.start()
    wait_until(lambda: not first.is_on, BOOT_S, lambda: f"its first run ends; {first.account()}")
    assert not world.scoring("own-")
    second = Board(tmp_path / "second", first.take_out(tmp_path / "started.img"), "virt")
    first.remove()
    boot = boot_partition(tmp_path / "started.img")
    log = boot.read("fieldloop-first-run.log")
    assert b"fieldloop-agent 0.1.0 installed" in log
    assert b"ended with 0" in log
    assert b"systemd.run" not in boot.read("cmdline.txt")
    second.start()
    try:
        wait_until(lambda: world.scoring("own-"), BOOT_S, lambda: f"a window arrives; {second.account()}")
    finally:
        second.remove()
