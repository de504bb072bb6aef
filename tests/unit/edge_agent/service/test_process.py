"""One process runs one agent after the other, and always one that works."""

import contextlib
import json
import random
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.messages import BundleRef, Event, TelemetryWindow, parse
from broker.topics import Channel
from edge_agent.agent import ScoringLoop
from edge_agent.bundle import Inputs, TrialRules
from edge_agent.clock import SystemClock
from edge_agent.errors import AgentError, SettingsError, SpoolError
from edge_agent.housekeeping import Housekeeping
from edge_agent.live import SPOOL_NAME
from edge_agent.sensing.source import Source
from edge_agent.service.heartbeat import Heartbeat
from edge_agent.service.notify import Notifier
from edge_agent.service.process import Service
from edge_agent.sources import SourceOpener
from edge_agent.telemetry.spool import Spool
from edge_agent.wiring import Agent
from tests.bundles import make_bundle, write_rows
from tests.service_manager import ListeningManager, abstract_name
from tests.small_disk import fill, small_disk
from tests.unit.edge_agent.update.simulators import Device, Stagings
from tests.waiting import wait_until

N_ROWS = 100_000
ROW = {"a": 0.5, "b": -0.25, "c": 1.0}


class Running:
    """A service in a thread, its settings file, and the manager that it tells."""

    def __init__(self, folder: Path, port: int, manager: ListeningManager) -> None:
        self.folder = folder
        self.manager = manager
        self.text = f"""
device = "one"
fleet = "test"
state = "state"
[broker]
port = {port}
[repository]
url = "http://127.0.0.1:1/"
root = "root.json"
model = "toy"
[source]
kind = "csv"
path = "rows.csv"
rows_per_second = 500.0
[sink]
kind = "json_lines"
path = "answers.jsonl"
[telemetry]
max_window_s = 0.2
"""
        self.path = folder / "agent.toml"
        self.write()
        self.service = Service(self.path, SystemClock(), Notifier(manager.address), None)
        self.error: AgentError | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.service.run()
        except AgentError as error:
            self.error = error

    def write(self, *changes: tuple[str, str]) -> None:
        text = self.text
        for old, new in changes:
            text = text.replace(old, new)
        self.path.write_text(text, encoding="utf-8")

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self.manager.times("READY"), 10, "it is ready")

    def reload(self) -> None:
        """Ask for it, and wait until it is done."""
        reloads, ready = self.manager.times("RELOADING"), self.manager.times("READY")
        self.service.reload()
        wait_until(lambda: self.manager.times("RELOADING") > reloads, 10, "it reloads")
        wait_until(lambda: self.manager.times("READY") > ready, 10, "it is ready again")

    def stop(self) -> None:
        self.service.stop()
        if self._thread.is_alive():
            self._thread.join(10)
        assert not self._thread.is_alive()

    def answers(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def rows(self, name: str) -> list[int]:
        return [answer["row"] for answer in self.answers(name)]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """What ran on the state folder before: it committed the first bundle, and has a second one at hand."""
    for version, rows in ((1, 20), (2, 500)):
        make_bundle(tmp_path / "bundles" / f"v{version}", version=version, trial=TrialRules(rows=rows))
    device = Device(tmp_path / "state", Stagings(tmp_path / "bundles"))
    device.update(1, "one")
    return device


@pytest.fixture
def running(device: Device, tmp_path: Path, free_port: int) -> Iterator[Running]:
    assert device.scoring == 1
    write_rows(tmp_path / "rows.csv", N_ROWS)
    (tmp_path / "root.json").touch()
    with ListeningManager(abstract_name()) as manager:
        running = Running(tmp_path, free_port, manager)
        yield running
        running.stop()


def test_new_settings_are_taken_and_every_row_is_scored_once(running: Running):
    running.start()
    running.write(("answers.jsonl", "second.jsonl"))
    running.reload()
    running.write(("answers.jsonl", "third.jsonl"))
    running.reload()
    wait_until(lambda: running.rows("third.jsonl"), 10, "the third agent scores")
    running.stop()
    parts = [running.rows(name) for name in ("answers.jsonl", "second.jsonl", "third.jsonl")]
    assert all(parts)
    rows = [row for part in parts for row in part]
    assert rows == list(range(len(rows)))


def test_the_source_stays_open_when_settings_change(running: Running, monkeypatch: pytest.MonkeyPatch):
    opened = []
    real = SourceOpener.open

    def count(self: SourceOpener, inputs: Inputs, cursor: int) -> Source:
        opened.append(cursor)
        return real(self, inputs, cursor)

    monkeypatch.setattr(SourceOpener, "open", count)
    running.start()
    running.write(("answers.jsonl", "second.jsonl"))
    running.reload()
    wait_until(lambda: running.rows("second.jsonl"), 10, "the second agent scores")
    assert opened == [0]


def test_a_live_source_goes_on_listening_on_the_same_connection(running: Running):
    here = running.folder / "rows.sock"
    live = ('kind = "csv"\npath = "rows.csv"\nrows_per_second = 500.0', f'kind = "socket"\npath = "{here}"')
    running.write(live)
    running.service = Service(running.path, SystemClock(), Notifier(running.manager.address), None)
    running.start()
    wait_until(here.exists, 10, "it listens")
    row = (json.dumps(ROW) + "\n").encode()
    with socket.socket(socket.AF_UNIX) as sender:
        sender.connect(str(here))
        sender.sendall(5 * row)
        wait_until(lambda: len(running.rows("answers.jsonl")) == 5, 10, "five answers")
        running.write(live, ("answers.jsonl", "second.jsonl"))
        running.reload()
        # A folder stands where the third answers should lie: the agent before goes on with its source.
        (running.folder / "third.jsonl").mkdir()
        sender.sendall(5 * row)
        wait_until(lambda: len(running.rows("second.jsonl")) == 5, 10, "five more answers")
        running.write(live, ("answers.jsonl", "third.jsonl"))
        running.reload()
        sender.sendall(5 * row)
        wait_until(lambda: len(running.rows("second.jsonl")) == 10, 10, "the last five answers")
    numbers = running.rows("answers.jsonl") + running.rows("second.jsonl")
    assert numbers == sorted(set(numbers))


def test_a_file_that_is_broken_changes_nothing_and_is_told(running: Running, caplog: pytest.LogCaptureFixture):
    running.start()
    running.write(("fleet =", "fleat ="), ("answers.jsonl", "second.jsonl"))
    running.reload()
    assert "unknown key 'fleat'; did you mean 'fleet'?" in caplog.text
    assert "the old ones hold" in running.manager.status
    scored = len(running.rows("answers.jsonl"))
    wait_until(lambda: len(running.rows("answers.jsonl")) > scored, 10, "it scores on")
    running.write(("answers.jsonl", "second.jsonl"))
    running.reload()
    wait_until(lambda: running.rows("second.jsonl"), 10, "good settings are taken afterwards")
    assert "the old ones hold" not in running.manager.status


def test_a_refusal_is_an_event_for_the_fleet(running: Running):
    running.start()
    running.write(("fleet =", "fleat ="))
    running.reload()
    running.stop()
    with contextlib.closing(Spool(running.folder / "state" / SPOOL_NAME, random.Random(1))) as spool:
        events = [parse(Channel.EVENTS, r.payload())[1] for r in spool.peek(10**6) if r.channel is Channel.EVENTS]
    assert any(isinstance(e, Event) and "the old ones hold" in e.reason for e in events)


def test_what_takes_a_restart_is_refused_by_its_key(running: Running, caplog: pytest.LogCaptureFixture):
    running.start()
    running.write(('device = "one"', 'device = "two"'), ("answers.jsonl", "second.jsonl"))
    running.reload()
    assert "key 'device': takes a restart of the agent" in caplog.text
    running.stop()
    assert not running.rows("second.jsonl")


def test_settings_that_do_not_open_give_way_to_the_old_ones_at_the_same_row(
    running: Running, caplog: pytest.LogCaptureFixture
):
    running.start()
    # It looks writable, and is no file.
    (running.folder / "taken").mkdir()
    running.write(("answers.jsonl", "taken"))
    running.reload()
    assert "cannot be opened with the new settings" in caplog.text
    scored = len(running.rows("answers.jsonl"))
    wait_until(lambda: len(running.rows("answers.jsonl")) > scored, 10, "it scores on")
    running.stop()
    rows = running.rows("answers.jsonl")
    assert rows == list(range(len(rows)))


def test_certificates_that_cannot_be_used_give_way_to_the_old_settings_too(
    running: Running, caplog: pytest.LogCaptureFixture
):
    running.start()
    (running.folder / "ca.pem").write_text("no certificate")
    running.write(("[repository]", 'ca = "ca.pem"\n[repository]'))
    running.reload()
    assert "cannot be opened with the new settings: key 'broker.ca'" in caplog.text
    scored = len(running.rows("answers.jsonl"))
    wait_until(lambda: len(running.rows("answers.jsonl")) > scored, 10, "it scores on")
    running.stop()
    assert running.error is None


def test_where_the_disk_is_full_the_agent_does_not_leave_and_nothing_is_lost(
    running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "state").rename(tmp_path / "before")
    with small_disk(tmp_path / "state", 4096):
        shutil.copytree(tmp_path / "before", tmp_path / "state", dirs_exist_ok=True)
        running.start()
        wait_until(lambda: len(running.rows("answers.jsonl")) > 50, 10, "it scores")
        filler = fill(tmp_path / "state")
        running.write(("answers.jsonl", "second.jsonl"))
        running.reload()
        assert "the disk takes nothing now" in running.manager.status
        assert "the old ones hold" in caplog.text
        scored = len(running.rows("answers.jsonl"))
        wait_until(lambda: len(running.rows("answers.jsonl")) > scored + 50, 10, "it scores on")
        assert not running.rows("second.jsonl")
        filler.unlink()
        running.reload()
        wait_until(lambda: running.rows("second.jsonl"), 10, "with room the new settings are taken")
        running.stop()
        assert running.error is None
        rows = running.rows("answers.jsonl") + running.rows("second.jsonl")
        assert rows == list(range(len(rows)))
        assert counted_rows(tmp_path / "state") == rows


def test_where_the_disk_refuses_in_the_midst_of_it_the_next_agent_has_what_is_not_durable(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real_put, real_leave = Spool.put, Agent.leave
    is_full = threading.Event()

    def put(self: Spool, *arguments: Any, **named: Any) -> None:
        if is_full.is_set():
            raise SpoolError("the disk is full")
        real_put(self, *arguments, **named)

    def leave(self: Agent) -> None:
        is_full.set()
        real_leave(self)

    running.start()
    wait_until(lambda: len(running.rows("answers.jsonl")) > 50, 10, "it scores")
    monkeypatch.setattr(Spool, "put", put)
    monkeypatch.setattr(Agent, "leave", leave)
    running.write(("answers.jsonl", "second.jsonl"))
    running.reload()
    assert "the disk refuses what was scored last: the disk is full" in running.manager.status
    scored = len(running.rows("answers.jsonl"))
    wait_until(lambda: len(running.rows("answers.jsonl")) > scored + 50, 10, "it scores on with the old settings")
    assert not running.rows("second.jsonl")
    is_full.clear()
    running.stop()
    assert running.error is None
    rows = running.rows("answers.jsonl")
    assert rows == list(range(len(rows)))
    assert counted_rows(tmp_path / "state") == rows


def counted_rows(state: Path) -> list[int]:
    """Return the numbers of the rows that the windows in a spool count, in their order."""
    with contextlib.closing(Spool(state / SPOOL_NAME, random.Random(1))) as spool:
        records = [record for record in spool.peek(10**6) if record.channel is Channel.TELEMETRY]
        windows = [parse(Channel.TELEMETRY, record.payload())[1] for record in records]
    return [
        row
        for window in windows
        if isinstance(window, TelemetryWindow)
        for row in range(window.first_row, window.last_row + 1)
    ]


def test_unchanged_settings_restart_nothing(running: Running, monkeypatch: pytest.MonkeyPatch):
    left = []
    monkeypatch.setattr(Agent, "leave", lambda _: left.append(1))
    running.start()
    running.reload()
    assert left == []


def test_a_bundle_on_trial_is_not_charged_with_a_start(
    running: Running, device: Device, caplog: pytest.LogCaptureFixture
):
    device.order(2, "two")
    device.poll(3)
    running.start()
    wait_until(lambda: "trial" in running.manager.status, 10, "the trial goes on")
    running.write(("answers.jsonl", "second.jsonl"))
    running.service.reload()
    wait_until(lambda: running.rows("second.jsonl"), 20, "the settings are taken once the trial has ended")
    running.stop()
    active = device.store.load().record.active
    assert active is not None
    assert active.bundle == BundleRef("toy", 2)
    assert "wait until the trial of the bundle has ended" in caplog.text


def test_a_scoring_thread_that_hangs_is_not_called_alive(running: Running, monkeypatch: pytest.MonkeyPatch):
    goes_on = threading.Event()
    asked = []
    real_beat, real_round = Heartbeat.beat, ScoringLoop._read_and_score

    def beat(self: Heartbeat) -> None:
        asked.append(1)
        real_beat(self)

    def hang(self: ScoringLoop) -> bool:
        goes_on.wait(30)
        return real_round(self)

    monkeypatch.setattr("edge_agent.service.heartbeat.PLAIN_S", 0.0)
    monkeypatch.setattr(Heartbeat, "beat", beat)
    running.start()
    wait_until(lambda: running.manager.times("WATCHDOG") > 3, 10, "it is alive")
    monkeypatch.setattr(ScoringLoop, "_read_and_score", hang)
    # The round that goes on now may still be told.
    n = len(asked)
    wait_until(lambda: len(asked) > n + 5, 10, "housekeeping went round")
    n, beats = len(asked), running.manager.times("WATCHDOG")
    wait_until(lambda: len(asked) > n + 5, 10, "housekeeping went round again")
    assert running.manager.times("WATCHDOG") == beats
    goes_on.set()
    wait_until(lambda: running.manager.times("WATCHDOG") > beats, 10, "it is alive again")


def test_settings_that_were_never_good_open_nothing(tmp_path: Path):
    with pytest.raises(SettingsError, match="cannot be read"):
        Service(tmp_path / "none.toml", SystemClock(), Notifier(None), None)


def test_a_message_that_comes_while_the_agent_says_goodbye_does_not_end_the_reload(
    running: Running, monkeypatch: pytest.MonkeyPatch
):
    real = Housekeeping.stop

    def stop(self: Housekeeping, timeout_s: float) -> bool:
        is_finished = real(self, timeout_s)
        self.on_link(False)
        return is_finished

    monkeypatch.setattr(Housekeeping, "stop", stop)
    running.start()
    running.write(("answers.jsonl", "second.jsonl"))
    running.reload()
    wait_until(lambda: running.rows("second.jsonl"), 10, "the second agent scores")
