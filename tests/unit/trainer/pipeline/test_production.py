"""Whole runs on a few hundred rows: what they record, how they end, and how they go on after a break."""

import base64
import json
import multiprocessing
import os
import pickle
import re
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.models import Model

from edge_agent.bundle import parse_manifest
from exporter.errors import ExporterError
from tests.unit.trainer.cli.projects import write_small_project
from tests.unit.trainer.conftest import NewStore
from tests.unit.trainer.simulated_fleet import ManualClock
from tests.waiting import wait_until
from trainer.errors import BusyError, ProjectError, RunError
from trainer.features.store import LabelledRow, push_labelled
from trainer.pipeline.card import card_of
from trainer.pipeline.judging import load_decision
from trainer.pipeline.outcome import StepEvent
from trainer.pipeline.production import RunResult, run_production
from trainer.pipeline.runs import RECORD_NAME, RESULT_NAME, STEPS, list_runs, load_run, run_folder
from trainer.project.loading import load_project
from trainer.project.project import LoadedProject
from trainer.registry.registry import CHAMPION, Registry, open_registry
from trainer.registry.tracking import open_client, tracking_uri

REGRESSION = """\
name = "yield"

[data]
path = ["rows.csv"]

[target]
column = "yield"
task = "regression"
metric = "mae"

[training]
candidates = ["ridge"]
trials = 1
blocks = 2

[export]
variants = ["onnx-fp32"]

[[features]]
name = "pressure"

[[features]]
name = "site"
dtype = "category"
categories = ["north", "south"]
"""

New = Callable[[], Path]


@pytest.fixture(scope="module")
def new_project(new_store: NewStore, tmp_path_factory: pytest.TempPathFactory) -> New:
    """Make a folder with a small project."""

    def make() -> Path:
        folder = write_small_project(tmp_path_factory.mktemp("project"))
        new_store(folder / ".fieldloop")
        return folder

    return make


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "fieldloop.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(folder: Path, resume: str | None = None, events: list[StepEvent] | None = None) -> RunResult:
    told: list[StepEvent] = [] if events is None else events
    return run_production(load_project(folder), trigger="manual", reason="a test", resume=resume, progress=told.append)


def phases(events: list[StepEvent], phase: str) -> list[str]:
    return [event.step for event in events if event.phase == phase]


def model_of(result: RunResult) -> str:
    train = next(step for step in result.steps if step.name == "train")
    return next(artefact.sha256 for artefact in train.artefacts if artefact.path == "model.skops")


def versions_of(folder: Path) -> list[int]:
    return [model.version for model in Registry(folder / ".fieldloop").versions("quality")]


@dataclass
class History:
    """Three runs of one project: the first champion, its successor, and one that the gate refused."""

    loaded: LoadedProject
    first: RunResult
    second: RunResult
    refused: RunResult
    events: list[StepEvent]
    second_at_once: BusyError | None

    def tracked(self, result: RunResult) -> tuple[Run, list[Run]]:
        """A run and its steps, the first one first, as MLflow has them."""
        client = open_client(self.loaded.state)
        parent = client.get_run(result.run_id)
        query = f"tags.`mlflow.parentRunId` = '{result.run_id}'"
        return parent, list(client.search_runs([parent.info.experiment_id], query, order_by=["start_time ASC"]))


@pytest.fixture(scope="module")
def history(new_project: New) -> History:
    folder = new_project()
    loaded = load_project(folder)
    events: list[StepEvent] = []
    errors: list[BusyError] = []

    def start_another(_: str) -> None:
        try:
            run(folder)
        except BusyError as error:
            errors.append(error)

    first = run_production(loaded, trigger="schedule", reason="Monday", progress=events.append, on_begin=start_another)
    second = run(folder)
    edit(folder, "min_gain_over_baseline = 0.0", "min_gain_over_baseline = 2.0")
    return History(loaded, first, second, run(folder), events, errors[0] if errors else None)


def test_a_run_goes_through_every_step_and_its_candidate_is_champion(history: History) -> None:
    first = history.first
    assert phases(history.events, "started") == phases(history.events, "finished") == list(STEPS)
    assert first.promoted
    assert first.version == 1
    assert first.bundle is not None
    manifest = json.loads((first.bundle / "manifest.json").read_bytes())
    assert [feature["name"] for feature in manifest["features"]] == ["pressure", "vibration"]
    assert manifest["lineage"]["run_id"] == first.run_id
    evidence = first.decision.evidence
    assert evidence.judged_rows == 80
    assert evidence.quality > evidence.constant_quality + 0.2
    assert first.reason.startswith("baseline: accuracy")


def test_a_second_run_at_once_is_refused_and_leaves_no_trace(history: History) -> None:
    assert history.second_at_once is not None
    assert "another production run of this project goes on" in str(history.second_at_once)
    assert len(list((history.loaded.state / "pipeline").iterdir())) == 3 + 1, "three runs and the lock"
    client = open_client(history.loaded.state)
    experiment = client.get_experiment_by_name("quality")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], "tags.`fieldloop.pipeline` = 'production'")
    assert len(found) == 3


def test_the_store_holds_the_run_with_its_trigger_versions_and_end(history: History) -> None:
    parent, _ = history.tracked(history.first)
    assert parent.info.status == "FINISHED"
    assert 0 < parent.info.start_time <= parent.info.end_time
    tags = parent.data.tags
    assert (tags["fieldloop.trigger"], tags["fieldloop.reason"]) == ("schedule", "Monday")
    assert (tags["fieldloop.promoted"], tags["fieldloop.version"]) == ("true", "1")
    assert tags["fieldloop.pipeline_version"] == load_run(history.loaded.state, history.first.run_id).head.code_version
    assert json.loads(tags["fieldloop.project"])["name"] == "quality"
    packages = dict(each.split("==") for each in tags["fieldloop.packages"].split())
    assert {"scikit-learn", "onnx", "optuna", "mlflow-skinny"} <= set(packages)
    assert packages["numpy"] == np.__version__
    metrics = parent.data.metrics
    assert metrics["test_accuracy"] == history.first.decision.evidence.quality
    assert {"train_accuracy", "search_accuracy", "rows", "judged_rows", "gate_passed"} <= set(metrics)


def test_the_store_holds_every_step_with_times_parameters_metrics_and_pointers(history: History) -> None:
    _, children = history.tracked(history.first)
    assert [child.data.tags["fieldloop.step"] for child in children] == list(STEPS)
    for child, record in zip(children, history.first.steps, strict=True):
        assert child.info.status == "FINISHED"
        assert 0 < child.info.start_time <= child.info.end_time
        assert child.data.tags["fieldloop.step_version"] == record.version
        assert child.data.params == {name: str(value) for name, value in record.params.items()}
        assert child.data.metrics == pytest.approx({**record.metrics, "seconds": record.seconds})
    train = children[STEPS.index("train")]
    assert train.data.params["family"] == "forest"
    assert train.data.params["trees"] == "80"
    listing = download_artifacts(
        run_id=train.info.run_id, artifact_path="artefacts.json", tracking_uri=tracking_uri(history.loaded.state)
    )
    pointers = {Path(p["path"]): p["sha256"] for p in json.loads(Path(listing).read_bytes())["artefacts"]}
    model = run_folder(history.loaded.state, history.first.run_id) / "train" / "model.skops"
    assert pointers[model] == model_of(history.first)
    assert all(path.is_file() for path in pointers)


def test_the_proof_is_stored_with_the_model_version(history: History) -> None:
    model = Registry(history.loaded.state).resolve(f"{history.loaded.project.name}/{history.first.version}")
    for name in ("report.json", "report.md", "report.html"):
        stored = download_artifacts(
            run_id=model.run_id, artifact_path=f"export/{name}", tracking_uri=tracking_uri(history.loaded.state)
        )
        assert Path(stored).read_bytes() == model.file(f"export/{name}").read_bytes()


def test_the_next_run_is_compared_with_the_champion_on_rows_that_neither_saw(history: History) -> None:
    evidence = history.second.decision.evidence
    assert history.first.decision.evidence.compared_rows == 0
    assert evidence.compared_rows == evidence.judged_rows == 80
    assert evidence.champion_quality == history.first.decision.evidence.quality
    assert load_run(history.loaded.state, history.second.run_id).head.champion == 1


def test_the_store_names_the_previous_model(history: History) -> None:
    previous = [
        history.tracked(result)[0].data.tags["fieldloop.previous_model"]
        for result in (history.first, history.second, history.refused)
    ]
    assert previous == ["", "quality/1", "quality/2"]


def test_the_same_rows_and_seed_give_the_same_model(history: History) -> None:
    assert model_of(history.first) == model_of(history.second)


def test_a_gates_refusal_is_a_result_and_the_champion_stays(history: History) -> None:
    refused = history.refused
    assert not refused.promoted
    assert refused.version == 3
    assert refused.reason.startswith("baseline: ")
    assert "must be more than +2.0000" in refused.reason
    assert phases(history.events, "finished") == list(STEPS)
    registry = Registry(history.loaded.state)
    assert registry.load("quality").version == 2
    assert registry.load("quality", version=3).aliases == ()
    assert registry.load("quality", version=3).tags["gate"] == f"refused: {refused.reason}"
    parent, children = history.tracked(refused)
    assert (parent.info.status, parent.data.tags["fieldloop.promoted"]) == ("FINISHED", "false")
    assert len(children) == len(STEPS)
    end = load_run(history.loaded.state, refused.run_id).end
    assert end is not None
    assert (end.promoted, end.version, end.reason) == (False, 3, refused.reason)


def test_a_version_carries_its_lineage(history: History) -> None:
    model = Registry(history.loaded.state).load("quality", version=2)
    assert model.run_id == history.second.run_id
    assert model.files.local == run_folder(history.loaded.state, history.second.run_id)
    assert model.model_file.is_file()
    assert model.bundle == history.second.bundle
    tags = model.tags
    assert (tags["trigger"], tags["reason"], tags["previous"], tags["gate"]) == ("manual", "a test", "1", "passed")
    assert tags["quality"] == f"{history.second.decision.evidence.quality:.6f}"
    assert tags["data_sha256"] == history.second.steps[0].params["data_sha256"]


def what_is_pickled(path: Path) -> list[str]:
    """Name the file, and what lies in it, that a pickle was written into; all protocols since 2 end and begin so."""
    parts = {path.name: path.read_bytes()}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            parts |= {f"{path.name}/{name}": archive.read(name) for name in archive.namelist()}
    # An array of objects is a pickle behind the header of numpy.
    return [name for name, data in parts.items() if b"'descr': '|O'" in data[:256] or data[:1] + data[-1:] == b"\x80."]


def test_nothing_that_the_store_keeps_of_a_run_is_a_pickle(history: History, tmp_path: Path) -> None:
    kept = [path for path in (history.loaded.state / "artefacts").rglob("*") if path.is_file()]
    names = {path.name for path in kept}
    assert {"model.skops", "model.fp32.onnx", "MLmodel", "manifest.json"} <= names
    assert [name for path in kept for name in what_is_pickled(path)] == []
    flavours = [set(Model.load(str(path)).flavors) for path in kept if path.name == "MLmodel"]
    assert flavours == [{"fieldloop"}] * 3, "none of MLflow's own, which unpickle"
    # And it would be seen.
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        archive.writestr("inside", pickle.dumps(object))
    np.save(tmp_path / "rows.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({}))
    found = sorted(name for path in tmp_path.iterdir() for name in what_is_pickled(path))
    assert found == ["model.pkl", "model.skops/inside", "rows.npy"]


def test_the_decision_is_kept_with_its_evidence(history: History) -> None:
    folder = run_folder(history.loaded.state, history.second.run_id)
    decision = load_decision(folder / "gate")
    assert decision == history.second.decision
    assert [variant.name for variant in decision.evidence.variants] == ["onnx-fp32"]
    assert abs(decision.evidence.variants[0].parity_loss) <= 0.005


def test_a_regression_with_a_category_is_run_by_its_own_metric(new_project: New) -> None:
    folder = new_project()
    rng = np.random.default_rng(1)
    rows = [
        f"{x:.3f},{site},{5 * x + (20 if site == 'north' else 0):.3f}"
        for x, site in zip(rng.normal(size=300), rng.choice(["north", "south"], size=300), strict=True)
    ]
    (folder / "rows.csv").write_text("\n".join(["pressure,site,yield", *rows]) + "\n")
    (folder / "fieldloop.toml").write_text(REGRESSION)
    result = run(folder)
    assert result.promoted
    evidence = result.decision.evidence
    assert evidence.metric == "mae"
    assert -1.0 < evidence.quality < 0.0
    assert evidence.constant_quality < -5.0
    assert evidence.majority_share == 0.0
    assert result.steps[STEPS.index("train")].params["family"] == "ridge"
    assert Registry(folder / ".fieldloop").load("yield").version == 1


def test_a_candidate_that_no_device_can_take_is_refused_without_a_bundle(new_project: New) -> None:
    folder = new_project()
    edit(folder, 'variants = ["onnx-fp32"]', 'variants = ["onnx-fp32"]\nmax_latency_us = 1e-6')
    result = run(folder)
    assert not result.promoted
    assert result.bundle is None
    assert "none fits the devices: onnx-fp32: " in result.reason
    assert "1e-06" in result.reason
    assert Registry(folder / ".fieldloop").find("quality", alias=CHAMPION) is None


def run_until(folder: Path, step: str, phase: str) -> None:
    """Run the pipeline, and die in the moment that a step begins or ends."""

    def die(event: StepEvent) -> None:
        if (event.step, event.phase) == (step, phase):
            os.kill(os.getpid(), signal.SIGKILL)

    run_production(load_project(folder), trigger="manual", reason="a test", progress=die)


def kill_in(folder: Path, step: str, phase: str) -> None:
    # Not forked from this process, whose threads would not come along.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainer.pipeline.production"])
    process = context.Process(target=run_until, args=(folder, step, phase))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("step", "phase", "first"),
    [
        ("train", "finished", "evaluate"),
        ("register", "finished", "export"),
        ("export", "started", "export"),
        ("promote", "finished", None),
    ],
)
def test_a_run_that_was_killed_goes_on_from_its_first_unfinished_step_to_the_same_model(
    step: str, phase: str, first: str | None, new_project: New, history: History
) -> None:
    folder = new_project()
    kill_in(folder, step, phase)
    broken = load_run(folder / ".fieldloop", "last")
    assert broken.end is None
    n_kept = len(STEPS) if first is None else STEPS.index(first)
    assert [record.name for record in broken.steps] == list(STEPS[:n_kept])
    events: list[StepEvent] = []
    result = run(folder, "last", events)
    assert phases(events, "skipped") == list(STEPS[:n_kept])
    assert phases(events, "finished") == list(STEPS[n_kept:])
    assert result.run_id == broken.head.run_id
    assert result.steps[:n_kept] == broken.steps
    assert model_of(result) == model_of(history.first)
    assert result.decision.evidence.quality == history.first.decision.evidence.quality
    assert result.promoted
    assert versions_of(folder) == [1]
    assert Registry(folder / ".fieldloop").load("quality").run_id == result.run_id
    end = load_run(folder / ".fieldloop", "last").end
    assert end is not None
    assert end.promoted
    assert open_client(folder / ".fieldloop").get_run(result.run_id).info.status == "FINISHED"


def finished_trials(run_folder_glob: Path) -> list[tuple[int, float]]:
    """Number and quality of the trials that a search in another process has finished so far."""
    for path in run_folder_glob.glob("*/train/search.db"):
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                query = "SELECT number, value FROM trials JOIN trial_values USING (trial_id) WHERE state = 'COMPLETE'"
                return list(connection.execute(f"{query} ORDER BY number"))
        except sqlite3.OperationalError:
            return []
    return []


@pytest.mark.slow
def test_a_command_that_is_killed_in_its_search_is_resumed_with_the_trials_it_had(new_project: New) -> None:
    folder = new_project()
    edit(folder, "trials = 1", "trials = 4")
    command = [sys.executable, "-m", "trainer.cli", "pipeline", "run", "--project", str(folder), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    runs = folder / ".fieldloop" / "pipeline"
    try:
        wait_until(lambda: finished_trials(runs) or process.poll() is not None, timeout_s=120, what="a trial is done")
    finally:
        process.kill()
        output, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, errors
    had = finished_trials(runs)
    run_id = json.loads(output.splitlines()[0])["run_id"]
    events: list[StepEvent] = []
    result = run(folder, run_id, events)
    assert phases(events, "skipped") == ["extract", "validate", "prepare"]
    assert phases(events, "finished")[0] == "train"
    assert finished_trials(runs)[: len(had)] == had
    assert len(finished_trials(runs)) == 4
    assert result.promoted


def test_a_step_that_fails_breaks_the_run_off_and_once_mended_the_training_is_kept(new_project: New) -> None:
    folder = new_project()
    state = folder / ".fieldloop"

    def put_a_file_in_the_way(run_id: str) -> None:
        (run_folder(state, run_id) / "export").touch()

    with pytest.raises(NotADirectoryError):
        run_production(load_project(folder), trigger="manual", reason="a test", on_begin=put_a_file_in_the_way)
    broken = load_run(state, "last")
    assert [record.name for record in broken.steps] == list(STEPS[: STEPS.index("export")])
    client = open_client(state)
    assert client.get_run(broken.head.run_id).info.status == "FAILED"
    assert Registry(state).find("quality", alias=CHAMPION) is None
    (run_folder(state, broken.head.run_id) / "export").unlink()
    events: list[StepEvent] = []
    result = run(folder, broken.head.run_id, events)
    assert "train" in phases(events, "skipped")
    assert phases(events, "finished")[0] == "export"
    assert result.promoted
    assert versions_of(folder) == [1]
    assert client.get_run(result.run_id).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [("forest", "forrest", ProjectError), ("onnx-fp32", "onnx-fp64", ExporterError)],
)
def test_a_name_that_nobody_knows_is_told_before_the_run_begins(
    old: str, new: str, error: type[Exception], new_project: New
) -> None:
    folder = new_project()
    edit(folder, old, new)
    with pytest.raises(error, match=new):
        run(folder)
    assert list_runs(folder / ".fieldloop") == ()


def test_a_run_that_is_resumed_with_another_project_does_its_steps_again(new_project: New) -> None:
    folder = new_project()
    kill_in(folder, "export", "started")
    text = (folder / "fieldloop.toml").read_text().replace("pressure", "third")
    (folder / "fieldloop.toml").write_text(text.replace("vibration", "pressure").replace("third", "vibration"))
    events: list[StepEvent] = []
    result = run(folder, "last", events)
    assert phases(events, "skipped") == []
    assert result.bundle is not None
    table = json.loads((run_folder(folder / ".fieldloop", result.run_id) / "extract" / "table.json").read_bytes())
    manifest = json.loads((result.bundle / "manifest.json").read_bytes())
    assert [feature["name"] for feature in manifest["features"]] == table["names"] == ["vibration", "pressure"]
    assert versions_of(folder) == [1]


def test_a_run_that_is_resumed_late_must_match_the_champion_of_now(new_project: New) -> None:
    folder = new_project()
    kill_in(folder, "promote", "started")
    broken = load_run(folder / ".fieldloop", "last").head
    assert broken.champion == 0
    champion = run(folder)
    assert (champion.version, champion.promoted) == (2, True)
    events: list[StepEvent] = []
    result = run(folder, broken.run_id, events)
    assert "evaluate" in phases(events, "finished")
    evidence = result.decision.evidence
    assert (evidence.champion_version, evidence.compared_rows) == (2, 80)


def test_a_champion_of_other_features_or_labels_is_not_compared(new_project: New) -> None:
    folder = new_project()
    run(folder)
    lines = (folder / "rows.csv").read_text().splitlines()
    wider = [f"{line},{i % 7 if i else 'third'}" for i, line in enumerate(lines)]
    (folder / "rows.csv").write_text("\n".join(wider) + "\n")
    with (folder / "fieldloop.toml").open("a") as file:
        file.write('\n[[features]]\nname = "third"\n')
    other_features = run(folder)
    assert other_features.decision.evidence.compared_rows == 0
    assert other_features.promoted
    relabelled = [line.replace("scrap", "bad") if i % 3 else line for i, line in enumerate(wider)]
    (folder / "rows.csv").write_text("\n".join(relabelled) + "\n")
    other_labels = run(folder)
    assert other_labels.decision.evidence.champion_version == 2
    assert other_labels.decision.evidence.compared_rows == 0


def test_a_run_that_has_ended_is_not_resumed(history: History) -> None:
    with pytest.raises(RunError, match=r"has ended \(promoted\): there is nothing to resume"):
        run_production(history.loaded, trigger="", reason="", resume=history.first.run_id)
    with pytest.raises(RunError, match=r"has ended \(refused\)"):
        run_production(history.loaded, trigger="", reason="", resume=history.refused.run_id)


def test_a_resumed_run_sees_what_was_known_when_it_began_and_the_next_one_what_is_known_now(new_project: New) -> None:
    folder = new_project()
    edit(folder, "forest", "logistic")
    loaded = load_project(folder)
    began, now = ManualClock(1000.0), ManualClock(5000.0)
    first = run_production(loaded, trigger="manual", reason="a test", clock=began)
    rng = np.random.default_rng(2)
    rows = [
        LabelledRow(
            f"p{i}",
            "device",
            "quality-1",
            {"pressure": float(a), "vibration": float(b)},
            "scrap" if a + b > 0 else "good",
            1500.0 + i,
            2000.0 + i,
            "background",
        )
        for i, (a, b) in enumerate(rng.normal(size=(120, 2)))
    ]
    assert push_labelled(loaded, rows) == 120
    # As if it had been killed in its first step.
    (run_folder(loaded.state, first.run_id) / "extract" / RECORD_NAME).unlink()
    (run_folder(loaded.state, first.run_id) / RESULT_NAME).unlink()
    again = run_production(loaded, trigger="", reason="", resume=first.run_id, clock=now)
    assert again.steps[0].metrics == {"rows": 400.0, "fleet_rows": 0.0, "fleet_rows_left_out": 0.0}
    assert model_of(again) == model_of(first)
    after = run_production(loaded, trigger="labels", reason="120 new labels", clock=now)
    assert after.steps[0].metrics == {"rows": 520.0, "fleet_rows": 120.0, "fleet_rows_left_out": 0.0}
    evidence = after.decision.evidence
    assert (evidence.judged_rows, evidence.compared_rows, evidence.recent_rows) == (120, 120, 100)
    assert evidence.champion_quality < 0.3
    # One trial of a weight is not enough to learn that the world turned round: retraining does not mend this.
    assert not after.promoted
    assert [check.name for check in after.decision.checks if not check.passed] == ["baseline", "recent"]


def test_a_run_that_is_not_there_is_not_resumed(new_project: New) -> None:
    folder = new_project()
    with pytest.raises(RunError, match="there is no run yet"):
        run(folder, "last")
    with pytest.raises(RunError, match="there is no run " + "0" * 32):
        run(folder, "0" * 32)
    # The lock of a run that ended with an error is free again.
    with pytest.raises(RunError, match="there is no run yet"):
        run(folder, "last")


def test_a_version_has_a_card_that_stands_alone_and_a_signature_that_mlflow_reads(history):
    state = history.loaded.state
    model = Registry(state).load("quality", version=2)
    card = card_of(model, with_picture=True)
    for text in ("# quality/2", "on the rows that it was trained on", "## The gate: passed", "pressure", "onnx-fp32"):
        assert text in card
    metrics = history.tracked(history.second)[0].data.metrics
    ends = " to ".join(f"{metrics[f'test_accuracy_{end}']:.4f}" for end in ("low", "high"))
    assert f"{metrics['test_accuracy']:.4f} (95 %: {ends})" in card
    (inside,) = re.findall(r"data:image/svg\+xml;base64,([^)]+)\)", card)
    picture = base64.b64decode(inside)
    assert b"<svg" in picture
    assert not re.findall(rb'(?:href|src)="http', picture)
    assert "promotion to champion by pipeline, gate: passed" in card
    assert "base64" not in card_of(model, with_picture=False)
    described = open_client(state).get_model_version("quality", "2")
    assert str(described.description).startswith("# quality/2")
    stored = Model.load(download_artifacts(described.source))
    assert [(column.name, column.type.name) for column in stored.signature.inputs] == [
        (feature.name, "float") for feature in history.loaded.project.features
    ]
    assert stored.signature.outputs.input_names() == list(parse_manifest(manifest_of(model)).labels)
    assert stored.run_id == model.run_id


def manifest_of(model):
    return (model.bundle / "manifest.json").read_bytes()


def test_where_a_person_must_approve_a_run_that_passes_stops_at_staging(tmp_path, new_store):
    folder = write_small_project(tmp_path)
    file = folder / "fieldloop.toml"
    file.write_text(file.read_text() + '\n[registry]\nstaging = "waiting"\napproval = ["champion"]\n')
    new_store(folder / ".fieldloop")
    result = run_production(load_project(folder), trigger="manual", reason="a test")
    assert result.decision.passed
    assert not result.promoted
    assert result.waits
    assert "fieldloop registry promote 1 --to champion --by NAME" in result.reason
    end = load_run(folder / ".fieldloop", "last").end
    assert end is not None
    assert (end.outcome, end.reason) == ("waits", result.reason)
    with pytest.raises(RunError, match="it waits for approval"):
        run_production(load_project(folder), trigger="", reason="", resume="last")
    registry = open_registry(load_project(folder))
    assert registry.find("quality", alias=CHAMPION) is None
    assert registry.load("quality", version=1).aliases == ("waiting",)
    registry.promote("quality", 1, by="Ada")
    assert registry.load("quality").aliases == (CHAMPION,)
