"""An image of our own is customised, and what stands in it is done for real by a systemd that starts first.

There is no image of Raspberry Pi OS to be had here: this has its layout, and a Debian 12 stands for its root.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.servers.local import start_local_broker
from exporter.image.customise.customising import Wanted, customise
from exporter.image.customise.package import load_package
from tests.cards import UserFiles, make_user_files
from tests.debian_machine import Machine, Root
from tests.integration.deb.conftest import BuildPackage
from tests.integration.exporter.image.board import insert, make_board, start_first
from tests.raspberry_image import LINES, Layout, make_image
from tests.receiver import Receiver
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class FirstStart:
    """A board after its first start, and who listens to it."""

    def __init__(self, board: Root, machine: Machine, firmware: Path, user: UserFiles, receiver: Receiver) -> None:
        self.board = board
        self.machine = machine
        self.firmware = firmware
        self.user = user
        self.receiver = receiver


@pytest.fixture(scope="module")
def started(package_of: BuildPackage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstStart]:
    """A board that was started twice: once for the first run, and then as ever."""
    folder = tmp_path_factory.mktemp("card")
    broker = start_local_broker(folder / "broker")
    receiver = Receiver(broker.endpoint)
    receiver.start()
    wait_until(lambda: receiver.is_connected, 10, "the receiver is connected")
    user = make_user_files(folder / "user")
    user.set_agent(broker_port=broker.endpoint.port)
    image = make_image(folder, Layout(architecture="amd64"))
    customise(image, folder / "card.img", Wanted(user.card, (load_package(package_of("amd64", "0.1.0")),)))
    (folder / "board").mkdir()
    board = make_board(folder / "board")
    firmware = insert(folder / "card.img", board)
    start_first(board)
    machine = Machine(board)
    yield FirstStart(board, machine, firmware, user, receiver)
    machine.stop()
    receiver.close()
    broker.stop()


def test_the_agent_scores_its_preloaded_bundle_without_having_fetched_anything(started: FirstStart):
    told = started.machine.run("systemctl", "status", "--no-pager", "fieldloop-agent", check=False).stdout
    wait_until(lambda: started.receiver.rows("press-1") > 100, 60, f"rows are scored; {told}")
    assert started.machine.show("ActiveState") == "active"
    assert started.machine.show("UnitFileState") == "enabled"
    wait_until(lambda: started.machine.show("StatusText").startswith("rain/3 (native)"), 60, "it says what it runs")


def test_its_settings_are_those_of_the_card(started: FirstStart):
    told = started.machine.run("fieldloop-agent", "check-config", "--settings", "/etc/fieldloop/agent.toml").stdout
    assert "press-1" in told


def test_the_first_run_leaves_the_boot_partition_as_it_was_but_for_its_log(started: FirstStart):
    names = {path.name for path in started.firmware.iterdir()}
    assert names == {"cmdline.txt", "config.txt", "issue.txt", "fieldloop-first-run.log"}
    assert (started.firmware / "cmdline.txt").read_text() == LINES["bookworm"] + "\n"
    log = (started.firmware / "fieldloop-first-run.log").read_text()
    assert "fieldloop-agent 0.1.0 installed" in log
    assert "ended with 0" in log


def test_who_may_log_in_is_there_with_his_key_and_no_password(started: FirstStart):
    key = (started.user.folder / "id_ed25519.pub").read_text()
    home = started.board.folder / "home/warden"
    assert (home / ".ssh/authorized_keys").read_text() == key
    assert started.machine.run("passwd", "--status", "warden").stdout.split()[1] in {"L", "LK"}
    assert started.machine.run("runuser", "-u", "warden", "--", "sudo", "-n", "id", "-u").stdout == "0\n"
    told = started.machine.run("sshd", "-T").stdout.lower()
    assert "passwordauthentication no" in told
    assert started.machine.run("systemctl", "is-enabled", "ssh").stdout == "enabled\n"


def test_it_has_its_name_its_watchdog_and_a_bounded_journal(started: FirstStart):
    assert started.machine.run("cat", "/etc/hostname").stdout == "press-1\n"
    told = started.machine.run("systemd-analyze", "cat-config", "systemd/system.conf").stdout
    assert "RuntimeWatchdogSec=15" in told
    assert "Storage=volatile" in started.machine.run("systemd-analyze", "cat-config", "systemd/journald.conf").stdout


def test_nothing_that_is_secret_may_be_read_by_others(started: FirstStart):
    found = subprocess.run(
        ["grep", "-rlI", "BEGIN PRIVATE KEY", str(started.firmware)], capture_output=True, text=True, check=False
    )
    assert found.stdout == ""
    state = started.machine.run("stat", "--format=%U %a", "/var/lib/fieldloop").stdout
    assert state == "fieldloop 750\n"


def test_a_power_cut_at_any_step_lets_the_next_start_finish(
    package_of: BuildPackage, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("cuts")
    user = make_user_files(folder / "user")
    image = make_image(folder, Layout(architecture="amd64"))
    customise(image, folder / "card.img", Wanted(user.card, (load_package(package_of("amd64", "0.1.0")),)))
    (folder / "board").mkdir()
    board = make_board(folder / "board")
    write_saw(board)
    # The second is like all that follow: what they do not forget is there.
    for _ in range(2):
        insert(folder / "card.img", board)
        board.run("sh", "-c", FORGET)
        saw(board, at=NEVER)
    n_steps = len((board.folder / COUNT).read_text().splitlines())
    # The first file, one between, and all of the end, where what was used up is removed.
    for cut in (1, n_steps // 2, *range(n_steps - 5, n_steps + 1)):
        firmware = insert(folder / "card.img", board)
        board.run("sh", "-c", FORGET)
        saw(board, at=cut)
        assert "cut" in (board.folder / COUNT).read_text()
        line = (firmware / "cmdline.txt").read_text()
        assert line.startswith(LINES["bookworm"])
        if "systemd.run=" in line:
            # Or systemd would find nothing to run, and switch the board off for ever.
            assert (firmware / "firstrun.sh").exists()
            saw(board, at=NEVER)
        # Where the cut came when nothing named the script any more, it may be left.
        names = {path.name for path in firmware.iterdir()} - {"firstrun.sh"}
        assert names == {"cmdline.txt", "config.txt", "issue.txt", "fieldloop-first-run.log"}
        assert (firmware / "cmdline.txt").read_text() == LINES["bookworm"] + "\n"
        told = board.run("cat", "/etc/fieldloop/agent.toml", "/var/lib/fieldloop/update.json").stdout
        assert told.count("rain") > 1
        assert board.run("dpkg", "--verify", "fieldloop-agent").stdout == ""


NEVER = 0
# Not the package, whose installation takes longest.
FORGET = "rm -rf /etc/fieldloop/* /var/lib/fieldloop/*"
COUNT = "var/tmp/syncs"


def write_saw(board: Root) -> None:
    """Have the power fail as something is synced, which is where each step ends."""
    program = board.folder / "usr/local/sbin/sync"
    program.write_text(
        f"""#!/bin/sh
echo sync >>/{COUNT}
if [ "$(wc -l </{COUNT})" = "$(cat /{COUNT}.at)" ]; then
    echo cut >>/{COUNT}
    kill -9 0
fi
exec /bin/sync "$@"
"""
    )
    program.chmod(0o755)


def saw(board: Root, at: int) -> None:
    """Run what the command line names, as systemd does, and cut the power at a sync."""
    (board.folder / COUNT).write_text("")
    (board.folder / f"{COUNT}.at").write_text(f"{at}\n")
    board.run("/boot/firmware/firstrun.sh", check=False)
