import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.trainer.cli.projects import write_small_project
from tests.waiting import wait_until
from trainer.cli.application import app
from trainer.continuous.runner import RunOutcome, RunRequest, SubprocessRunner
from trainer.errors import GateRefusedError, RunError
from trainer.pipeline.runs import STEPS


def pipeline(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["pipeline", *map(str, arguments)])


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A project with one promoted run, and what the command said."""
    project = write_small_project(tmp_path_factory.mktemp("promoted"))
    command = [sys.executable, "-m", "trainer.cli", "pipeline", "run", "--project", str(project), "--json"]
    why = ["--trigger", "schedule", "--reason", "Monday"]
    return project, subprocess.run([*command, *why], capture_output=True, text=True, check=False)


def test_json_is_the_runs_id_first_and_all_facts_last(
    promoted: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, done = promoted
    assert done.returncode == 0, done.stderr
    first, last = (json.loads(line) for line in done.stdout.splitlines())
    assert first == {"run_id": last["run_id"]}
    assert last["promoted"] is True
    assert last["version"] == 1
    assert last["decision"]["passed"] is True
    assert last["decision"]["reason"] == last["reason"]
    assert {check["name"] for check in last["decision"]["checks"]} >= {"baseline", "previous", "variants"}
    assert Path(last["bundle"]).is_absolute()
    assert (Path(last["bundle"]) / "manifest.json").is_file()
    assert [step["name"] for step in last["steps"]][:2] == ["extract", "validate"]


def test_a_run_is_listed_and_shown_with_its_trigger_steps_and_end(
    promoted: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    project, done = promoted
    run_id = json.loads(done.stdout.splitlines()[0])["run_id"]
    listed = pipeline("list", "--project", project)
    assert run_id in listed.output
    assert "promoted 1" in listed.output
    shown = pipeline("show", "--project", project)
    for text in (run_id, "schedule: Monday", "no champion yet", "train", "promote", "quality/1 promoted"):
        assert text in shown.output
    told = json.loads(pipeline("show", run_id, "--project", project, "--json").output)
    assert told["head"]["trigger"] == "schedule"
    assert told["end"]["promoted"] is True
    assert json.loads(pipeline("list", "--project", project, "--json").output)[0][0]["run_id"] == run_id


def test_a_run_that_is_not_there_is_named(promoted: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    result = pipeline("show", "0" * 32, "--project", promoted[0])
    assert result.exit_code == RunError.exit_code
    assert "0" * 32 in result.stderr


def test_resuming_a_run_keeps_its_finished_steps(
    promoted: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    project, done = promoted
    run_id = json.loads(done.stdout.splitlines()[0])["run_id"]
    folder = project / ".fieldloop" / "pipeline" / run_id
    shutil.rmtree(folder / "promote")
    (folder / "result.json").unlink()
    assert "unfinished" in pipeline("list", "--project", project).output
    assert "unfinished" in pipeline("show", "--project", project).output
    resumed = pipeline("resume", "last", "--project", project)
    assert resumed.exit_code == 0, resumed.output
    told = json.loads(pipeline("show", run_id, "--project", project, "--json").output)
    last = {verdict["step"]: (verdict["ran"], verdict["why"]) for verdict in told["attempts"][-1]["verdicts"]}
    assert last["train"] == (False, "nothing that it depends on has changed")
    assert last["promote"] == (True, "it was not finished yet")
    lines = resumed.output.splitlines()
    assert "kept" in next(line for line in lines if "train " in line)
    assert "kept" not in next(line for line in lines if "promote " in line)
    assert "onnx-fp32" in resumed.output
    assert "quality/1 is the champion" in resumed.output


def test_the_show_of_a_run_says_why_each_step_ran(
    promoted: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    shown = pipeline("show", "--project", promoted[0]).output
    assert shown.count("because") == len(STEPS)
    assert "it was not finished yet" in shown


def test_a_step_is_run_alone_and_the_last_one_tells_the_refusal_by_its_exit_code(tmp_path: Path) -> None:
    project = write_small_project(tmp_path, min_gain=2.0)
    early = pipeline("step", "train", "--project", project)
    assert early.exit_code == RunError.exit_code
    assert "a new one begins with 'extract'" in early.stderr
    begun = pipeline("step", "extract", "--project", project, "--executor", "kfp", "--json")
    assert begun.exit_code == 0, begun.output
    facts = json.loads(begun.stdout)
    run_id = facts["run_id"]
    assert (facts["ran"], facts["end"], facts["record"]["executor"]) == (True, None, "kfp")
    again = json.loads(pipeline("step", "extract", "--run", run_id, "--project", project, "--json").stdout)
    assert again["ran"] is False
    for name in STEPS[1:-1]:
        assert pipeline("step", name, "--run", run_id, "--project", project).exit_code == 0
    last = pipeline("step", "promote", "--run", run_id, "--project", project)
    assert last.exit_code == GateRefusedError.exit_code
    assert "version 1 is not promoted: baseline" in last.stderr
    # The same rows, another gate: the two runs part there.
    edited = (project / "fieldloop.toml").read_text().replace("min_gain_over_baseline = 2.0", "")
    (project / "fieldloop.toml").write_text(edited)
    assert pipeline("run", "--project", project).exit_code == 0
    compared = pipeline("compare", run_id, "last", "--project", project)
    assert compared.exit_code == 0, compared.output
    lines = compared.output.splitlines()
    assert next(line for line in lines if " train " in line).startswith("=")
    gate = lines.index(next(line for line in lines if " gate " in line))
    assert lines[gate].startswith("≠")
    assert "project: gate changed" in "".join(lines[gate:])
    told = json.loads(pipeline("compare", run_id, "last", "--project", project, "--json").output)
    steps = {step["step"]: step for step in told["steps"]}
    assert (steps["extract"]["left"], steps["train"]["left"]) == ("kept", "ran")
    assert steps["train"]["makes_the_same"] is True
    assert {pair["name"] for pair in told["metrics"]} >= {"gate_passed", "test_accuracy"}
    unknown = pipeline("compare", "0" * 32, "last", "--project", project)
    assert unknown.exit_code == RunError.exit_code


def test_a_list_without_runs_says_how_to_start_one(tmp_path: Path) -> None:
    result = pipeline("list", "--project", write_small_project(tmp_path))
    assert result.exit_code == 0
    assert "fieldloop pipeline run" in result.output


def test_a_refusal_of_the_gate_has_its_exit_code_and_its_reason(tmp_path: Path) -> None:
    project = write_small_project(tmp_path, min_gain=2.0)
    result = pipeline("run", "--project", project, "--json")
    assert result.exit_code == GateRefusedError.exit_code
    facts = json.loads(result.stdout.splitlines()[-1])
    assert facts["promoted"] is False
    assert "baseline" in facts["decision"]["reason"]
    assert "the gate refused quality/1: baseline" in result.stderr
    assert "broke off" not in result.stderr


def test_a_candidate_that_waits_for_approval_is_no_refusal(tmp_path: Path) -> None:
    project = write_small_project(tmp_path)
    file = project / "fieldloop.toml"
    file.write_text(file.read_text() + '\n[registry]\napproval = ["champion"]\n')
    done = pipeline("run", "--project", project)
    assert done.exit_code == 0, done.output
    assert "quality/1 waits for approval" in done.output
    assert "fieldloop registry promote 1 --to champion --by NAME" in done.output
    assert "waits 1" in pipeline("list", "--project", project).output
    assert "quality/1 waits: it passed" in pipeline("show", "--project", project).output


def test_a_run_that_breaks_off_says_how_to_go_on(tmp_path: Path) -> None:
    project = write_small_project(tmp_path)
    (project / "rows.csv").write_text("pressure,vibration,quality\n1,x,good\n")
    result = pipeline("run", "--project", project)
    assert result.exit_code == 3
    assert "row 0, column 'vibration': 'x'" in result.stderr
    assert "fieldloop pipeline resume" in result.stderr


def test_the_loops_runner_reads_what_the_command_prints(tmp_path: Path) -> None:
    project = write_small_project(tmp_path, min_gain=2.0)
    runner = SubprocessRunner(project, tmp_path / "runs")
    request = RunRequest("token", "deterioration", "the test says so")
    outcome: RunOutcome | None = None

    def has_ended() -> bool:
        nonlocal outcome
        outcome = runner.ensure(request)
        return outcome is not None

    try:
        wait_until(has_ended, timeout_s=120)
    finally:
        runner.close()
    assert outcome is not None
    assert outcome.kind == "refused"
    assert outcome.version == 1
    assert len(outcome.run_id) == 32
    assert "baseline" in outcome.reason
