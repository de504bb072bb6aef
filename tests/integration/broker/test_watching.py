"""`fieldloop wire watch` shows a fleet's traffic as it comes."""

import json
import random
import subprocess
import sys

import pytest

from broker.client import WireClient
from broker.servers.local import start_local_broker
from broker.topics import Channel, DeviceId, FleetId, Topic
from tests.conftest import REPOSITORY
from tests.unit.broker.wire_examples import present_payload
from tests.waiting import wait_until

FLEET = FleetId("stations")


@pytest.fixture
def broker(tmp_path):
    started = start_local_broker(tmp_path / "broker")
    yield started
    started.stop()


@pytest.fixture
def device(broker):
    client = WireClient(broker.endpoint, "d", filters=(), on_delivery=lambda _: None, rng=random.Random(1))
    client.start()
    wait_until(lambda: client.is_connected)
    yield client
    client.close()


def watching(broker, *options: str) -> "subprocess.Popen[str]":
    program = "from broker.cli import app; app()"
    command = [sys.executable, "-c", program, "wire", "watch", str(broker.endpoint), "--fleet", FLEET, *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, encoding="utf-8"
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "watching\n"
    return process


def test_what_is_wanted_is_shown_and_nothing_else(broker, device):
    with watching(broker, "--channel", "events", "--channel", "status", "--device", "a*", "--count", "2") as process:
        for name, channel in (("b-1", Channel.EVENTS), ("a-1", Channel.STORED), ("a-1", Channel.STATUS)):
            device.publish_and_wait(Topic(FLEET, DeviceId(name), channel), present_payload(channel), 10)
        device.publish_and_wait(Topic(FLEET, DeviceId("a-2"), Channel.EVENTS), b"\x09", 10)
        output, _ = process.communicate(timeout=30)
    first, second = output.splitlines()
    assert first.startswith("a-1  status  online at")
    assert second.startswith("a-2  events  REFUSED events: message version 9")
    assert process.returncode == 0


def test_lines_with_a_text_are_shown_as_json_and_ctrl_c_ends_it(broker, device):
    with watching(broker, "--json", "--contains", "GOLDEN") as process:
        for channel in (Channel.TELEMETRY, Channel.EVENTS):
            device.publish_and_wait(Topic(FLEET, DeviceId("a"), channel), present_payload(channel), 10)
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["body"]["kind"] == "refused"
        process.send_signal(2)
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("nowhere",), "HOST:PORT"),
        (("a:1", "--fleet", "A B"), "fleet name"),
        (("a:1", "--cert", "reader.pem", "--key", "reader.key"), "--ca"),
        (("a:1", "--ca", "none.pem"), "none.pem"),
    ],
)
def test_what_cannot_be_watched_is_refused_in_a_sentence(arguments, reason):
    command = [sys.executable, "-c", "from broker.cli import app; app()", "wire", "watch", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("fieldloop: ")
    assert reason in done.stderr
