"""The commands, as processes of their own, against a real broker and a real update repository."""

import json
import signal
import subprocess
import sys

import pytest

from broker.audit import AUDIT_NAME, read_log
from broker.messages import BundleRef, Desired, parse_as
from broker.topics import Channel
from edge_agent.clock import SystemClock
from exporter.repository.repository import init_repository, publish_bundle
from tests.bundles import make_bundle
from tests.waiting import wait_until
from trainer.errors import RegistryError
from trainer.project.loading import load_project
from trainer.registry.registry import Registry
from trainer.registry.tracking import ensure_experiment, open_client

FLEET_COMMANDS = [sys.executable, "-m", "trainer.cli"]

PROJECT = """
name = "{name}"
features = [{{ name = "x" }}]
[data]
path = ["rows.csv"]
[target]
column = "y"
task = "classification"
"""


@pytest.fixture
def place(tmp_path):
    """A project with one published bundle."""
    bundle = make_bundle(tmp_path / "bundle")
    state = tmp_path / ".fieldloop"
    init_repository(state / "repository", state / "keys", clock=SystemClock())
    ref = publish_bundle(bundle, state / "repository", state / "keys", clock=SystemClock())
    (tmp_path / "fieldloop.toml").write_text(PROJECT.format(name=ref.name))
    load_project(tmp_path)
    return tmp_path, ref


def run(place, command, *options, code=0):
    done = subprocess.run(
        [*FLEET_COMMANDS, command, "--project", str(place[0]), *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def monitor(place, broker):
    process = subprocess.Popen(
        [*FLEET_COMMANDS, "monitor", "--project", str(place[0]), "--broker", str(broker.endpoint)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    assert "monitoring fleet 'main'" in process.stdout.readline()
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.mark.usefixtures("monitor")
def test_a_monitor_receives_and_a_rollout_reaches_the_fleet_and_devices_are_listed(place, broker, make_device):
    ref = place[1]
    device = make_device("a")
    device.say_status(None)

    def table():
        return json.loads(run(place, "devices", "--json").stdout)

    wait_until(lambda: [row["device"] for row in table()] == ["a"], 30)
    rollout = subprocess.Popen(
        [
            *FLEET_COMMANDS,
            *("rollout", str(ref.version), "--project", str(place[0]), "--broker", str(broker.endpoint), "--json"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: any(d.topic.channel is Channel.DESIRED for d in device.inbox), 30)
    order = parse_as(Desired, Channel.DESIRED, device.inbox[-1].payload)
    assert order.bundle == ref
    device.send(device.event("committed", ref, order.order_id))
    device.say_status(ref)
    out, _ = rollout.communicate(timeout=60)
    assert rollout.returncode == 0
    assert json.loads(out)["state"] == "done"
    (written,) = read_log(place[0] / ".fieldloop" / AUDIT_NAME)
    assert (written.what, written.device, written.order_id) == ("desired", "a", order.order_id)
    wait_until(lambda: table()[0]["bundle"] == str(ref), 30)
    shown = run(place, "devices").stdout
    assert str(ref) in shown
    assert "seen s ago" in shown


@pytest.fixture
def champions(place):
    """The published version and one after it, which is champion; the published one is previous."""
    folder, ref = place
    state = folder / ".fieldloop"
    client = open_client(state)
    registry = Registry(state, client)
    for number in range(1, ref.version + 2):
        run_id = client.create_run(ensure_experiment(client, ref.name, state)).info.run_id
        assert registry.register(ref.name, run_id=run_id, folder=state / run_id, tags={"gate": "passed"}) == number
    registry.promote(ref.name, ref.version)
    registry.promote(ref.name, ref.version + 1)
    return registry


@pytest.mark.usefixtures("monitor")
def test_a_rollback_orders_the_previous_champion_to_the_fleet_and_says_to_whom(place, broker, make_device, champions):
    folder, ref = place
    device = make_device("a")
    device.say_status(BundleRef(ref.name, ref.version + 1))
    wait_until(lambda: json.loads(run(place, "devices", "--json").stdout), 30)
    rollback = subprocess.Popen(
        [
            *(*FLEET_COMMANDS, "registry", "rollback", "--by", "Ada"),
            *("--project", str(folder), "--broker", str(broker.endpoint)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: any(d.topic.channel is Channel.DESIRED for d in device.inbox), 60)
    order = parse_as(Desired, Channel.DESIRED, device.inbox[-1].payload)
    assert order.bundle == ref
    assert order.reason == f"rolled back from {ref.name}/{ref.version + 1}"
    device.send(device.event("committed", ref, order.order_id))
    device.say_status(ref)
    out, _ = rollback.communicate(timeout=60)
    assert rollback.returncode == 0
    assert f"a: gets {ref}, runs {BundleRef(ref.name, ref.version + 1)}" in out
    assert champions.load(ref.name).version == ref.version
    last = champions.promotions(ref.name)[-1]
    assert (last.kind, last.by, last.before) == ("rollback", "Ada", ref.version + 1)
    # Back again goes to a version that no device could fetch: refused before anything changes.
    back = subprocess.run(
        [*FLEET_COMMANDS, "registry", "rollback", "--project", str(folder), "--broker", str(broker.endpoint)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert back.returncode == RegistryError.exit_code
    assert "is not published" in back.stderr
    assert champions.load(ref.name).version == ref.version
    left = subprocess.run(
        [*FLEET_COMMANDS, "registry", "rollback", "--leave-fleet", "--project", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert left.returncode == 0
    assert "fieldloop rollout champion" in left.stdout
    assert champions.load(ref.name).version == ref.version + 1


def test_a_bundle_that_is_not_published_is_refused_by_name(place):
    done = run(place, "rollout", "77", code=5)
    assert f"{BundleRef(place[1].name, 77)} is not published" in done.stderr
    assert str(place[1]) in done.stderr


def test_an_alias_that_the_registry_does_not_hold_is_refused_by_name(place):
    assert f"{place[1].name}@champion" in run(place, "rollout", "champion", code=5).stderr


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", ":1883", "127.0.0.1:99999"])
def test_a_broker_address_that_is_none_is_refused(place, address):
    assert "HOST:PORT" in run(place, "monitor", "--broker", address, code=2).stderr


def test_devices_and_all_exclude_each_other(place):
    assert "exclude each other" in run(place, "rollout", "1", "--all", "--device", "a", code=2).stderr


def test_a_fleet_without_devices_is_an_empty_table(place):
    assert json.loads(run(place, "devices", "--json").stdout) == []
    assert "no device" in run(place, "devices").stdout


def test_a_missing_project_file_is_named(tmp_path):
    done = run((tmp_path, None), "devices", code=2)
    assert "fieldloop.toml" in done.stderr
    assert "Traceback" not in done.stderr
