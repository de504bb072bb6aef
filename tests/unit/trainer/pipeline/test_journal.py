import json
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from tests.unit.trainer.simulated_fleet import ManualClock
from trainer.errors import DataError, RunError
from trainer.pipeline.artefacts import load_value, save_value
from trainer.pipeline.journal import Journal, code_version
from trainer.pipeline.outcome import Outcome, StepEvent
from trainer.pipeline.runs import RECORD_NAME, StepRecord
from trainer.registry.tracking import ensure_experiment, open_client, tracking_uri


@dataclass
class Store:
    """One MLflow store for the whole module; every test has its own run in it."""

    client: MlflowClient
    experiment: str
    uri: str


@pytest.fixture(scope="module")
def store(new_store, tmp_path_factory):
    state = new_store(tmp_path_factory.mktemp("store"))
    client = open_client(state)
    return Store(client, ensure_experiment(client, "quality", state), tracking_uri(state))


@dataclass
class Attempts:
    """A run of three steps, in as many attempts as a test wants; remembers what was really carried out."""

    store: Store
    folder: Path
    run_id: str
    clock: ManualClock = field(default_factory=ManualClock)
    done: list[str] = field(default_factory=list)
    events: list[StepEvent] = field(default_factory=list)
    leftovers: dict[str, list[str]] = field(default_factory=dict)
    fails_in: str = ""
    seconds: float = 2.0
    inputs: str = "project"
    given: dict[str, str] = field(default_factory=dict)

    def module(self, name: str, text: str | None = None) -> ModuleType:
        """The code of a step: a file that a test can change."""
        path = self.folder.parent / f"{name}.py"
        if text is not None or not path.exists():
            path.write_text(text or f"# {name}\n")
        module = ModuleType(name)
        module.__file__ = str(path)
        return module

    def attempt(self, *names: str) -> list[str]:
        """Carry out the steps; return what each handed on."""
        self.done.clear()
        self.events.clear()
        journal = Journal(
            self.store.client,
            self.store.experiment,
            self.run_id,
            self.folder,
            inputs=self.inputs,
            clock=self.clock,
            progress=self.events.append,
        )
        values = []
        for name in names:

            def do(at: Path, name: str = name) -> Outcome[str]:
                self.done.append(name)
                self.leftovers[name] = sorted(path.name for path in at.iterdir() if path.name != "begun.json")
                self.clock.now_s += self.seconds
                (at / "trials").write_text("3 of 5")
                if name == self.fails_in:
                    raise DataError(f"{name} fails")
                save_value(at / "value.json", f"{name} done")
                return Outcome(f"{name} done", {"family": "forest", "trees": 80}, {"rows": 400.0}, (("rows", "400"),))

            values.append(
                journal.step(
                    name,
                    self.module(name),
                    do,
                    lambda at: load_value(at / "value.json", str),
                    given=self.given.get(name, ""),
                )
            )
        assert [record.name for record in journal.records] == list(names)
        return values

    def children(self):
        """The run's steps in MLflow, the first one first."""
        found = self.store.client.search_runs(
            [self.store.experiment], f"tags.`mlflow.parentRunId` = '{self.run_id}'", order_by=["start_time ASC"]
        )
        return list(found)


@pytest.fixture
def run(store, tmp_path):
    run_id = store.client.create_run(store.experiment).info.run_id
    return Attempts(store, tmp_path / "run", run_id)


def test_finished_steps_are_kept_and_hand_on_what_they_made(run):
    first = run.attempt("extract", "train")
    assert run.done == ["extract", "train"]
    assert [event.phase for event in run.events] == ["started", "finished"] * 2
    assert run.attempt("extract", "train") == first == ["extract done", "train done"]
    assert run.done == []
    assert [(event.step, event.phase, event.seconds) for event in run.events] == [
        ("extract", "skipped", 2.0),
        ("train", "skipped", 2.0),
    ]
    assert run.events[0].facts == (("rows", "400"),)
    assert len(run.children()) == 2


def test_from_the_first_unfinished_step_on_all_are_carried_out(run):
    run.attempt("extract", "train", "gate")
    (run.folder / "train" / RECORD_NAME).unlink()
    run.attempt("extract", "train", "gate")
    assert run.done == ["train", "gate"]


def test_a_step_that_fails_is_not_finished_and_its_steps_before_are_kept(run):
    run.fails_in = "train"
    with pytest.raises(DataError, match="train fails"):
        run.attempt("extract", "train", "gate")
    assert not (run.folder / "train" / RECORD_NAME).exists()
    assert [child.info.status for child in run.children()] == ["FINISHED", "FAILED"]
    run.fails_in = ""
    run.attempt("extract", "train", "gate")
    assert run.done == ["train", "gate"]
    assert [child.info.status for child in run.children()] == ["FINISHED", "FAILED", "FINISHED", "FINISHED"]


def test_a_step_whose_code_changed_is_carried_out_again_with_all_after_it_from_an_empty_folder(run):
    run.attempt("extract", "train", "gate")
    before = load_value(run.folder / "train" / RECORD_NAME, StepRecord).version
    run.module("train", "# mended\n")
    run.attempt("extract", "train", "gate")
    assert run.done == ["train", "gate"]
    assert run.leftovers == {"extract": [], "train": [], "gate": []}
    assert load_value(run.folder / "train" / RECORD_NAME, StepRecord).version != before


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "value.json").write_text('"forged"'),
        lambda folder: (folder / "value.json").unlink(),
        lambda folder: (folder / RECORD_NAME).write_text("{"),
        lambda folder: (folder / RECORD_NAME).write_text("{}"),
    ],
    ids=["a changed file", "a lost file", "half a record", "an empty record"],
)
def test_a_step_whose_files_are_not_whole_is_carried_out_again(damage, run):
    run.attempt("extract", "train")
    damage(run.folder / "extract")
    assert run.attempt("extract", "train") == ["extract done", "train done"]
    assert run.done == ["extract", "train"]


def test_what_an_unfinished_step_left_stays_for_the_same_code_and_goes_with_another(run):
    run.fails_in = "train"
    for _ in range(2):
        with pytest.raises(DataError):
            run.attempt("extract", "train")
    assert run.leftovers["train"] == ["trials"]
    run.module("train", "# mended\n")
    with pytest.raises(DataError):
        run.attempt("extract", "train")
    assert run.leftovers["train"] == []


def test_another_project_carries_out_every_step_again(run):
    run.attempt("extract", "train")
    run.inputs = "another project"
    run.attempt("extract", "train")
    assert run.done == ["extract", "train"]
    assert run.leftovers == {"extract": [], "train": []}
    assert load_value(run.folder / "train" / RECORD_NAME, StepRecord).inputs == "another project"


def test_what_one_step_is_given_besides_carries_out_that_step_again_and_those_after_it(run):
    run.given = {"evaluate": "champion 1"}
    run.attempt("train", "evaluate", "gate")
    run.attempt("train", "evaluate", "gate")
    assert run.done == []
    run.given = {"evaluate": "champion 2"}
    run.attempt("train", "evaluate", "gate")
    assert run.done == ["evaluate", "gate"]


def test_an_attempt_that_was_killed_does_not_stand_as_running_for_ever(run):
    run.fails_in = "train"
    with pytest.raises(DataError):
        run.attempt("train")
    (killed,) = run.children()
    run.store.client.update_run(killed.info.run_id, "RUNNING")
    run.fails_in = ""
    run.attempt("train")
    assert [child.info.status for child in run.children()] == ["KILLED", "FINISHED"]


def test_a_child_run_has_start_end_parameters_metrics_and_pointers_to_its_files(run):
    run.clock.now_s = 1_700_000_000.0
    run.attempt("train")
    (child,) = run.children()
    assert child.info.status == "FINISHED"
    assert 0 < child.info.start_time <= child.info.end_time
    assert child.data.params == {"family": "forest", "trees": "80"}
    assert child.data.metrics == {"rows": 400.0, "seconds": 2.0}
    tags = child.data.tags
    assert (tags["mlflow.parentRunId"], tags["mlflow.runName"]) == (run.run_id, "train")
    assert (tags["fieldloop.step"], tags["fieldloop.executor"]) == ("train", "local process")
    assert tags["fieldloop.step_version"] == code_version(run.module("train"))
    assert tags["fieldloop.python"]
    assert tags["fieldloop.host"]
    path = download_artifacts(
        run_id=child.info.run_id, artifact_path="artefacts.json", tracking_uri=run.store.uri, dst_path=str(run.folder)
    )
    pointers = json.loads(Path(path).read_text())["artefacts"]
    assert [Path(pointer["path"]).relative_to(run.folder).as_posix() for pointer in pointers] == [
        "train/trials",
        "train/value.json",
    ]
    record = load_value(run.folder / "train" / RECORD_NAME, StepRecord)
    assert [pointer["sha256"] for pointer in pointers] == [artefact.sha256 for artefact in record.artefacts]
    assert (record.started_utc_s, record.ended_utc_s, record.seconds) == (1_700_000_000.0, 1_700_000_002.0, 2.0)
    assert (record.params, record.metrics) == ({"family": "forest", "trees": 80}, {"rows": 400.0})


def test_the_metrics_of_all_steps_stand_at_the_run_itself(run):
    run.attempt("train")
    assert run.store.client.get_run(run.run_id).data.metrics == {"rows": 400.0}


def test_names_and_values_that_mlflow_would_refuse_are_made_to_fit(run):
    journal = Journal(
        run.store.client,
        run.store.experiment,
        run.run_id,
        run.folder,
        inputs="",
        clock=run.clock,
        progress=run.events.append,
    )
    outcome = Outcome(None, {"layers": "9" * 6000}, {"onnx-int8 größe (bytes)": 1.0})
    journal.step("export", run.module("export"), lambda _: outcome, lambda _: None)
    (child,) = run.children()
    assert child.data.params == {"layers": "9" * 500}
    assert child.data.metrics["onnx-int8 größe _bytes_"] == 1.0


def test_a_record_that_mlflow_does_not_take_leaves_the_step_unfinished(store, tmp_path):
    unknown = Attempts(store, tmp_path / "run", "f" * 32)
    with pytest.raises(RunError, match=r"MLflow did not take the record.*fieldloop pipeline resume last"):
        unknown.attempt("train")
    assert unknown.done == ["train"]
    assert not (unknown.folder / "train" / RECORD_NAME).exists()


def test_a_version_of_code_follows_its_text_alone(run, tmp_path):
    first = code_version(run.module("train"))
    assert code_version(run.module("train")) == first
    copy = ModuleType("copy")
    copy.__file__ = str(tmp_path / "copy.py")
    (tmp_path / "copy.py").write_bytes((tmp_path / "train.py").read_bytes())
    assert code_version(copy) == first
    assert code_version(run.module("train", "# mended\n")) != first
    assert code_version(run.module("train"), copy) != code_version(copy)


def test_what_an_unfinished_step_left_goes_when_a_step_before_it_is_carried_out_again(run):
    run.fails_in = "train"
    with pytest.raises(DataError):
        run.attempt("extract", "train")
    (run.folder / "extract" / "value.json").write_text('"forged"')
    with pytest.raises(DataError):
        run.attempt("extract", "train")
    assert run.done == ["extract", "train"]
    assert run.leftovers["train"] == []
