"""A model of raw readings from training to a device: what the agent answers is what the trainer's own model answers."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edge_agent.bundle import Manifest, parse_manifest
from edge_agent.clock import SystemClock
from exporter.models.model import FittedModel
from exporter.models.model_file import load_estimator
from exporter.repository.repository import publish_bundle
from tests.integration.agent.conftest import Fleet
from tests.integration.agent.test_live_sources import Client
from tests.unit.trainer.signal_project import LABELS, RATE_HZ, shake, write_readings, write_signal_project
from tests.waiting import wait_until
from trainer.errors import ProjectError
from trainer.features.store import extract
from trainer.pipeline.production import run_production
from trainer.pipeline.reexporting import export_version
from trainer.project.loading import load_project
from trainer.registry.registry import Registry

SIZE, STEP = 64, 32
N_READINGS = 2000


@dataclass(frozen=True)
class Trained:
    """A project that was run once, and the bundle of its champion."""

    folder: Path
    bundle: Path

    @property
    def manifest(self) -> Manifest:
        return parse_manifest((self.bundle / "manifest.json").read_bytes())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = write_signal_project(tmp_path_factory.mktemp("bearing"), changes=(('name = "bearing"', 'name = "toy"'),))
    result = run_production(load_project(folder), trigger="manual", reason="a test")
    assert result.promoted, result.reason
    model = Registry(folder / ".fieldloop").load("toy", version=result.version)
    return Trained(folder, model.bundle)


@pytest.mark.slow
def test_a_device_that_reads_the_signal_answers_as_the_trainers_model_does(
    one_fleet: Fleet, trained: Trained, tmp_path: Path
):
    # New readings, some missing, and an hour's gap in their time, as a device sees them and as the trainer does.
    readings = shake(0, np.random.default_rng(7), N_READINGS)
    readings[N_READINGS // 2 :] = shake(1, np.random.default_rng(8), N_READINGS // 2)
    readings[[300, 301, 1500], [0, 0, 1]] = np.nan
    gap = 777
    recorded = [("a", 0, readings[:gap]), ("b", 1, readings[gap:])]
    replayed = tmp_path / "replayed"
    replayed.mkdir()
    write_signal_project(replayed)
    write_readings(replayed / "readings.csv", recorded)
    rows, places = rows_and_places(replayed, gap)

    bundle = publish_bundle(trained.bundle, one_fleet.updates.folder, one_fleet.updates.keys, clock=SystemClock())
    station = one_fleet.station(rows=str(replayed / "readings.csv"), source="rows_per_second = 500")
    one_fleet.order(station, bundle)
    station.start()
    wait_until(lambda: len(station.answered_rows()) > 10, 30, "the agent answers")
    # Its power is cut: the windows that were not yet durable are made again from where they begin.
    station.kill()
    station.start()
    wait_until(lambda: len(station.answered_rows()) == len(rows), 30, "every window is answered")
    one_fleet.wait_committed(station, bundle)

    manifest = trained.manifest
    original = FittedModel(load_estimator(model_of(trained)), "classification", manifest.features, manifest.labels)
    expected = original.outputs(rows)
    answers = {answer["row"]: answer for answer in station.answered_rows().values()}
    assert sorted(answers) == places
    tolerance = max(variant.tolerance for variant in manifest.variants)
    for place, outputs in zip(places, expected, strict=True):
        assert answers[place]["label"] == manifest.labels[int(np.argmax(outputs))]
        assert answers[place]["confidence"] == pytest.approx(float(outputs.max()), abs=tolerance)
    assert station.stop() == 0
    assert {answer["label"] for answer in answers.values()} == set(LABELS)
    # What the device counted are the refused windows too.
    windows = one_fleet.receiver.windows("one")
    assert sum(window.rows_scored for window in windows) == len(rows)
    refused = sum(n for window in windows for _, n in window.rows_refused)
    assert len(rows) + refused == n_windows(gap)


@pytest.mark.slow
def test_whole_windows_over_http_are_answered_as_the_trainers_model_answers_them(
    one_fleet: Fleet, trained: Trained, tmp_path: Path, free_port: int
):
    readings = np.concatenate([shake(label, np.random.default_rng(9 + label), N_READINGS // 2) for label in (0, 1)])
    replayed = tmp_path / "replayed"
    replayed.mkdir()
    write_signal_project(replayed)
    write_readings(replayed / "readings.csv", [("a", 0, readings)])
    expected_rows = extract(load_project(replayed), 0.0).rows
    windows = [readings[at : at + SIZE] for at in range(0, N_READINGS - SIZE + 1, STEP)]
    assert len(windows) == len(expected_rows)

    bundle = publish_bundle(trained.bundle, one_fleet.updates.folder, one_fleet.updates.keys, clock=SystemClock())
    station = one_fleet.station(live=f'kind = "http"\nport = {free_port}', telemetry="max_window_s = 1.0")
    one_fleet.order(station, bundle)
    station.start()
    client = Client(free_port)
    wait_until(client.is_ready, 30, "the agent is ready")
    status, about = client.ask("GET", "/v2/models/toy")
    assert (status, about["inputs"][0]["shape"]) == (200, [-1, SIZE, 2])
    labels: list[str] = []
    confidence: list[float] = []
    for at in range(0, len(windows), 8):
        part = [window.tolist() for window in windows[at : at + 8]]
        asked = {"name": "windows", "datatype": "FP64", "shape": [len(part), SIZE, 2], "data": part}
        status, answer = client.ask("POST", "/v2/models/toy/infer", {"inputs": [asked]})
        assert status == 200, answer
        outputs = {output["name"]: output["data"] for output in answer["outputs"]}
        labels += outputs["label"]
        confidence += outputs["confidence"]
    manifest = trained.manifest
    original = FittedModel(load_estimator(model_of(trained)), "classification", manifest.features, manifest.labels)
    expected = original.outputs(expected_rows)
    assert labels == [manifest.labels[place] for place in expected.argmax(axis=1)]
    tolerance = max(variant.tolerance for variant in manifest.variants)
    assert confidence == pytest.approx(expected.max(axis=1).tolist(), abs=tolerance)
    wait_until(lambda: one_fleet.receiver.rows("one") == len(windows), 20, "every window is counted")
    assert station.stop() == 0


def rows_and_places(replayed: Path, gap: int) -> tuple[np.ndarray, list[int]]:
    """The rows that the trainer makes of the readings, and the numbers that a device must give them."""
    table = extract(load_project(replayed), 0.0)
    with (replayed / "readings.csv").open(encoding="utf-8") as file:
        missing = [n for n, row in enumerate(csv.DictReader(file)) if not (row["x"] and row["y"])]
    begins = [*range(0, gap - SIZE + 1, STEP), *range(gap, N_READINGS - SIZE + 1, STEP)]
    whole = [begin for begin in begins if not any(begin <= n < begin + SIZE for n in missing)]
    assert len(whole) == len(table.rows) < len(begins)
    return table.rows, [begin + STEP - 1 for begin in whole]


def n_windows(gap: int) -> int:
    return (gap - SIZE) // STEP + 1 + (N_READINGS - gap - SIZE) // STEP + 1


def model_of(trained: Trained) -> Path:
    return trained.bundle.parent.parent / "train" / "model.skops"


@pytest.mark.slow
def test_the_bundle_says_how_readings_become_rows(trained: Trained):
    manifest = trained.manifest
    declared = load_project(trained.folder).project.signal
    assert declared is not None
    assert manifest.signal == declared.declared
    assert manifest.inputs.columns == ("x", "y", "t")
    assert [(f.name, f.unit) for f in manifest.features][:2] == [("x_mean", "m/s^2"), ("x_std", "m/s^2")]
    assert manifest.features[8].unit == "(m/s^2)²"
    content = json.loads((trained.bundle / "manifest.json").read_bytes())
    # Nothing of training: which column names a recording, and how a window is labelled.
    assert set(content["signal"]) == {
        "rate_hz", "size", "step", "channels", "bands", "time", "max_gap_s", "max_missing",
    }  # fmt: skip
    assert content["signal"]["rate_hz"] == RATE_HZ


@pytest.mark.slow
def test_a_version_of_other_windows_is_neither_exported_again_nor_compared_with(trained: Trained, tmp_path: Path):
    text = (trained.folder / "fieldloop.toml").read_text(encoding="utf-8")
    (trained.folder / "fieldloop.toml").write_text(text.replace("size = 64", "size = 48"), encoding="utf-8")
    loaded = load_project(trained.folder)
    model = Registry(loaded.state).load("toy", version=1)
    with pytest.raises(ProjectError, match="trained on other windows"):
        export_version(loaded, model, (), tmp_path)
    result = run_production(loaded, trigger="manual", reason="other windows")
    assert "has other features or labels: not compared" in result.reason
