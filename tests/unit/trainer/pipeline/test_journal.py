import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from msgspec.structs import replace

from tests.unit.trainer.pipeline.lessons import make_project
from tests.unit.trainer.simulated_fleet import ManualClock
from trainer.errors import DataError, RunError
from trainer.pipeline.artefacts import load_value, save_value, sha256_of
from trainer.pipeline.executor import Executor
from trainer.pipeline.graph import Graph
from trainer.pipeline.journal import Journal
from trainer.pipeline.keys import StepKey
from trainer.pipeline.outcome import Outcome, StepEvent
from trainer.pipeline.runs import RECORD_NAME, StepRecord, load_attempts
from trainer.pipeline.sources import Code
from trainer.pipeline.step import Step
from trainer.project.project import Project
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
    project: Project = field(default_factory=make_project)
    code: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=lambda: {"numpy": "2.4"})
    given: dict[str, str] = field(default_factory=dict)
    makes: dict[str, str] = field(default_factory=dict)
    executor: str = "local process"

    def put(self, step: str, value: str) -> None:
        """Nothing is handed on in memory: every step reads the files of those before it."""

    def step(self, name: str, after: tuple[str, ...]) -> Step["Attempts"]:
        def do(_: object, at: Path) -> Outcome[str]:
            self.done.append(name)
            self.leftovers[name] = sorted(path.name for path in at.iterdir() if path.name != "begun.json")
            self.clock.now_s += self.seconds
            (at / "trials").write_text("3 of 5")
            if name == self.fails_in:
                raise DataError(f"{name} fails")
            read = [load_value(self.folder / other / "value.json", str) for other in after]
            value = self.makes.get(name, f"{name} of {', '.join(read)}" if read else name)
            save_value(at / "value.json", value)
            return Outcome(value, {"family": "forest", "trees": 80}, {"rows": 400.0}, (("rows", "400"),))

        return Step(
            name,
            after,
            do,
            (name,),
            {"gate": ("gate",)}.get(name, ("seed",)),
            lambda _: {"champion": self.given.get(name, "")},
            by_products=("trials",),
            named={"answer": "value.json"},
        )

    def attempt(self, *names: str, after: dict[str, tuple[str, ...]] | None = None, only: str = "") -> list[str]:
        """Take the steps, each after the one before it, or one of them; return what each made."""
        self.done.clear()
        self.events.clear()
        chain = {name: names[max(place - 1, 0) : place] for place, name in enumerate(names)}
        graph = Graph(self.step(name, (after or chain)[name]) for name in names)
        journal = Journal(
            self.store.client,
            self.store.experiment,
            self.run_id,
            self.folder,
            clock=self.clock,
            progress=self.events.append,
            executor=self.executor,
        )
        executor = Executor(graph, self, self.project, journal, self.code_of)
        if only:
            executor.run_one(only)
        else:
            executor.run()
            assert [record.name for record in journal.records] == list(names)
        return [load_value(self.folder / record.name / "value.json", str) for record in journal.records]

    def code_of(self, modules: tuple[str, ...]) -> Code:
        return Code(self.code.get(modules[0], "as it was"), self.packages)

    def whys(self) -> dict[str, str]:
        """What the last attempt said of each step."""
        return {verdict.step: verdict.why for verdict in load_attempts(self.folder)[-1].verdicts}

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
    assert run.attempt("extract", "train") == first == ["extract", "train of extract"]
    assert run.done == []
    assert [(event.step, event.phase, event.seconds) for event in run.events] == [
        ("extract", "skipped", 2.0),
        ("train", "skipped", 2.0),
    ]
    assert run.events[0].facts == (("rows", "400"),)
    assert len(run.children()) == 2


def test_an_unfinished_step_is_carried_out_and_those_behind_it_are_kept_where_it_makes_the_same(run):
    run.attempt("extract", "train", "gate")
    (run.folder / "train" / RECORD_NAME).unlink()
    run.attempt("extract", "train", "gate")
    assert run.done == ["train"]
    (run.folder / "train" / RECORD_NAME).unlink()
    run.makes["train"] = "another model"
    run.attempt("extract", "train", "gate")
    assert run.done == ["train", "gate"]
    assert run.whys()["gate"] == "what train made changed"


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


def test_a_step_whose_code_changed_is_carried_out_again_from_an_empty_folder_and_stops_where_it_makes_the_same(run):
    run.attempt("extract", "train", "gate")
    run.code["train"] = "mended"
    run.attempt("extract", "train", "gate")
    assert run.done == ["train"]
    assert run.leftovers == {"extract": [], "train": [], "gate": []}
    assert load_value(run.folder / "train" / RECORD_NAME, StepRecord).version == "mended"
    assert run.whys() == {
        "extract": "nothing that it depends on has changed",
        "train": "its code changed",
        "gate": "nothing that it depends on has changed",
    }


def test_only_the_steps_that_rest_on_what_changed_are_carried_out_again(run):
    names = ("extract", "train", "validate", "gate")
    after = {"extract": (), "train": ("extract",), "validate": ("extract",), "gate": ("train",)}
    run.attempt(*names, after=after)
    run.code["train"], run.makes["train"] = "mended", "another model"
    run.attempt(*names, after=after)
    assert run.done == ["train", "gate"]
    run.packages = {"numpy": "2.5"}
    run.attempt(*names, after=after)
    assert run.done == list(names)
    assert run.whys()["validate"] == "numpy: 2.4, now 2.5"


def test_files_that_no_step_reads_may_differ_and_must_be_whole(run):
    run.attempt("extract", "train")
    outputs = load_value(run.folder / "extract" / RECORD_NAME, StepRecord).outputs
    (run.folder / "extract" / "trials").write_text("cut off")
    run.attempt("extract", "train")
    assert run.done == ["extract"]
    assert run.whys()["extract"] == "its files are not what it wrote"
    assert load_value(run.folder / "extract" / RECORD_NAME, StepRecord).outputs == outputs


def test_a_record_of_an_earlier_release_is_not_trusted(run):
    run.attempt("extract")
    record = load_value(run.folder / "extract" / RECORD_NAME, StepRecord)
    save_value(run.folder / "extract" / RECORD_NAME, replace(record, key=None))
    run.attempt("extract")
    assert run.done == ["extract"]
    assert "earlier release" in run.whys()["extract"]


def test_one_step_is_taken_alone_once_those_that_it_rests_on_are_finished_and_hold_still(run):
    names = ("extract", "train", "gate")
    with pytest.raises(RunError, match="'gate' rests on 'extract', which must be carried out first: it was not fin"):
        run.attempt(*names, only="gate")
    for name in names:
        run.attempt(*names, only=name)
        assert run.done == [name]
    run.attempt(*names, only="gate")
    assert run.done == []
    run.code["train"] = "mended"
    with pytest.raises(RunError, match="rests on 'train', which must be carried out first: its code changed"):
        run.attempt(*names, only="gate")
    run.attempt(*names, only="train")
    run.attempt(*names, only="gate")
    assert run.done == []
    with pytest.raises(RunError, match="there is no step 'bake'; there are extract, train, gate"):
        run.attempt(*names, only="bake")


def test_every_attempt_is_written_down_with_its_executor_and_how_far_it_came(run):
    run.fails_in = "train"
    with pytest.raises(DataError):
        run.attempt("extract", "train", "gate")
    run.fails_in, run.executor = "", "kfp"
    run.attempt("extract", "train", "gate")
    first, second = load_attempts(run.folder)
    assert [(verdict.step, verdict.ran) for verdict in first.verdicts] == [("extract", True), ("train", True)]
    assert [(verdict.step, verdict.ran) for verdict in second.verdicts] == [
        ("extract", False),
        ("train", True),
        ("gate", True),
    ]
    assert (first.executor, second.executor) == ("local process", "kfp")
    assert first.host
    executors = [child.data.tags["fieldloop.executor"] for child in run.children()]
    assert executors == ["local process", "local process", "kfp", "kfp"]
    assert load_value(run.folder / "gate" / RECORD_NAME, StepRecord).executor == "kfp"


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
    assert run.attempt("extract", "train") == ["extract", "train of extract"]
    assert run.done == ["extract"]


def test_what_an_unfinished_step_left_stays_for_the_same_code_and_goes_with_another(run):
    run.fails_in = "train"
    for _ in range(2):
        with pytest.raises(DataError):
            run.attempt("extract", "train")
    assert run.leftovers["train"] == ["trials"]
    run.code["train"] = "mended"
    with pytest.raises(DataError):
        run.attempt("extract", "train")
    assert run.leftovers["train"] == []


def test_a_part_of_the_project_carries_out_the_steps_again_that_read_it(run):
    run.attempt("extract", "train", "gate")
    run.project = make_project(alerts={"webhook": "https://somewhere"}, gate={"max_parity_loss": 0.5})
    run.attempt("extract", "train", "gate")
    assert run.done == ["gate"]
    assert run.whys()["gate"] == "project: gate changed"
    run.project = make_project(seed=2)
    run.attempt("extract", "train", "gate")
    assert run.done == ["extract", "train", "gate"]


def test_what_one_step_is_given_besides_carries_out_that_step_again(run):
    run.given = {"evaluate": "1"}
    run.attempt("train", "evaluate", "gate")
    run.attempt("train", "evaluate", "gate")
    assert run.done == []
    run.given = {"evaluate": "2"}
    run.attempt("train", "evaluate", "gate")
    assert run.done == ["evaluate"]
    assert run.whys()["evaluate"] == "champion changed"


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
    run.packages = {"numpy": "2.4", "python": "3.11"}
    run.attempt("train")
    (child,) = run.children()
    assert child.info.status == "FINISHED"
    assert 0 < child.info.start_time <= child.info.end_time
    assert child.data.params == {"family": "forest", "trees": "80"}
    assert child.data.metrics == {"rows": 400.0, "seconds": 2.0}
    tags = child.data.tags
    assert (tags["mlflow.parentRunId"], tags["mlflow.runName"]) == (run.run_id, "train")
    assert (tags["fieldloop.step"], tags["fieldloop.executor"]) == ("train", "local process")
    assert (tags["fieldloop.step_version"], tags["fieldloop.packages"]) == ("as it was", "numpy==2.4 python==3.11")
    assert (tags["fieldloop.python"], tags["fieldloop.why"]) == ("3.11", "it was not finished yet")
    assert tags["fieldloop.host"]
    path = download_artifacts(
        run_id=child.info.run_id, artifact_path="artefacts.json", tracking_uri=run.store.uri, dst_path=str(run.folder)
    )
    pointers = json.loads(Path(path).read_text())["artefacts"]
    assert [Path(pointer["path"]).relative_to(run.folder).as_posix() for pointer in pointers] == [
        "train/trials",
        "train/value.json",
    ]
    assert [pointer["name"] for pointer in pointers] == ["trials", "answer"]
    record = load_value(run.folder / "train" / RECORD_NAME, StepRecord)
    assert [pointer["sha256"] for pointer in pointers] == [artefact.sha256 for artefact in record.artefacts]
    assert (record.started_utc_s, record.ended_utc_s, record.seconds) == (1_700_000_000.0, 1_700_000_002.0, 2.0)
    assert (record.params, record.metrics) == ({"family": "forest", "trees": 80}, {"rows": 400.0})


def test_the_metrics_of_all_steps_and_what_people_look_for_stand_at_the_run_itself(run):
    run.attempt("train")
    data = run.store.client.get_run(run.run_id).data
    assert data.metrics == {"rows": 400.0}
    file = run.folder / "train" / "value.json"
    assert data.tags["fieldloop.artefact.answer"] == f"{file} sha256:{sha256_of(file)}"


def test_names_and_values_that_mlflow_would_refuse_are_made_to_fit(run):
    journal = Journal(
        run.store.client,
        run.store.experiment,
        run.run_id,
        run.folder,
        clock=run.clock,
        progress=run.events.append,
    )
    outcome = Outcome(None, {"layers": "9" * 6000}, {"onnx-int8 größe (bytes)": 1.0})
    key = StepKey("code", {}, {}, {}, {})
    journal.carry_out(run.step("export", ()), key, "a test", lambda _: outcome)
    (child,) = run.children()
    assert child.data.params == {"layers": "9" * 500}
    assert child.data.metrics["onnx-int8 größe _bytes_"] == 1.0


def test_a_record_that_mlflow_does_not_take_leaves_the_step_unfinished(store, tmp_path):
    unknown = Attempts(store, tmp_path / "run", "f" * 32)
    with pytest.raises(RunError, match=r"MLflow did not take the record.*fieldloop pipeline resume last"):
        unknown.attempt("train")
    assert unknown.done == ["train"]
    assert not (unknown.folder / "train" / RECORD_NAME).exists()


def test_what_an_unfinished_step_left_goes_when_a_step_before_it_makes_something_else(run):
    run.fails_in = "train"
    with pytest.raises(DataError):
        run.attempt("extract", "train")
    (run.folder / "extract" / "value.json").write_text('"forged"')
    with pytest.raises(DataError):
        run.attempt("extract", "train")
    assert run.done == ["extract", "train"]
    assert run.leftovers["train"] == ["trials"]
    run.code["extract"], run.makes["extract"] = "mended", "other rows"
    with pytest.raises(DataError):
        run.attempt("extract", "train")
    assert run.leftovers["train"] == []
