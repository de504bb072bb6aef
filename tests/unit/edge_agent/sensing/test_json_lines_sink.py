"""Answers are appended whole, survive a cut, and never stop scoring."""

import json
import resource
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import SettingsError
from edge_agent.scoring.scorer import Prediction
from edge_agent.sensing import json_lines_sink
from edge_agent.sensing.json_lines_sink import JsonLinesSink
from tests.unit.edge_agent.examples import RAIN, prediction_of

Write = Callable[[JsonLinesSink, int], None]


def write(sink: JsonLinesSink, row: int) -> None:
    sink.write(f"station-1.{row}", row, 1.7e9, RAIN, prediction_of())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_label_and_a_value_are_written_with_their_id(tmp_path: Path):
    sink = JsonLinesSink(tmp_path / "new" / "answers.jsonl")
    write(sink, 4)
    sink.write("station-1.5", 5, 1.7e9 + 1, RAIN, Prediction(None, None, 2.5, 0.0, True, 0, 0.1, (2.5,)))
    sink.close()
    assert lines(tmp_path / "new" / "answers.jsonl") == [
        {"id": "station-1.4", "row": 4, "at": 1.7e9, "bundle": "rain/3", "label": "rain", "confidence": 0.9},
        {"id": "station-1.5", "row": 5, "at": 1.7e9 + 1, "bundle": "rain/3", "value": 2.5, "confidence": 0.0},
    ]


def test_nothing_is_written_before_a_flush_and_everything_after(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    sink = JsonLinesSink(path)
    write(sink, 0)
    assert path.read_bytes() == b""
    sink.flush()
    assert [line["row"] for line in lines(path)] == [0]
    sink.flush()
    assert len(lines(path)) == 1
    sink.close()


@pytest.mark.parametrize("torn", [b'{"id": "station-1.9", "ro', b"x" * 1000])
def test_a_line_that_a_killed_process_did_not_finish_is_cut_off(tmp_path: Path, torn: bytes):
    path = tmp_path / "answers.jsonl"
    first = JsonLinesSink(path)
    write(first, 0)
    first.close()
    with path.open("ab") as file:
        file.write(torn)
    second = JsonLinesSink(path)
    write(second, 1)
    second.close()
    assert [line["row"] for line in lines(path)] == [0, 1]


def test_a_full_disk_keeps_the_answers_and_the_next_flush_writes_them_whole(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    sink = JsonLinesSink(path)
    for row in range(50):
        write(sink, row)
    # A limit on the file's size refuses in the middle of a write, as a full disk does.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            sink.flush()
        write(sink, 50)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    sink.flush()
    assert [line["row"] for line in lines(path)] == list(range(51))
    sink.close()


def test_answers_that_can_never_be_written_are_bounded_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(json_lines_sink, "MAX_WAITING_LINES", 3)
    sink = JsonLinesSink(tmp_path / "answers.jsonl")
    for row in range(5):
        write(sink, row)
    assert sink.lost == 2
    sink.close()
    assert [line["row"] for line in lines(tmp_path / "answers.jsonl")] == [2, 3, 4]


def test_lines_that_come_together_are_bounded_and_counted_as_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(json_lines_sink, "MAX_WAITING_LINES", 5)
    sink = JsonLinesSink(tmp_path / "answers.jsonl")
    for first in (0, 2, 4):
        sink.write_lines(b'{"row": %d}\n{"row": %d}\n' % (first, first + 1), 2)
    assert sink.lost == 2
    sink.flush()
    # There is room again for as many.
    sink.write_lines(b"".join(b'{"row": %d}\n' % row for row in range(6, 11)), 5)
    sink.close()
    assert sink.lost == 2
    assert [line["row"] for line in lines(tmp_path / "answers.jsonl")] == list(range(2, 11))


def test_lines_that_a_disk_refuses_for_long_are_bounded_and_the_one_that_stands_in_part_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(json_lines_sink, "MAX_WAITING_LINES", 5)
    path = tmp_path / "answers.jsonl"
    sink = JsonLinesSink(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # The disk takes half a line.
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, before[1]))
    try:
        for first in (0, 2, 4, 6):
            sink.write_lines(b'{"row": %d}\n{"row": %d}\n' % (first, first + 1), 2)
            with pytest.raises(OSError, match="large"):
                sink.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert sink.lost == 3
    sink.close()
    assert [line["row"] for line in lines(path)] == [0, 4, 5, 6, 7]


class EmptiedMeanwhile(deque[tuple[bytes, int]]):
    """A queue that the other thread has just emptied, and did not say so yet."""

    def popleft(self) -> tuple[bytes, int]:
        self.clear()
        return super().popleft()


def test_a_flush_that_empties_a_full_queue_meanwhile_does_not_stop_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(json_lines_sink, "MAX_WAITING_LINES", 1)
    sink = JsonLinesSink(tmp_path / "answers.jsonl")
    sink._waiting = EmptiedMeanwhile([(b"{}\n", 1)])
    sink._put = 1
    write(sink, 7)
    sink._waiting = deque(sink._waiting)
    sink.close()
    assert sink.lost == 0
    assert [line["row"] for line in lines(tmp_path / "answers.jsonl")] == [7]


class ShortenedMeanwhile(deque[tuple[bytes, int]]):
    """A queue off which the other thread takes one just after its length was asked for."""

    def __len__(self) -> int:
        length = super().__len__()
        if length:
            self.popleft()
        return length


def test_a_full_queue_that_loses_an_answer_meanwhile_does_not_stop_a_flush(tmp_path: Path):
    sink = JsonLinesSink(tmp_path / "answers.jsonl")
    sink._waiting = ShortenedMeanwhile((b'{"row": %d}\n' % n, 1) for n in range(4))
    sink.flush()
    sink.close()
    assert [line["row"] for line in lines(tmp_path / "answers.jsonl")] == [1, 2, 3]


def test_a_place_that_cannot_be_written_is_a_settings_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"sink\.path"):
        JsonLinesSink(tmp_path / "file" / "answers.jsonl")


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_the_files_have_a_bound_and_hold_the_newest_answers_in_order(tmp_path: Path, kept: int):
    path = tmp_path / "answers.jsonl"
    sink = JsonLinesSink(path, max_file_bytes=1000, kept_files=kept)
    for row in range(200):
        write(sink, row)
        sink.flush()
        files = list(tmp_path.iterdir())
        assert len(files) <= kept + 1
        # A line more than the bound each: the next flush begins a new file.
        assert sum(file.stat().st_size for file in files) <= (kept + 1) * 1150
    sink.close()
    names = [*(f"answers.jsonl.{number}" for number in range(kept, 0, -1)), "answers.jsonl"]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)
    rows = [line["row"] for name in names for line in lines(tmp_path / name)]
    assert rows == list(range(200 - len(rows), 200))


def test_a_cut_between_two_renames_of_a_rotation_loses_no_file(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"row": 3}\n')
    # .1 was renamed to .2 already, the file itself was not renamed yet.
    (tmp_path / "answers.jsonl.2").write_text('{"row": 2}\n')
    sink = JsonLinesSink(path, max_file_bytes=5, kept_files=4)
    write(sink, 4)
    sink.close()
    assert {file.name: lines(file)[0]["row"] for file in tmp_path.iterdir()} == {
        "answers.jsonl": 4,
        "answers.jsonl.1": 3,
        "answers.jsonl.3": 2,
    }


def test_other_files_beside_the_answers_stay(tmp_path: Path):
    others = ("answers.jsonl.bak", "answers.jsonl.01", "answers.jsonl2", "other.jsonl.1")
    for name in others:
        (tmp_path / name).write_text("not ours")
    sink = JsonLinesSink(tmp_path / "answers.jsonl", max_file_bytes=5, kept_files=0)
    for row in range(5):
        write(sink, row)
        sink.flush()
    sink.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*others, "answers.jsonl"])


def test_a_file_that_somebody_else_rotated_is_begun_anew(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    sink = JsonLinesSink(path, max_file_bytes=5)
    write(sink, 0)
    sink.flush()
    path.rename(tmp_path / "taken")
    for row in (1, 2):
        write(sink, row)
        sink.flush()
    sink.close()
    assert [line["row"] for line in lines(path)] == [2]
    assert [line["row"] for line in lines(tmp_path / "answers.jsonl.1")] == [1]


def test_a_line_that_stands_in_part_is_finished_in_its_own_file_before_the_next_is_begun(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    sink = JsonLinesSink(path, max_file_bytes=50)
    write(sink, 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            sink.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    write(sink, 1)
    sink.flush()
    assert [line["row"] for line in lines(path)] == [0, 1]
    write(sink, 2)
    sink.close()
    assert [line["row"] for line in lines(path)] == [2]


def test_a_hole_that_a_power_cut_left_is_cut_off_with_all_that_follows(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b'{"row":0}\n{"row":' + bytes(512) + b'}\n{"row":2}\n')
    JsonLinesSink(path).close()
    assert path.read_bytes() == b'{"row":0}\n'


def test_from_half_of_what_may_wait_on_there_is_no_room_until_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(json_lines_sink, "ROOMY_LINES", 3)
    sink = JsonLinesSink(tmp_path / "answers.jsonl")
    for row in range(3):
        write(sink, row)
    assert sink.has_room
    write(sink, 3)
    assert not sink.has_room
    sink.flush()
    assert sink.has_room
    sink.close()


def test_a_disk_that_refuses_holds_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(json_lines_sink, "ROOMY_LINES", 3)
    sink = JsonLinesSink(tmp_path / "answers.jsonl")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        for row in range(5):
            write(sink, row)
        assert not sink.has_room
        with pytest.raises(OSError, match="large"):
            sink.flush()
        assert sink.has_room
        for row in range(5, 10):
            write(sink, row)
        assert sink.has_room
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    sink.close()
    assert [line["row"] for line in lines(tmp_path / "answers.jsonl")] == list(range(10))
