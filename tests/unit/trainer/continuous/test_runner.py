import os
import signal
import subprocess
import sys

import pytest

from tests.unit.trainer.simulated_fleet import ManualClock
from tests.waiting import wait_until
from trainer.continuous.runner import FoundRun, RunOutcome, RunRequest, SubprocessRunner
from trainer.errors import BusyError

REQUEST = RunRequest("mend-1", "deterioration", "30 labels: 0.5 wrong")

# Stands for the command line tool: does what a plan file says for this attempt, and writes down how it was called.
TOOL = """
import json, pathlib, signal, sys
here = pathlib.Path(__file__).parent
calls = here / "calls"
calls.open("a").write(json.dumps(sys.argv[1:]) + "\\n")
plan = json.loads((here / "plan").read_text())[len(calls.read_text().splitlines()) - 1]
if plan == "busy":
    sys.exit(BUSY)
print(json.dumps({"run_id": "r1", "step": "extract"}), flush=True)
if plan == "hang":
    signal.pause()
if plan == "break":
    sys.exit("out of memory")
if plan == "garble":
    print("{]")
    sys.exit(0)
promoted = plan == "promote"
print(json.dumps({"run_id": "r1", "version": 4, "promoted": promoted,
                  "bundle": "/b/4" if promoted else None, "reason": plan, "waits": plan == "wait"}))
sys.exit(4 if plan == "refuse" else 0)
""".replace("BUSY", str(BusyError.exit_code))


@pytest.fixture
def make_runner(tmp_path):
    runners = []

    def make(*plans, clock=None):
        tool = tmp_path / "tool.py"
        if plans:
            import json

            tool.write_text(TOOL)
            (tmp_path / "plan").write_text(json.dumps(plans))
        command = [sys.executable, str(tool)]
        runner = SubprocessRunner(tmp_path / "fieldloop.toml", tmp_path / "runs", command, clock=clock)
        runners.append(runner)
        return runner

    yield make
    for runner in runners:
        runner.close()


def calls(folder):
    import json

    path = folder / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def outcome_of(runner):
    outcomes = []

    def ended():
        outcome = runner.ensure(REQUEST)
        if outcome is not None:
            outcomes.append(outcome)
        return outcomes

    wait_until(ended, 30)
    return outcomes[0]


def test_a_promoted_run_names_its_bundle(make_runner, tmp_path):
    outcome = outcome_of(make_runner("promote"))
    assert (outcome.kind, outcome.version, outcome.bundle, outcome.run_id) == ("promoted", 4, "/b/4", "r1")
    assert calls(tmp_path) == [
        [
            *("pipeline", "run", "--project", str(tmp_path / "fieldloop.toml")),
            *("--trigger", "deterioration", "--reason", "30 labels: 0.5 wrong (mend-1)", "--json"),
        ]
    ]


def test_a_run_that_the_gate_refuses_says_why_and_is_not_tried_again(make_runner, tmp_path):
    runner = make_runner("refuse")
    outcome = outcome_of(runner)
    assert (outcome.kind, outcome.reason, outcome.bundle) == ("refused", "refuse", "")
    assert runner.ensure(REQUEST) == outcome
    assert len(calls(tmp_path)) == 1


def test_a_run_whose_version_waits_for_approval_is_not_told_as_refused(make_runner, tmp_path):
    runner = make_runner("wait")
    outcome = outcome_of(runner)
    assert (outcome.kind, outcome.reason, outcome.version, outcome.bundle) == ("waits", "wait", 4, "")
    assert runner.ensure(REQUEST) == outcome
    assert len(calls(tmp_path)) == 1


@pytest.mark.parametrize("fault", ["break", "garble"])
def test_a_run_that_breaks_off_is_resumed_by_its_id(make_runner, tmp_path, fault):
    outcome = outcome_of(make_runner(fault, "promote"))
    assert outcome.kind == "promoted"
    assert calls(tmp_path)[1][:3] == ["pipeline", "resume", "r1"]


def test_a_run_that_always_breaks_off_is_given_up_with_its_last_words(make_runner, tmp_path):
    outcome = outcome_of(make_runner(*["break"] * 9))
    assert outcome.kind == "broke_off"
    assert "out of memory" in outcome.reason
    assert len(calls(tmp_path)) == 3


def test_a_monitor_that_was_started_anew_finds_the_run_going_on_and_does_not_start_another(make_runner, tmp_path):
    first = make_runner("hang", "promote")
    assert first.ensure(REQUEST) is None
    wait_until(lambda: calls(tmp_path))
    second = make_runner()
    for _ in range(5):
        assert second.ensure(REQUEST) is None
    assert [path.name for path in (tmp_path / "runs" / "mend-1").iterdir()] == ["attempt-1"]
    assert len(calls(tmp_path)) == 1
    first.close()
    assert outcome_of(second).kind == "promoted"
    assert calls(tmp_path)[1][:3] == ["pipeline", "resume", "r1"]


def test_a_run_that_ended_while_nobody_looked_is_read_from_its_folder(make_runner, tmp_path):
    first = make_runner("refuse")
    first.ensure(REQUEST)
    child = next(iter(first._children.values()))
    child.wait()
    assert make_runner().ensure(REQUEST).kind == "refused"
    assert len(calls(tmp_path)) == 1


def test_a_run_killed_before_it_said_its_name_is_started_again(make_runner, tmp_path):
    runner = make_runner("promote")
    (tmp_path / "runs" / "mend-1" / "attempt-1").mkdir(parents=True)
    assert outcome_of(runner).kind == "promoted"
    assert calls(tmp_path)[0][:2] == ["pipeline", "run"]


def test_a_run_that_could_not_say_its_name_is_found_by_its_token(make_runner, tmp_path):
    runner = make_runner("refuse")
    runner._find_run = {"mend-1": FoundRun("r9", None)}.get
    (tmp_path / "runs" / "mend-1" / "attempt-1").mkdir(parents=True)
    assert outcome_of(runner).kind == "refused"
    assert calls(tmp_path)[0][:3] == ["pipeline", "resume", "r9"]


def test_closing_ends_the_run(make_runner, tmp_path):
    runner = make_runner("hang")
    runner.ensure(REQUEST)
    wait_until(lambda: calls(tmp_path))
    child = next(iter(runner._children.values()))
    runner.close()
    assert child.returncode == -signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)
    assert isinstance(child, subprocess.Popen)


def wait_for_calls(folder, n):
    wait_until(lambda: len(calls(folder)) == n, 30)


def wait_for_attempt(runner, folder, number):
    """Look until an attempt has been started, and has ended."""

    def has_ended():
        assert runner.ensure(REQUEST) is None
        return (folder / "runs" / "mend-1" / f"attempt-{number}" / "exit_code").exists()

    wait_until(has_ended, 30)


def test_a_run_that_another_is_in_the_way_of_is_tried_again_later_however_often(make_runner, tmp_path):
    clock = ManualClock()
    runner = make_runner(*["busy"] * 11, "promote", clock=clock)
    for number in range(1, 12):
        wait_for_attempt(runner, tmp_path, number)
        for _ in range(5):
            assert runner.ensure(REQUEST) is None
        assert len(list((tmp_path / "runs" / "mend-1").iterdir())) == number
        clock.now_s += 60
    assert outcome_of(runner).kind == "promoted"
    assert {tuple(call[:2]) for call in calls(tmp_path)} == {("pipeline", "run")}


def test_attempts_that_break_off_between_busy_ones_are_counted_all_the_same(make_runner, tmp_path):
    clock = ManualClock()
    runner = make_runner("break", "busy", "break", "break", clock=clock)
    wait_for_attempt(runner, tmp_path, 2)
    clock.now_s += 60
    outcome = outcome_of(runner)
    assert (outcome.kind, len(calls(tmp_path))) == ("broke_off", 4)


def test_a_monitor_that_is_started_anew_does_not_wait_for_a_run_that_was_in_the_way_before(make_runner, tmp_path):
    wait_for_attempt(make_runner("busy", "promote"), tmp_path, 1)
    assert outcome_of(make_runner()).kind == "promoted"


def test_restarts_of_the_monitor_use_up_no_attempt(make_runner, tmp_path):
    make_runner(*["hang"] * 5, "break", "break", "promote")
    for number in range(1, 6):
        runner = make_runner()
        assert runner.ensure(REQUEST) is None
        wait_for_calls(tmp_path, number)
        runner.close()
    assert outcome_of(make_runner()).kind == "promoted"


def test_a_run_that_ended_together_with_the_monitor_uses_up_no_attempt(make_runner, tmp_path):
    make_runner(*["hang"] * 5, "promote")
    for number in range(1, 6):
        runner = make_runner()
        assert runner.ensure(REQUEST) is None
        wait_for_calls(tmp_path, number)
        (child,) = runner._children.values()
        child.send_signal(signal.SIGINT)  # as a terminal does it to all of its processes
        child.wait()
        runner.close()
    assert outcome_of(make_runner()).kind == "promoted"


@pytest.mark.parametrize("fault", ["break", "garble"])
def test_a_run_that_ended_although_its_output_was_lost_is_not_resumed(make_runner, tmp_path, fault):
    runner = make_runner(fault)
    ended = RunOutcome("promoted", "better by 0.1", "r1", 4, "/b/4")
    runner._find_run = {"mend-1": FoundRun("r1", ended)}.get
    assert outcome_of(runner) == ended
    assert len(calls(tmp_path)) == 1


def test_a_run_that_ended_in_the_last_attempt_whose_output_was_lost_is_not_given_up(make_runner, tmp_path):
    runner = make_runner(*["break"] * 3)
    ended = RunOutcome("refused", "worse", "r1", 4)
    runner._find_run = lambda _: FoundRun("r1", ended if len(calls(tmp_path)) == 3 else None)
    assert outcome_of(runner) == ended
