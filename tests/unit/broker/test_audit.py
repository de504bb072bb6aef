"""Every order is written down before it goes out, and what is changed afterwards is found."""

import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.audit import AuditedPublisher, AuditError, AuditLog, read_log, verify_log
from broker.commands.audits import app
from broker.errors import LinkError
from broker.messages import BundleRef, Command, Desired, RollBack, Status, encode
from broker.topics import Channel, DeviceId, FleetId, Topic

PRESS = DeviceId("press-1")
DESIRED = Topic(FleetId("plant"), PRESS, Channel.DESIRED)
COMMAND = Topic(FleetId("plant"), PRESS, Channel.COMMAND)
ORDER = encode(Desired(BundleRef("quality", 3), "quality-3-1", 1.0, "operator:anna", "by hand"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def log_of(path: Path, lines: int = 0) -> AuditLog:
    log = AuditLog(path, iter(range(1000, 100_000)).__next__)
    for number in range(lines):
        log.append(by="operator:anna", what="desired", device=f"press-{number}", detail=f"order {number}")
    return log


def test_lines_are_numbered_chained_and_verified(path):
    log_of(path, 3)
    entries = list(read_log(path))
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert [entry.previous for entry in entries[1:]] == [entry.hash for entry in entries[:2]]
    assert verify_log(path) == entries[-1]


def test_another_process_goes_on_where_the_first_one_ended(path):
    log_of(path, 2)
    log_of(path, 2)
    last = verify_log(path)
    assert last is not None
    assert last.number == 4


def test_only_its_owner_may_read_it(path):
    log_of(path, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_line_is_on_disk_before_append_returns(path, monkeypatch):
    synced: list[bytes] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            synced.append(path.read_bytes())
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    log_of(path, 1)
    assert synced == [path.read_bytes()]


@pytest.mark.parametrize("line", [0, 1, 2])
@pytest.mark.parametrize(("old", "new"), [(b"order", b"0rder"), (b"anna", b"carl"), (b'"number":', b'"number": ')])
def test_a_changed_line_is_found_wherever_it_is(path, line, old, new):
    log_of(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    assert old in lines[line]
    lines[line] = lines[line].replace(old, new, 1)
    path.write_bytes(b"".join(lines))
    if new.endswith(b" "):
        assert verify_log(path) is not None, "white space says nothing"
        return
    with pytest.raises(AuditError, match=f"line {line + 1}: was changed"):
        verify_log(path)


@pytest.mark.parametrize("order", [(0, 2), (1, 2), (0, 0, 1, 2), (1, 0, 2)], ids=str)
def test_lines_that_were_removed_inserted_or_moved_are_found(path, order):
    log_of(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[n] for n in order))
    with pytest.raises(AuditError, match="removed, inserted or moved"):
        verify_log(path)


def test_what_was_taken_away_at_the_end_is_found_by_a_hash_that_was_noted(path):
    log_of(path, 3)
    head = list(read_log(path))[-1].hash
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    assert verify_log(path) is not None, "without the hash nobody can know"
    with pytest.raises(AuditError, match="lines were taken away"):
        verify_log(path, head)


def test_a_line_that_a_crash_cut_short_is_taken_away_by_the_next(path):
    log_of(path, 2)
    whole = path.read_bytes()
    for cut in (1, 40, len(whole.splitlines()[1])):
        path.write_bytes(whole[:-cut])
        assert [entry.number for entry in read_log(path)] == [1]
        log_of(path, 1)
        last = verify_log(path)
        assert last is not None
        assert last.number == 2


def test_nothing_is_appended_to_an_end_that_was_changed(path):
    log_of(path, 2)
    path.write_bytes(path.read_bytes().replace(b"order 1", b"order 9"))
    with pytest.raises(AuditError, match="last line was changed"):
        log_of(path, 1)
    path.write_bytes(b"hello\n")
    with pytest.raises(AuditError, match="no line of an audit log"):
        log_of(path, 1)


def test_a_link_in_the_logs_place_is_not_followed(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError, match="it is not given"):
        log_of(path, 1)
    assert not (tmp_path / "elsewhere").exists()


def _append_many(path: Path) -> None:
    log_of(path, 50)


def test_several_processes_write_one_chain(path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append_many, args=(path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    last = verify_log(path)
    assert last is not None
    assert last.number == 150


def test_an_order_is_in_the_log_before_it_is_sent_and_once_however_often_it_is_tried(path):
    written_when_sent: list[int] = []
    roads = iter([False, False, True])

    def publish(_topic: Topic, _payload: bytes) -> None:
        written_when_sent.append(len(list(read_log(path))))
        if not next(roads):
            raise LinkError("no link")

    send = AuditedPublisher(publish, log_of(path), "trainer:loop")
    for _ in range(2):
        with pytest.raises(LinkError):
            send(DESIRED, ORDER)
    send(DESIRED, ORDER)
    assert written_when_sent == [1, 1, 1]
    (entry,) = read_log(path)
    assert (entry.by, entry.what, entry.device, entry.order_id) == ("trainer:loop", "desired", PRESS, "quality-3-1")
    assert entry.detail == "quality/3 for operator:anna: by hand"


def test_what_cannot_be_written_down_is_not_sent(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    sent: list[bytes] = []
    send = AuditedPublisher(lambda _, payload: sent.append(payload), log_of(tmp_path / "file" / "audit.jsonl"), "x")
    with pytest.raises(AuditError, match="not written down, so it is not given"):
        send(DESIRED, ORDER)
    assert sent == []


def test_commands_are_named_and_what_is_no_order_is_not_logged(path):
    sent: list[Topic] = []
    send = AuditedPublisher(lambda topic, _: sent.append(topic), log_of(path), "operator:anna")
    send(COMMAND, encode(Command("c-1", 2.0, "operator:anna", RollBack("worse\nthan before"))))
    send(DESIRED, b"")
    send(COMMAND, b"\x07garbage")
    send(Topic(FleetId("plant"), PRESS, Channel.STATUS), encode(Status(True, 1.0, "b", "1")))
    assert [entry.what for entry in read_log(path)] == ["command.roll_back", "desired", "command"]
    assert len(sent) == 4


def test_the_command_lists_by_device_and_time_and_verifies(path):
    log_of(path, 3)
    run = CliRunner()
    listed = run.invoke(app, ["audit", "list", "--log", str(path), "--device", "press-1", "--json"])
    assert [json.loads(line)["device"] for line in listed.output.splitlines()] == ["press-1"]
    since = run.invoke(app, ["audit", "list", "--log", str(path), "--since", "1970-01-01T00:16:42"])
    assert since.output.count("\n") == 1
    assert "press-2" in since.output
    verified = json.loads(run.invoke(app, ["audit", "verify", "--log", str(path), "--json"]).output)
    assert verified["lines"] == 3

    path.write_bytes(path.read_bytes().replace(b"press-1", b"press-7"))
    result = run.invoke(app, ["audit", "verify", "--log", str(path), "--head", verified["head"]])
    assert result.exit_code == 1
    assert "line 2: was changed" in result.stderr


def test_a_reason_cannot_steer_the_terminal_of_who_reads_it(path):
    AuditLog(path, lambda: 1.0).append(by="x\x1b[1m", what="desired", device="\x9b2J", detail="\x1b[2Jgone\nnext")
    output = CliRunner().invoke(app, ["audit", "list", "--log", str(path)]).output
    assert not {"\x1b", "\x9b"} & set(output)
    assert output.count("\n") == 1


def test_a_log_that_is_not_there_is_no_log_in_which_all_is_well(path):
    run = CliRunner()
    result = run.invoke(app, ["audit", "verify", "--log", str(path)])
    assert result.exit_code == 1
    assert "there is no log" in result.stderr
    listed = run.invoke(app, ["audit", "list", "--log", str(path), "--json"])
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert "there is no log" in listed.stderr
