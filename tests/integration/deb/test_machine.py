"""The package on a machine whose systemd runs: the real unit, its sandbox, its watchdog, its reload."""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from broker.messages import BundleRef, Desired
from broker.servers.local import start_local_broker
from broker.topics import Channel
from edge_agent.bundle import MANIFEST_NAME, encode_manifest
from edge_agent.clock import SystemClock
from exporter.repository.repository import init_repository, publish_bundle
from exporter.repository.serving import start_repository_server
from tests.bundles import write_rows
from tests.debian_machine import MAKE_BYTECODE, Machine, Root, bytecode_of
from tests.integration.agent.conftest import Fleet, UpdateRepository
from tests.integration.deb.conftest import BuildPackage
from tests.receiver import Receiver
from tests.unit.edge_agent.examples import classification_manifest, variant_of, write_native_classifier
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FEATURES = ("temperature", "wind")
# As the unit's own, but for the times.
IN_A_HURRY = "[Service]\nWatchdogSec=4\nTimeoutAbortSec=1\nRestartSec=100ms\n"
DROP_INS = "etc/systemd/system/fieldloop-agent.service.d"


class Device:
    """A machine with the package, and a fleet on the host that it belongs to."""

    def __init__(self, machine: Machine, fleet: Fleet) -> None:
        self.machine = machine
        self.fleet = fleet
        self.settings = machine.folder / "etc/fieldloop/agent.toml"
        self.bundle = publish_native(fleet)
        self.before: dict[str, str] = {}

    def set_up(self) -> None:
        self.before = {name: self.machine.show(name) for name in ("ActiveState", "ConditionResult", "UnitFileState")}
        (self.settings.parent / "root.json").write_bytes(self.fleet.updates.root.read_bytes())
        write_rows(self.settings.parent / "rows.csv", 200_000, FEATURES)
        self.settings.write_text(
            f"""
device = "one"
fleet = "test"
state = "/var/lib/fieldloop"
[broker]
port = {self.fleet.broker.endpoint.port}
[repository]
url = "{self.fleet.updates.server.url}"
root = "root.json"
model = "rain"
spare_disk_bytes = 0
[source]
kind = "csv"
path = "rows.csv"
rows_per_second = 100.0
[sink]
kind = "json_lines"
path = "/var/lib/fieldloop/answers.jsonl"
[telemetry]
resend_after_s = 1.0
max_window_s = 1.0
"""
        )
        self.drop_in("hurry", IN_A_HURRY)
        self.machine.run("systemctl", "restart", "fieldloop-agent")
        desired = Desired(self.bundle, "order-1", SystemClock().utc_s(), "test", "because")
        self.fleet.receiver.publish("one", Channel.DESIRED, desired)
        wait_until(self.has_committed, 60, f"the bundle is committed; {self.status}")

    def drop_in(self, name: str, text: str) -> None:
        folder = self.machine.folder / DROP_INS
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.conf").write_text(text)
        self.machine.run("systemctl", "daemon-reload")

    def has_committed(self) -> bool:
        return any(event.bundle == self.bundle for event in self.fleet.receiver.events("one", "committed"))

    @property
    def status(self) -> str:
        return self.machine.show("StatusText")

    @property
    def pid(self) -> str:
        return self.machine.show("MainPID")

    def signal(self, name: str) -> None:
        self.machine.run("systemctl", "kill", "--kill-whom=main", f"--signal={name}", "fieldloop-agent")

    def reload_what_is_broken(self) -> None:
        good = self.settings.read_text()
        self.settings.write_text(good.replace("fleet", "fleat"))
        self.machine.run("systemctl", "reload", "fieldloop-agent")
        wait_until(lambda: "the old ones hold" in self.status, 30, "the refusal stands in the status")
        self.settings.write_text(good)

    def sees(self, path: str) -> bool:
        return self.machine.run("ls", f"/proc/{self.pid}/root{path}", check=False).returncode == 0

    @property
    def restarts(self) -> int:
        return int(self.machine.show("NRestarts"))

    def wait_until_it_scores(self) -> None:
        rows = self.fleet.receiver.rows("one")
        wait_until(lambda: self.fleet.receiver.rows("one") > rows + 100, 60, f"it scores; {self.status}")


@pytest.fixture(scope="module")
def device(root: Root, package_of: BuildPackage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A device that is set up and scores; each test leaves it scoring, but the last."""
    folder = tmp_path_factory.mktemp("fleet")
    with contextlib.ExitStack() as opened:
        broker = start_local_broker(folder / "broker")
        opened.callback(broker.stop)
        trusted = init_repository(folder / "repository", folder / "keys", clock=SystemClock())
        server = start_repository_server(folder / "repository")
        opened.callback(server.stop)
        receiver = Receiver(broker.endpoint)
        receiver.start()
        opened.callback(receiver.close)
        wait_until(lambda: receiver.is_connected, 10, "the receiver is connected")
        updates = UpdateRepository(folder / "repository", folder / "keys", trusted, server, folder / "bundles")
        machine = Machine(root)
        opened.callback(machine.stop)
        machine.installs(package_of("amd64", "0.1.0"))
        device = Device(machine, Fleet(receiver, broker, updates, folder))
        device.set_up()
        yield device


def test_before_it_is_set_up_it_waits_without_failing(device: Device):
    assert device.before == {"ActiveState": "inactive", "ConditionResult": "no", "UnitFileState": "enabled"}


def test_it_scores_as_its_own_user_what_its_child_fetched_and_proved_in_the_sandbox(device: Device):
    assert device.machine.show("ActiveState") == "active"
    says = r"rain/3 \(native\); update idle; \d+ rows; connected"
    wait_until(lambda: re.match(says, device.status), 30, "the status says what it does")
    assert device.machine.run("stat", "--format=%U", f"/proc/{device.pid}").stdout == "fieldloop\n"
    device.wait_until_it_scores()


def test_a_reload_takes_new_settings_in_the_same_process_and_refuses_broken_ones(device: Device):
    machine, before = device.machine, (device.pid, device.restarts)
    device.settings.write_text(device.settings.read_text().replace("answers.jsonl", "more.jsonl"))
    machine.run("systemctl", "reload", "fieldloop-agent")
    more = machine.folder / "var/lib/fieldloop/more.jsonl"
    wait_until(lambda: more.exists() and more.stat().st_size, 30, "the new sink is used")
    device.reload_what_is_broken()
    assert machine.show("ActiveState") == "active"
    assert (device.pid, device.restarts) == before
    device.wait_until_it_scores()


def test_the_journal_has_priorities_and_no_second_time(device: Device):
    device.reload_what_is_broken()
    logged = [json.loads(line) for line in device.machine.journal().splitlines()]
    own = [entry for entry in logged if entry.get("_SYSTEMD_UNIT") == "fieldloop-agent.service"]
    assert {entry["PRIORITY"] for entry in own} >= {"3", "6"}
    refusals = [entry for entry in own if "the old ones hold" in entry["MESSAGE"]]
    assert {entry["PRIORITY"] for entry in refusals} == {"3"}
    assert all(entry["MESSAGE"].startswith("edge_agent.service.process: ") for entry in refusals)


def test_killed_it_comes_back_and_hanging_it_is_ended_and_comes_back(device: Device):
    restarts = device.restarts
    device.signal("KILL")
    wait_until(lambda: device.restarts == restarts + 1, 30, "it is started again")
    device.wait_until_it_scores()
    device.signal("STOP")
    wait_until(lambda: device.restarts == restarts + 2, 60, "the watchdog ended it")
    assert "Watchdog timeout" in device.machine.journal()
    device.wait_until_it_scores()


def test_devices_are_out_of_reach_until_a_drop_in_opens_them(device: Device):
    machine = device.machine
    machine.run("touch", "/dev/fieldloop-probe")
    assert not device.sees("/dev/fieldloop-probe")
    machine.run("groupadd", "--force", "--system", "i2c")
    for name in ("i2c", "serial"):
        example = machine.folder / f"usr/share/doc/fieldloop-agent/examples/{name}.conf"
        device.drop_in(name, example.read_text())
    machine.run("systemctl", "restart", "fieldloop-agent")
    assert device.sees("/dev/fieldloop-probe")
    groups = machine.run("sh", "-c", f"cat /proc/{device.pid}/status").stdout
    wanted = {machine.run("getent", "group", name).stdout.split(":")[2] for name in ("i2c", "dialout")}
    assert wanted <= set(re.findall(r"^Groups:\s(.*)$", groups, re.MULTILINE)[0].split())
    device.wait_until_it_scores()


def test_without_its_bytecode_or_what_makes_it_it_starts_and_with_it_it_has_it_again(device: Device):
    machine = device.machine
    program = machine.folder / MAKE_BYTECODE.lstrip("/")
    away = program.with_name("away")
    program.rename(away)
    machine.run("rm", "--recursive", "/usr/lib/fieldloop/bytecode")
    machine.run("systemctl", "restart", "fieldloop-agent")
    device.wait_until_it_scores()
    # It may not write there itself.
    assert not bytecode_of(machine, "usr/lib/fieldloop/edge_agent/agent")
    away.rename(program)
    machine.run("systemctl", "restart", "fieldloop-agent")
    assert bytecode_of(machine, "usr/lib/fieldloop/edge_agent/agent")
    device.wait_until_it_scores()
    command = machine.run("cat", f"/proc/{device.pid}/cmdline").stdout.split("\0")
    assert command[:3] == ["/usr/bin/python3", "-I", "-OO"]


def test_an_upgrade_replaces_what_runs_and_no_row_is_lost_or_counted_twice(device: Device, package_of: BuildPackage):
    machine, before = device.machine, device.pid
    machine.installs(package_of("amd64", "0.1.1"))
    assert machine.show("ActiveState") == "active"
    assert device.pid != before
    device.wait_until_it_scores()
    machine.run("systemctl", "stop", "fieldloop-agent")
    assert (machine.show("Result"), machine.show("ExecMainStatus")) == ("success", "0")
    machine.run("systemctl", "start", "fieldloop-agent")
    device.wait_until_it_scores()
    windows = device.fleet.receiver.windows("one")
    rows = [row for window in windows for row in range(window.first_row, window.last_row + 1)]
    assert rows == list(range(len(rows)))


def test_purged_while_it_runs_it_leaves_nothing(device: Device):
    machine = device.machine
    machine.run("dpkg", "--purge", "fieldloop-agent")
    assert machine.show("LoadState") == "not-found"
    assert machine.run("getent", "passwd", "fieldloop", check=False).stdout == ""
    for path in ("etc/fieldloop", "var/lib/fieldloop", "usr/lib/fieldloop", "run/fieldloop"):
        assert not (machine.folder / path).exists()
    # What this file added.
    machine.run("groupdel", "i2c")
    machine.run("rm", "--recursive", f"/{DROP_INS}")


def publish_native(fleet: Fleet) -> BundleRef:
    """Publish a bundle that the native engine runs."""
    folder = fleet.folder / "native"
    folder.mkdir()
    variant = variant_of(write_native_classifier(folder / "model.native"), "native", "native")
    changes: dict[str, Any] = {"variants": (variant,)}
    (folder / MANIFEST_NAME).write_bytes(encode_manifest(classification_manifest(**changes)))
    return publish_bundle(folder, fleet.updates.folder, fleet.updates.keys, clock=SystemClock())
