"""Letters between a person at the device and the running agent."""

import io
from pathlib import Path

import pytest

from edge_agent.mailbox import (
    MAX_ASKS,
    DiagnoseAsk,
    LocalAnswer,
    RollBackAsk,
    copy_into_inbox,
    file_in_inbox,
    inbox_of,
    leave_answer,
    leave_ask,
    new_id,
    sweep_inbox,
    take_answer,
    take_asks,
    withdraw,
)

ASK = RollBackAsk("because", "somebody")


def test_an_ask_is_taken_once_and_its_answer_once(tmp_path: Path):
    ask_id = new_id()
    assert take_asks(tmp_path) == []
    leave_ask(tmp_path, ask_id, ASK)
    assert take_asks(tmp_path) == [(ask_id, ASK)]
    assert take_asks(tmp_path) == []
    assert take_answer(tmp_path, ask_id) is None
    leave_answer(tmp_path, ask_id, LocalAnswer(accepted=True, reason="done"))
    assert take_answer(tmp_path, ask_id) == LocalAnswer(accepted=True, reason="done")
    assert take_answer(tmp_path, ask_id) is None


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b'{"type":"burn"}', b"[" * 10_000, b'{"type":"roll_back","reason":"x"}']
)
def test_what_cannot_be_read_is_removed_and_passed_over(tmp_path: Path, data: bytes):
    ask_id = new_id()
    leave_ask(tmp_path, ask_id, ASK)
    (inbox_of(tmp_path) / f"{ask_id}.ask.json").write_bytes(data)
    assert take_asks(tmp_path) == []
    assert not list(inbox_of(tmp_path).iterdir())


def test_names_that_nobody_draws_are_left_alone(tmp_path: Path):
    leave_ask(tmp_path, new_id(), DiagnoseAsk())
    (inbox_of(tmp_path) / "x.ask.json").write_bytes(b"{}")
    assert len(take_asks(tmp_path)) == 1
    assert (inbox_of(tmp_path) / "x.ask.json").exists()


def test_so_many_asks_are_taken_at_a_time(tmp_path: Path):
    for _ in range(MAX_ASKS + 3):
        leave_ask(tmp_path, new_id(), DiagnoseAsk())
    assert [len(take_asks(tmp_path)) for _ in range(3)] == [MAX_ASKS, 3, 0]


def test_an_ask_is_withdrawn_only_if_nobody_has_taken_it(tmp_path: Path):
    ask_id = new_id()
    leave_ask(tmp_path, ask_id, ASK)
    assert withdraw(tmp_path, ask_id)
    assert take_asks(tmp_path) == []
    assert not withdraw(tmp_path, ask_id)


def test_a_start_keeps_the_update_files_that_are_needed_or_asked_for(tmp_path: Path):
    ids = [new_id() for _ in range(3)]
    for ask_id in ids:
        copy_into_inbox(tmp_path, ask_id, io.BytesIO(b"content"))
    leave_ask(tmp_path, ids[1], ASK)
    leave_answer(tmp_path, ids[2], LocalAnswer(accepted=True))
    sweep_inbox(tmp_path, keep={ids[0]})
    assert [file_in_inbox(tmp_path, ask_id).exists() for ask_id in ids] == [True, True, False]
    assert take_answer(tmp_path, ids[2]) is None
