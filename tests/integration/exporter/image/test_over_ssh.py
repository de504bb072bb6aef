"""The agent is installed over a real ssh on a board whose systemd, sshd and sudo are real, and which is not real."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from broker.servers.local import start_local_broker
from exporter.image.over_ssh.cli import app
from tests.cards import AGENT, UserFiles, make_user_files
from tests.integration.deb.conftest import BuildPackage
from tests.integration.exporter.image.board import SshBoard
from tests.receiver import Receiver
from tests.ssh_board import SUDOERS
from tests.ssh_client import ALIAS
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
UNPACKED_IN = "/var/tmp"  # noqa: S108 - on the board
UNKNOWN = "its host key is not known here"


class Site:
    """A board, who installs on it, and who listens to it."""

    def __init__(self, board: SshBoard, user: UserFiles, receiver: Receiver, package_of: BuildPackage) -> None:
        self.board = board
        self.user = user
        self.receiver = receiver
        self._package_of = package_of

    def install(
        self, *options: str, to: str | None = None, version: str = "0.1.0", architecture: str = "amd64"
    ) -> Result:
        """Run the command."""
        package = self._package_of(architecture, version)
        address = to or self.board.ssh.address
        arguments = ["install", address, "--card", str(self.user.card), "--package", str(package), *options]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", self.board.ssh.path)
            return CliRunner().invoke(app, arguments)

    @property
    def state(self) -> tuple[str, str, str]:
        """What runs there, by which settings, of which version."""
        machine = self.board.machine
        settings = machine.folder / "etc/fieldloop/agent.toml"
        version = machine.run("dpkg-query", "--show", "--showformat=${Version}", "fieldloop-agent", check=False).stdout
        return machine.show("ActiveState"), settings.read_text() if settings.exists() else "", version

    @property
    def leftovers(self) -> list[Path]:
        """What an installation may have left where it was unpacked."""
        return list((self.board.machine.folder / "var/tmp").glob("fieldloop*"))

    def wait_until_it_scores(self) -> None:
        rows = self.receiver.rows("press-1")
        wait_until(lambda: self.receiver.rows("press-1") > rows + 50, 60, "rows are scored")


@pytest.fixture(scope="module")
def site(package_of: BuildPackage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A board without the agent; the tests stand in the order of its life."""
    folder = tmp_path_factory.mktemp("site")
    user = make_user_files(folder / "user")
    with contextlib.ExitStack() as opened:
        broker = start_local_broker(folder / "broker")
        opened.callback(broker.stop)
        receiver = Receiver(broker.endpoint)
        receiver.start()
        opened.callback(receiver.close)
        user.set_agent(broker_port=broker.endpoint.port)
        board = SshBoard(folder, user.key)
        opened.callback(board.machine.stop)
        yield Site(board, user, receiver, package_of)


def test_a_board_that_was_never_seen_is_not_believed(site: Site):
    done = site.install()
    assert done.exit_code == 20, done.output
    assert UNKNOWN in done.output
    assert "--accept-new-host-key" in done.output
    assert site.board.ssh.known_hosts.read_text() == ""


def test_a_dry_run_looks_and_changes_nothing(site: Site):
    before = site.board.machine.files()
    done = site.install("--dry-run", "--accept-new-host-key")
    assert done.exit_code == 0, done.output
    assert "would install fieldloop-agent 0.1.0" in done.output
    assert site.board.machine.files() == before


def test_a_package_for_another_architecture_is_not_sent(site: Site):
    done = site.install(architecture="arm64")
    assert done.exit_code == 19, done.output
    assert "the board is amd64, and there is no package for it" in done.output
    assert site.leftovers == []


def test_settings_that_the_board_does_not_take_leave_it_as_it_was(site: Site):
    with wrong_settings(site):
        done = site.install()
    assert done.exit_code == 20, done.output
    assert "the package and the settings were taken away again" in done.output
    assert site.state[1:] == ("", "")
    assert not (site.board.machine.folder / "etc/fieldloop").exists()
    assert not (site.board.machine.folder / "var/lib/fieldloop").exists()
    assert site.leftovers == []


def test_it_installs_and_waits_until_the_agent_is_well_and_it_scores(site: Site):
    done = site.install()
    assert done.exit_code == 0, done.output
    assert "fieldloop-agent 0.1.0 installed" in done.output
    assert "the agent is well: rain/3 (native)" in done.output
    site.wait_until_it_scores()
    assert site.leftovers == []
    told = site.board.machine.run("stat", "--format=%U %a", "/var/lib/fieldloop").stdout
    assert told == "fieldloop 750\n"


def test_twice_is_once(site: Site):
    pid = site.board.machine.show("MainPID")
    done = site.install("--json", to=ALIAS)
    assert done.exit_code == 0, done.output
    steps = json.loads(done.stdout)["steps"]
    assert steps[0] == "fieldloop-agent 0.1.0 was there already"
    assert "0 files written" in steps
    assert site.board.machine.show("MainPID") == pid


def test_new_settings_are_taken_by_a_restart(site: Site):
    agent = site.user.agent
    agent.write_text(agent.read_text().replace("answers.jsonl", "more.jsonl"))
    pid = site.board.machine.show("MainPID")
    assert site.install().exit_code == 0
    assert site.board.machine.show("MainPID") != pid
    assert "more.jsonl" in site.state[1]


def test_an_upgrade_that_fails_brings_back_package_and_settings(site: Site):
    before = site.state
    with wrong_settings(site):
        done = site.install(version="0.1.1")
    assert done.exit_code == 20, done.output
    assert "fieldloop-agent 0.1.0 and the settings of before are back" in done.output
    assert site.state == before
    assert site.leftovers == []
    site.wait_until_it_scores()


def test_an_upgrade_replaces_what_runs_and_keeps_the_bundle(site: Site):
    done = site.install(version="0.1.1")
    assert done.exit_code == 0, done.output
    assert "fieldloop-agent 0.1.1 installed, instead of 0.1.0" in done.output
    assert "the board has bundles already" in done.output
    site.wait_until_it_scores()


def test_where_sudo_asks_its_password_is_asked_for_here_and_goes_over_standard_input(site: Site):
    machine = site.board.machine
    site.board.write(SUDOERS, "pi ALL=(ALL) ALL\n", mode=0o440)
    machine.run("sh", "-c", "echo 'pi:correct horse' | chpasswd")
    done = site.install(version="0.1.1")
    assert done.exit_code == 20
    assert "--ask-sudo-password" in done.output
    with answering(site, "wrong\n") as refused:
        assert "does not take this password" in refused.output
    with answering(site, "correct horse\n") as taken:
        assert taken.exit_code == 0, taken.output
        assert "correct horse" not in taken.output


def test_a_user_who_may_not_be_root_is_told_so(site: Site):
    (site.board.machine.folder / SUDOERS).unlink()
    with answering(site, "correct horse\n") as done:
        assert done.exit_code == 20
        assert "does not let him be root" in done.output


def test_a_board_without_room_is_refused_before_anything_is_sent(site: Site):
    site.board.write(SUDOERS, "pi ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
    machine = site.board.machine
    machine.run("mount", "-t", "tmpfs", "-o", "size=4M,mode=1777", "none", UNPACKED_IN)
    try:
        done = site.install(version="0.1.1")
    finally:
        machine.run("umount", UNPACKED_IN)
    assert done.exit_code == 20
    assert "KiB free in /var/tmp" in done.output


def test_a_host_key_that_changed_is_refused_even_if_new_ones_are_accepted(site: Site):
    known = site.board.ssh.known_hosts.read_text()
    place, kind, key = known.splitlines()[0].split()[:3]
    other = f"{key[:-8]}AAAAAAAA"
    site.board.ssh.known_hosts.write_text(f"{place} {kind} {other}\n")
    try:
        done = site.install("--accept-new-host-key")
    finally:
        site.board.ssh.known_hosts.write_text(known)
    assert done.exit_code == 20
    assert "another than the one that is known" in done.output
    assert "ssh-keygen -R" in done.output


def test_a_board_that_does_not_let_us_in_or_is_not_there_is_told_apart(site: Site):
    done = site.install(to=f"ssh://nobody-here@127.0.0.1:{site.board.ssh.port}")
    assert "does not let nobody-here in" in done.output
    done = site.install(to="ssh://pi@127.0.0.1:1")
    assert "no server of SSH listens there" in done.output


@contextlib.contextmanager
def wrong_settings(site: Site) -> Iterator[None]:
    """Settings that only the board can refuse: a file of its own that is not there."""
    good = site.user.agent.read_text()
    assert AGENT.splitlines()[-1] in good
    site.user.agent.write_text(good.replace('path = "rows.csv"', 'path = "/srv/nowhere/rows.csv"'))
    try:
        yield
    finally:
        site.user.agent.write_text(good)


@contextlib.contextmanager
def answering(site: Site, password: str) -> Iterator[Result]:
    """Install, and type a password when it is asked for."""
    package = site._package_of("amd64", "0.1.1")
    address = site.board.ssh.address
    arguments = ["install", address, "--card", str(site.user.card), "--package", str(package), "--ask-sudo-password"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", site.board.ssh.path)
        yield CliRunner().invoke(app, arguments, input=password)
