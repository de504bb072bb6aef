import os
import signal
import subprocess
import sys

import pytest

from tests.waiting import wait_until
from trainer.continuous.runner import RunRequest, SubprocessRunner

REQUEST = RunRequest("mend-1", "deterioration", "30 labels: 0.5 wrong")

# Stands for the command line tool: does what a plan file says for this attempt, and writes down how it was called.
TOOL = """
import json, pathlib, signal, sys
here = pathlib.Path(__file__).parent
calls = here / "calls"
calls.open("a").write(json.dumps(sys.argv[1:]) + "\\n")
plan = json.loads((here / "plan").read_text())[len(calls.read_text().splitlines()) - 1]
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
                  "bundle": "/b/4" if promoted else None, "reason": plan}))
sys.exit(0 if promoted else 4)
"""


@pytest.fixture
def make_runner(tmp_path):
    runners = []

    def make(*plans):
        tool = tmp_path / "tool.py"
        if plans:
            import json

            tool.write_text(TOOL)
            (tmp_path / "plan").write_text(json.dumps(plans))
        runner = SubprocessRunner(tmp_path / "fieldloop.toml", tmp_path / "runs", [sys.executable, str(tool)])
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
    runner._find_run = {"mend-1": "r9"}.get
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
