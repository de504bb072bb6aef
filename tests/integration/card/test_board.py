"""A card's root and data on a systemd that runs: what the board does at its first start and at later ones."""

import json
from collections.abc import Iterator

import pytest

from edge_agent.update.slots import read_record
from exporter.image.card.files import enabled_units, masked_units
from tests.debian_machine import Machine
from tests.integration.card.board import Board, can_log_in, ssh
from tests.integration.card.conftest import ALL, MadeCard
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# Of packages that are not on this card.
NOT_HERE = {"apt-daily.timer", "apt-daily-upgrade.timer"}
# No identity of this board comes from its kernel: as on one that is named by its own number.
FIRST, SECOND = "1" * 32, "2" * 32


@pytest.fixture(scope="module")
def may_log_in() -> bool:
    """Whether a board can listen for SSH here, and somebody can come; asked before there is one."""
    return can_log_in()


@pytest.fixture(scope="module")
def machine(board: Board, may_log_in: bool) -> Iterator[Machine]:  # noqa: ARG001, FBT001 - asked before
    """The board after its first start; the tests run in the order of the file."""
    yield board.start(FIRST)
    board.stop()


def answers(board: Board) -> int:
    path = board.data / "fieldloop/answers.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def has_committed(board: Board) -> bool:
    record = read_record(board.data / "fieldloop")
    return record is not None and record.active is not None


def test_it_scores_at_its_first_start_without_any_network(machine: Machine, board: Board):
    wait_until(lambda: answers(board) > 10, 60, "the bundle of the card scores")
    wait_until(lambda: has_committed(board), 60, f"its trial ends well; {machine.show('StatusText')}")
    told = json.loads(machine.run("fieldloop-agent", "status", "--json").stdout)
    assert told["device"].startswith("press-")
    assert len(told["device"]) == len("press-") + 10


def test_nothing_has_failed(machine: Machine):
    assert machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend").stdout == ""


def test_names_are_resolved_by_a_service_that_no_start_waits_for(machine: Machine):
    assert machine.run("systemctl", "is-active", "systemd-resolved").stdout == "active\n"
    before = machine.run("systemctl", "show", "--value", "--property", "After", "sysinit.target").stdout.split()
    assert "systemd-timesyncd.service" in before
    assert "systemd-resolved.service" not in before
    assert machine.run("cat", "/etc/resolv.conf").stdout.count("nameserver 127.0.0.53") == 1


def test_its_root_cannot_be_written_and_its_settings_neither(machine: Machine):
    for path in ("/etc/x", "/usr/lib/fieldloop/x", "/var/lib/x", "/etc/fieldloop/x"):
        done = machine.run("touch", path, check=False)
        assert "Read-only file system" in done.stderr, path


def test_what_the_agent_keeps_is_its_own_on_the_data_partition(machine: Machine):
    found = machine.run("find", "/data/fieldloop", "!", "-user", "fieldloop").stdout
    assert found == ""
    assert machine.run("stat", "--format=%a %U", "/data/fieldloop").stdout == "750 fieldloop\n"


def test_its_log_is_bounded_and_in_memory(machine: Machine):
    assert machine.run("find", "/run/log/journal", "-name", "*.journal").stdout
    assert machine.run("ls", "/var/log/journal", check=False).returncode != 0


def test_every_unit_that_starts_or_never_does_is_one_of_debian_or_ours(machine: Machine):
    known = machine.run("ls", "/usr/lib/systemd/system", "/etc/systemd/system").stdout.split()
    assert {*enabled_units(ALL), *masked_units(ALL)} - set(known) <= NOT_HERE


def test_its_units_say_nothing_that_systemd_does_not_know(machine: Machine):
    ours = [unit for unit in enabled_units(ALL) if unit.startswith("fieldloop-")]
    done = machine.run("systemd-analyze", "verify", *ours, "fieldloop-ssh@1.service", check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_who_has_the_key_logs_in_and_may_act_as_root(machine: Machine, made_card: MadeCard, may_log_in: bool):  # noqa: FBT001
    if not may_log_in:
        pytest.skip("port 22 of this machine is taken, or there is no ssh: apt-get install openssh-client")
    wait_until(
        lambda: machine.run("systemctl", "is-active", "fieldloop-ssh.socket", check=False).returncode == 0, 30, ""
    )
    done = ssh(made_card.key, "admin", "sudo", "-u", "fieldloop", "id", "--user", "--name")
    assert done.stdout == "fieldloop\n", done.stderr
    assert ssh(made_card.key, "root", "true").returncode != 0
    other = made_card.key.parent / "rows.csv"
    assert ssh(other, "admin", "true").returncode != 0


def test_its_server_for_ssh_takes_keys_alone(machine: Machine):
    told = machine.run("/usr/sbin/sshd", "-T", "-f", "/etc/ssh/fieldloop_sshd_config").stdout.splitlines()
    assert {"passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin no"} <= set(told)


def test_no_account_has_a_password(machine: Machine):
    words = [line.split(":")[1] for line in machine.run("cat", "/etc/shadow").stdout.splitlines()]
    assert all(word.startswith(("!", "*")) for word in words)


def test_its_wireless_settings_are_read_by_wpa_supplicant(machine: Machine):
    done = machine.run(
        "wpa_supplicant", "-dd", "-i", "none0", "-c", "/etc/wpa_supplicant/wpa_supplicant-wlan0.conf", check=False
    )
    assert "ssid - hexdump_ascii(len=5):\n     70 6c 61 6e 74                                    plant" in done.stdout
    assert "Line" not in done.stdout.replace("Line: ", "")


def test_a_later_start_has_the_same_name_and_keys_and_goes_on(machine: Machine, board: Board):
    wait_until((board.data / "ssh/ssh_host_ed25519_key").exists, 30, "the board has made its own SSH key")
    key = (board.data / "ssh/ssh_host_ed25519_key").read_bytes()
    name = machine.run("fieldloop-agent", "status", "--json").stdout
    machine_id = machine.run("cat", "/etc/machine-id").stdout
    board.stop()
    scored = answers(board)
    again = board.start(SECOND)
    wait_until(lambda: answers(board) > scored + 10, 60, "it scores on")
    assert again.run("cat", "/etc/machine-id").stdout == machine_id
    assert json.loads(again.run("fieldloop-agent", "status", "--json").stdout)["device"] == json.loads(name)["device"]
    assert (board.data / "ssh/ssh_host_ed25519_key").read_bytes() == key
    assert again.run("systemctl", "list-units", "--failed", "--plain", "--no-legend").stdout == ""
