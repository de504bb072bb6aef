import pytest

from trainer.errors import RunError
from trainer.pipeline.artefacts import Artefact, save_value
from trainer.pipeline.runs import (
    HEAD_NAME,
    RECORD_NAME,
    RESULT_NAME,
    STEPS,
    RunEnd,
    RunHead,
    StepRecord,
    list_runs,
    load_run,
    run_folder,
)

FIRST, SECOND = "a" * 32, "b" * 32


def write_run(state, run_id, *, as_of=1000.0, steps=(), end=None):
    folder = run_folder(state, run_id)
    folder.mkdir(parents=True)
    head = RunHead(run_id, "quality", "manual", "by hand", as_of, 0, "code", "here")
    save_value(folder / HEAD_NAME, head)
    for name in steps:
        (folder / name).mkdir()
        save_value(folder / name / RECORD_NAME, record_of(name))
    if end is not None:
        save_value(folder / RESULT_NAME, end)
    return head


def record_of(name):
    pointers = (Artefact("table.npz", 3, "0" * 64),)
    return StepRecord(
        name, "code", "project", "here", 1.0, 3.0, 2.0, {"trees": 80}, {"rows": 400.0}, (("rows", "400"),), pointers
    )


def test_a_run_is_read_with_its_finished_steps_in_their_order_and_its_end(tmp_path):
    end = RunEnd(promoted=True, version=3, reason="good", ended_utc_s=2000.0)
    head = write_run(tmp_path, FIRST, steps=("train", "extract", "validate"), end=end)
    run = load_run(tmp_path, FIRST)
    assert run.head == head
    assert run.steps == tuple(record_of(name) for name in ("extract", "validate", "train"))
    assert run.end == end


def test_a_step_without_a_record_is_not_finished_and_a_run_without_a_result_has_no_end(tmp_path):
    write_run(tmp_path, FIRST, steps=("extract",))
    (run_folder(tmp_path, FIRST) / "validate").mkdir()
    run = load_run(tmp_path, FIRST)
    assert [step.name for step in run.steps] == ["extract"]
    assert run.end is None


def test_runs_are_listed_by_time_and_the_last_is_the_latest(tmp_path):
    write_run(tmp_path, FIRST, as_of=2000.0)
    write_run(tmp_path, SECOND, as_of=1000.0)
    assert [run.head.run_id for run in list_runs(tmp_path)] == [SECOND, FIRST]
    assert load_run(tmp_path, "last").head.run_id == FIRST


def test_what_is_no_run_in_the_folder_is_passed_over(tmp_path):
    write_run(tmp_path, FIRST)
    (tmp_path / "pipeline" / "notes").mkdir()
    (tmp_path / "pipeline" / "notes" / HEAD_NAME).write_text("{}")
    run_folder(tmp_path, SECOND).mkdir()
    assert [run.head.run_id for run in list_runs(tmp_path)] == [FIRST]
    with pytest.raises(RunError, match=SECOND):
        load_run(tmp_path, SECOND)


def test_without_runs_there_is_no_last_one_and_the_message_says_how_to_start_one(tmp_path):
    assert list_runs(tmp_path) == ()
    with pytest.raises(RunError, match="start one with: fieldloop pipeline run"):
        load_run(tmp_path, "last")


@pytest.mark.parametrize("name", ["", "first", "../" + "a" * 29, "A" * 32, "a" * 31, "a" * 33, "a" * 32 + "\n"])
def test_a_name_that_no_run_can_have_reaches_no_folder(name, tmp_path):
    with pytest.raises(RunError, match="is no run: list them with: fieldloop pipeline list"):
        load_run(tmp_path, name)


def test_a_run_that_is_not_there_is_named(tmp_path):
    write_run(tmp_path, FIRST)
    with pytest.raises(RunError, match=f"there is no run {SECOND}"):
        load_run(tmp_path, SECOND)


def test_a_head_of_another_shape_is_told_with_its_file(tmp_path):
    write_run(tmp_path, FIRST)
    (run_folder(tmp_path, FIRST) / HEAD_NAME).write_text("{}")
    with pytest.raises(RunError, match=r"run\.json: cannot be read"):
        load_run(tmp_path, FIRST)


def test_the_steps_are_those_of_the_design():
    assert STEPS == ("extract", "validate", "prepare", "train", "evaluate", "register", "export", "gate", "promote")
