"""A detector of anomalies, from the rows to the champion."""

import csv

import numpy as np
import pytest

from edge_agent.bundle import MANIFEST_NAME, parse_manifest
from tests.unit.trainer.pipeline.lessons import make_lesson, make_project, make_table
from trainer.pipeline.evaluating import evaluate_model
from trainer.pipeline.production import run_production
from trainer.pipeline.training import train_model
from trainer.project.loading import load_project

PROJECT = """\
name = "pump"

[data]
path = ["rows.csv"]

[target]
column = "state"
task = "anomaly"
labels = ["usual", "fault"]

[training]
trials = 2
blocks = 2

[export]
variants = ["native", "onnx-fp32"]

[[features]]
name = "pressure"

[[features]]
name = "vibration"
"""


def draw(n_rows):
    """Rows about zero; every twentieth one is far away from them."""
    rng = np.random.default_rng(1)
    is_fault = np.arange(n_rows) % 20 == 0
    rows = rng.normal(size=(n_rows, 2)) + np.where(is_fault, 6.0, 0.0)[:, np.newaxis]
    return rows, is_fault


@pytest.mark.parametrize("family", ["isolation_forest", "one_class_svm"])
def test_a_detector_is_fitted_without_the_known_anomalies_and_judged_by_them(family, tmp_path):
    rows, is_fault = draw(400)
    project = make_project("anomaly", training={"candidates": [family], "trials": 1, "blocks": 2})
    lesson = make_lesson(project, make_table(rows, is_fault, labels=("usual", "fault")))
    trained = train_model(lesson, tmp_path).value
    assert trained.out_of_fold.shape == (400, 1)
    assert trained.chosen.quality > 0.9
    figures = evaluate_model(lesson, trained, None, tmp_path).value.figures
    assert figures.quality > 0.9
    assert figures.constant_quality == 0.5, "balanced accuracy of who never sees an anomaly"


@pytest.mark.slow
def test_a_detector_is_trained_exported_and_promoted(new_store, tmp_path):
    rows, is_fault = draw(600)
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("pressure", "vibration", "state"))
        writer.writerows(
            (f"{a:.4f}", f"{b:.4f}", "fault" if fault else "usual")
            for (a, b), fault in zip(rows, is_fault, strict=True)
        )
    (tmp_path / "fieldloop.toml").write_text(PROJECT, encoding="utf-8")
    new_store(tmp_path / ".fieldloop")
    result = run_production(load_project(tmp_path), trigger="manual", reason="a test", progress=lambda _: None)
    assert result.promoted, result.reason
    assert result.report.original_quality > 0.9
    assert result.bundle is not None
    manifest = parse_manifest((result.bundle / MANIFEST_NAME).read_bytes())
    assert manifest.task == "anomaly"
    assert manifest.labels == ()
