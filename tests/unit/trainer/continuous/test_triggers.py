"""Schedules and labels that start a run: when they are due, and what the loop makes of them."""

from datetime import UTC, datetime

import pytest

from tests.unit.trainer.continuous.conftest import HALF_WRONG
from trainer.continuous.runner import RunOutcome
from trainer.continuous.story import State
from trainer.continuous.triggers import find_due, times_after
from trainer.project.triggers import TriggersSection, trigger_problems

EVERY_MONDAY = TriggersSection(schedule="0 3 * * 1", timezone="Europe/Berlin")


def utc_s(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_a_schedule_is_kept_in_its_own_time_zone_in_summer_and_winter():
    times = times_after(EVERY_MONDAY, utc_s("2026-03-20"))
    # Clocks there go forward on Sunday, 29 March.
    assert [next(times), next(times)] == [utc_s("2026-03-23T02:00"), utc_s("2026-03-30T01:00")]


def test_a_time_is_due_from_its_minute_on_and_once():
    before, after = utc_s("2026-03-23T01:59:59"), utc_s("2026-03-23T02:00")
    since = utc_s("2026-03-20")
    assert find_due(EVERY_MONDAY, since_utc_s=since, now_utc_s=before, labels=0) is None
    due = find_due(EVERY_MONDAY, since_utc_s=since, now_utc_s=after, labels=0)
    assert due is not None
    assert due.trigger == "schedule"
    assert "2026-03-23 03:00 CET" in due.reason
    assert find_due(EVERY_MONDAY, since_utc_s=after, now_utc_s=after + 60, labels=0) is None


def test_times_that_passed_unseen_are_due_together():
    hourly = TriggersSection(schedule="0 * * * *", new_labels=10)
    due = find_due(hourly, since_utc_s=utc_s("2026-01-01"), now_utc_s=utc_s("2026-01-03"), labels=12)
    assert due is not None
    assert "12 labelled rows" in due.reason
    assert find_due(hourly, since_utc_s=utc_s("2026-01-03"), now_utc_s=utc_s("2026-01-03T00:01"), labels=9) is None


@pytest.mark.parametrize(
    ("section", "named"),
    [
        (TriggersSection(schedule="every monday"), "triggers.schedule"),
        (TriggersSection(schedule="0 3 31 2 *"), "triggers.schedule"),
        (TriggersSection(timezone="Mars/Olympus"), "triggers.timezone"),
        (TriggersSection(timezone="../../etc/passwd"), "triggers.timezone"),
    ],
)
def test_what_is_no_time_is_refused_by_its_key(section: TriggersSection, named: str):
    (problem,) = trigger_problems(section)
    assert named in problem


def test_enough_new_labels_start_a_run_whose_bundle_is_rolled_out(make_stage):
    stage = make_stage(triggers=TriggersSection(new_labels=40), background_rows=4)
    stage.play(40, until=State.RUNNING)
    (request,) = stage.runner.requests
    assert request.trigger == "labels"
    assert stage.kinds() == ["triggered"]
    stage.runner.outcome = stage.promoted()
    stage.play(12)
    assert set(stage.running.values()) == {2}
    assert stage.kinds()[:2] == ["triggered", "promoted"]
    assert "rolled_out" in stage.kinds()
    assert stage.alerts.sent == []


def test_labels_count_from_the_last_run_on(make_stage):
    stage = make_stage(triggers=TriggersSection(new_labels=40), background_rows=4)
    stage.play(40, until=State.RUNNING)
    stage.runner.outcome = RunOutcome("refused", "no better", "r1", 2)
    stage.play(1)
    stage.runner.outcome = None
    stage.play(1)
    assert len(stage.runner.requests) == 1
    stage.play(40, until=State.RUNNING)
    assert len(stage.runner.requests) == 2
    assert stage.runner.requests[0].token != stage.runner.requests[1].token


def test_a_model_that_was_due_and_is_no_better_is_nobodys_trouble_but_a_broken_run_is(make_stage):
    stage = make_stage(triggers=TriggersSection(new_labels=40), background_rows=4)
    stage.play(40, until=State.RUNNING)
    stage.runner.outcome = RunOutcome("refused", "no better", "r1", 2)
    stage.play(1)
    assert stage.alerts.sent == []
    assert stage.kinds()[-1] == "refused"
    stage.runner.outcome = None
    stage.play(60, until=State.RUNNING)
    stage.runner.outcome = RunOutcome("broke_off", "no disk", "r2")
    stage.play(1)
    (alert,) = stage.alerts.sent
    assert alert.kind == "run_failed"
    assert alert.text.startswith("A new model was due")


def test_a_schedule_that_comes_during_a_story_is_one_run_after_it(make_stage):
    stage = make_stage(triggers=TriggersSection(schedule="* * * * *"), window_rows=50)
    stage.play(1)
    assert stage.loop.story.state is State.WATCHING
    stage.play(10, until=State.RUNNING)
    stage.play(20)  # more than three minutes: the schedule comes again and again
    assert len(stage.runner.requests) == 1
    stage.runner.outcome = RunOutcome("refused", "no better", "r1", 2)
    stage.play(1)
    stage.runner.outcome = None
    stage.play(20, until=State.RUNNING)
    stage.play(5)
    assert len(stage.runner.requests) == 2


def test_a_monitor_that_is_started_anew_neither_forgets_nor_repeats_a_run(make_stage):
    stage = make_stage(triggers=TriggersSection(new_labels=40), background_rows=4)
    stage.play(40, until=State.RUNNING, restart=True)
    stage.play(5, restart=True)
    assert len(stage.runner.requests) == 1
    assert stage.loop.story.state is State.RUNNING


def test_a_loss_is_mended_as_ever_beside_a_schedule(make_stage):
    stage = make_stage(triggers=TriggersSection(schedule="0 3 * * *"))
    stage.play(40, right=HALF_WRONG, until=State.RUNNING)
    (request,) = stage.runner.requests
    assert request.trigger == "deterioration"
