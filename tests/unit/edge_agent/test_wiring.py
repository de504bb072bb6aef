"""What an agent says of itself is what it does."""

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.messages import BundleRef
from edge_agent.bundle import TrialRules
from edge_agent.clock import SystemClock
from edge_agent.errors import OpeningError, SettingsError
from edge_agent.settings import load_settings
from edge_agent.status_report import as_text, read_report
from edge_agent.update.engine import Engine, TrialMeter, open_engine
from edge_agent.update.record import Content, SlotName
from edge_agent.update.slots import Bundle
from edge_agent.wiring import Agent
from tests.bundles import make_bundle, write_rows
from tests.unit.edge_agent.update.simulators import Device, Stagings
from tests.waiting import wait_until

FIRST, SECOND = BundleRef("toy", 1), BundleRef("toy", 2)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """What ran on the state folder before the agent: it has two bundles at hand, and committed the first."""
    for version in (1, 2):
        make_bundle(tmp_path / "bundles" / f"v{version}", version=version, trial=TrialRules(rows=20))
    device = Device(tmp_path / "state", Stagings(tmp_path / "bundles"))
    device.update(1, "one")
    return device


@pytest.fixture
def start(tmp_path: Path, free_port: int) -> Callable[[], Agent]:
    """Returns what makes an agent on that state folder, without a broker."""
    write_rows(tmp_path / "rows.csv", 50)
    (tmp_path / "agent.toml").write_text(
        f"""
device = "one"
fleet = "test"
state = "state"
[broker]
port = {free_port}
[repository]
url = "http://127.0.0.1:1/"
root = "root.json"
model = "toy"
[source]
kind = "csv"
path = "rows.csv"
""",
        encoding="utf-8",
    )
    return lambda: Agent(load_settings(tmp_path / "agent.toml"), SystemClock())


def told_by(agent: Agent) -> tuple[object, ...]:
    """Return what its status names, once that is what its diagnosis names."""
    status, diagnosis = agent.status(is_online=True), json.loads(agent.diagnose())["update"]
    assert diagnosis["running"] == (str(status.bundle) if status.bundle is not None else None)
    assert (diagnosis["variant"], diagnosis["state"]) == (status.variant, status.update_state)
    return status.bundle, status.variant, status.update_state


def test_what_is_committed_is_named(device: Device, start: Callable[[], Agent]):
    device.update(2, "two")
    with start() as agent:
        assert told_by(agent) == (SECOND, "onnx-fp32", "idle")


def test_a_stand_in_is_named_and_not_what_it_stands_in_for(
    device: Device, start: Callable[[], Agent], monkeypatch: pytest.MonkeyPatch
):
    device.update(2, "two")
    _keep_closed(monkeypatch, {2})
    with start() as agent:
        assert told_by(agent) == (FIRST, "onnx-fp32", "idle")


def test_the_status_at_the_device_names_a_stand_in_too(
    device: Device, start: Callable[[], Agent], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    device.update(2, "two")
    settings_file = tmp_path / "agent.toml"
    _keep_closed(monkeypatch, {2})
    with start() as agent:
        agent.keep_live(agent.live())
        report = read_report(load_settings(settings_file))
        assert (report.bundle, report.stands_in_for) == ("toy/1", "toy/2")
        assert "toy/1, onnx-fp32, slot a, in place of toy/2" in as_text(report)
    # One that has ended says nothing of what scores.
    report = read_report(load_settings(settings_file))
    assert (report.bundle, report.stands_in_for) == ("toy/2", None)
    monkeypatch.undo()
    with start() as agent:
        assert agent.live().stand_in is None


def test_nothing_is_named_where_nothing_can_be_opened(
    device: Device, start: Callable[[], Agent], monkeypatch: pytest.MonkeyPatch
):
    device.update(2, "two")
    _keep_closed(monkeypatch, {1, 2})
    with start() as agent:
        assert told_by(agent) == (None, None, "idle")


def test_after_a_start_in_mid_trial_on_a_full_disk_what_is_committed_is_named_until_the_candidate_scores(
    device: Device, start: Callable[[], Agent], monkeypatch: pytest.MonkeyPatch
):
    device.order(2, "two")
    device.poll(3)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.update.slots.replace_file", refuse)
        agent = start()
    with agent:
        assert told_by(agent) == (FIRST, "onnx-fp32", "trial")
        running = threading.Thread(target=agent.run)
        running.start()
        try:
            wait_until(lambda: agent.status(is_online=True).bundle == SECOND, 10, "the candidate scores")
        finally:
            agent.stop()
            running.join()


@pytest.mark.usefixtures("device")
def test_what_the_link_cannot_do_ends_the_run_behind_the_first_row(start: Callable[[], Agent], tmp_path: Path):
    (tmp_path / "ca.pem").write_text("no certificate")
    settings = tmp_path / "agent.toml"
    answers = '[sink]\nkind = "json_lines"\npath = "answers.jsonl"\n'
    settings.write_text(settings.read_text().replace("[repository]", 'ca = "ca.pem"\n[repository]') + answers)
    with start() as agent, pytest.raises(SettingsError, match=r"broker\.ca"):
        agent.run()
    assert (tmp_path / "answers.jsonl").read_bytes().count(b"\n") > 0


@pytest.mark.usefixtures("device")
def test_a_start_that_changes_nothing_writes_no_record_of_updates(start: Callable[[], Agent], tmp_path: Path):
    record = tmp_path / "state" / "update.json"
    with start():
        before = record.stat()
    with start():
        pass
    assert (record.stat().st_ino, record.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.usefixtures("device")
def test_an_agent_that_is_open_has_loaded_nothing_that_only_the_network_needs(
    start: Callable[[], Agent], tmp_path: Path
):
    start().close()
    program = f"""
import sys
from pathlib import Path
from edge_agent.clock import SystemClock
from edge_agent.settings import load_settings
from edge_agent.wiring import Agent
with Agent(load_settings(Path({str(tmp_path / "agent.toml")!r})), SystemClock()) as agent:
    assert agent.status(is_online=False).bundle is not None
    print(*sorted({{"broker.client", "ssl", "edge_agent.housekeeping", "edge_agent.upkeep"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


def _keep_closed(monkeypatch: pytest.MonkeyPatch, versions: set[int]) -> None:
    """Let bundles of these versions fail to open, as if there were no memory for them."""

    def open_or_fail(slot: SlotName, content: Content, bundle: Bundle, meter: TrialMeter | None) -> Engine:
        if content.bundle.version in versions:
            raise OpeningError("no memory")
        return open_engine(slot, content, bundle, meter)

    monkeypatch.setattr("edge_agent.wiring.open_engine", open_or_fail)
