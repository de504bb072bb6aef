"""Each command is answered once, and never by one that has expired."""

import json

import pytest

from broker.messages import AskLabels, Command, Diagnose, Reply, ReportStatus, RollBack, ScoreRow
from broker.topics import Channel
from edge_agent.clock import SystemClock
from tests.integration.agent.conftest import Fleet
from tests.integration.agent.test_updates import SLOWLY, assert_scores, start_with, started_with_one
from tests.waiting import wait_until

Order = AskLabels | ReportStatus | RollBack | ScoreRow | Diagnose


def test_asked_labels_come_as_samples_that_name_the_ask(one_fleet: Fleet):
    started_with_one(one_fleet)
    assert ask(one_fleet, AskLabels("ask-1", 7)).accepted

    def answered() -> list[str]:
        rows = [row for samples in one_fleet.receiver.samples("one") for row in samples.rows]
        return [row.prediction_id for row in rows if row.ask_id == "ask-1"]

    wait_until(lambda: len(answered()) == 7, 20, "seven rows for the ask")
    assert len(set(answered())) == 7
    assert all(name.startswith("one.") for name in answered())


def test_an_ask_survives_a_kill_right_after_it_was_accepted(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    assert ask(one_fleet, AskLabels("ask-1", 40)).accepted
    station.kill()
    station.start()
    wait_until(
        lambda: sum(r.ask_id == "ask-1" for s in one_fleet.receiver.samples("one") for r in s.rows) == 40,
        30,
        "forty rows for the ask",
    )


def test_a_row_is_scored_outside_of_telemetry(one_fleet: Fleet):
    station = one_fleet.station(n_rows=20)
    start_with(one_fleet, station, one_fleet.updates.publish(1))
    wait_until(lambda: one_fleet.receiver.rows("one") == 20, 20, "the source has ended")
    reply = ask(one_fleet, ScoreRow((2.0, 2.0, 2.0)))
    assert reply.accepted
    assert reply.scores[1] > 0.9
    assert sum(reply.scores) == pytest.approx(1.0, abs=1e-5)
    short = ask(one_fleet, ScoreRow((1.0,)))
    assert not short.accepted
    assert "wrong_length" in short.reason
    assert station.stop() == 0
    assert station.status()["live"]["rows_scored"] == 20


def test_a_row_cannot_be_scored_before_the_first_bundle(one_fleet: Fleet):
    one_fleet.station().start()
    assert "no bundle yet" in ask(one_fleet, ScoreRow((1.0, 1.0, 1.0))).reason


def test_roll_back_goes_to_the_previous_bundle_which_its_retained_order_does_not_undo(one_fleet: Fleet):
    first, second = one_fleet.updates.publish(1), one_fleet.updates.publish(2)
    station = one_fleet.station(n_rows=100_000, source=SLOWLY)
    start_with(one_fleet, station, first)
    one_fleet.order(station, second)
    one_fleet.wait_committed(station, second)
    assert_scores(one_fleet, second)
    assert ask(one_fleet, RollBack("a person says so")).accepted
    one_fleet.wait_for_event(station, "rolled_back")
    assert_scores(one_fleet, first)
    station.stop()
    station.start()
    assert_scores(one_fleet, first, more=100)
    assert station.status()["bundle"] == "toy/1"
    assert "no previous bundle" in ask(one_fleet, RollBack("again")).reason


def test_diagnose_tells_what_the_agent_knows_of_itself(one_fleet: Fleet):
    started_with_one(one_fleet)
    report = json.loads(ask(one_fleet, Diagnose()).report)
    assert report["update"]["running"] == "toy/1"
    assert "onnx" in report["runtimes"]


def test_report_status_publishes_the_status_again(one_fleet: Fleet):
    started_with_one(one_fleet)
    wait_until(lambda: (s := one_fleet.receiver.status("one")) and s.update_state == "idle", 10)
    before = len(one_fleet.receiver.statuses)
    assert ask(one_fleet, ReportStatus()).accepted
    wait_until(lambda: len(one_fleet.receiver.statuses) > before, what="the status comes again")
    status = one_fleet.receiver.status("one")
    assert status is not None
    assert status.facts is not None
    assert status.facts.memory_bytes > 0


def test_an_expired_command_is_ignored_and_a_repeated_one_answered_once(one_fleet: Fleet):
    started_with_one(one_fleet)
    now_s = SystemClock().utc_s()
    one_fleet.receiver.publish("one", Channel.COMMAND, Command("late", now_s - 1, "test", Diagnose()))
    for _ in range(3):
        one_fleet.receiver.publish("one", Channel.COMMAND, Command("twice", now_s + 60, "test", Diagnose()))
    ask(one_fleet, Diagnose(), "last")
    assert [reply.command_id for reply in one_fleet.receiver.replies] == ["twice", "last"]


def ask(fleet: Fleet, order: Order, command_id: str | None = None) -> Reply:
    """Send a command and wait for its reply."""
    command_id = command_id or f"command-{len(fleet.receiver.replies)}"
    wait_until(lambda: (s := fleet.receiver.status("one")) and s.online, 10, "the agent is online")
    expires_s = SystemClock().utc_s() + 60
    fleet.receiver.publish("one", Channel.COMMAND, Command(command_id, expires_s, "test", order))

    def replies() -> list[Reply]:
        return [reply for reply in fleet.receiver.replies if reply.command_id == command_id]

    wait_until(replies, 10, f"a reply to {type(order).__name__}")
    return replies()[0]
