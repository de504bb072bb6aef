"""An experiment with a detector of anomalies, with labels and without."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from trainer.cli.application import app
from trainer.errors import DataError
from trainer.project.loading import load_project

PROJECT = """\
name = "pump"

[data]
path = ["rows.csv"]

[target]
{target}
task = "anomaly"

[training]
blocks = 2

[[features]]
name = "pressure"

[[features]]
name = "vibration"
"""
N_ROWS = 400


def experiment(folder: Path, target: str) -> tuple[dict[str, Any], str]:
    """Carry out an experiment with rows of which every twentieth is far from all others."""
    rng = np.random.default_rng(1)
    is_fault = np.arange(N_ROWS) % 20 == 0
    rows = rng.normal(size=(N_ROWS, 2)) + np.where(is_fault, 6.0, 0.0)[:, np.newaxis]
    lines = [f"{a:.4f},{b:.4f},{'fault' if fault else 'usual'}" for (a, b), fault in zip(rows, is_fault, strict=True)]
    (folder / "rows.csv").write_text("\n".join(["pressure,vibration,state", *lines]) + "\n")
    (folder / "fieldloop.toml").write_text(PROJECT.format(target=target))
    done = CliRunner().invoke(app, ["experiment", "--project", str(folder), "--trials", "2", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    return told, Path(told["report"]).read_text()


def test_a_detector_is_examined_by_the_anomalies_that_are_known(tmp_path: Path) -> None:
    told, page = experiment(tmp_path, 'column = "state"\nlabels = ["usual", "fault"]')
    model = told["model"]
    assert model["metric"] == "balanced_accuracy"
    assert model["overall"]["value"] > 0.9
    confusion = np.array(model["confusion"])
    assert confusion.shape == (2, 2)
    assert confusion.sum() == model["rows"] == 80
    # Rows 320, 340, 360 and 380, and the detector finds them.
    assert confusion[1].tolist() == [0, 4]
    assert len(model["errors"]) == min(confusion[0, 1], 12)
    assert all((error["truth"], error["answer"]) == ("usual", "fault") for error in model["errors"])
    assert all(error["certainty"] >= 0 for error in model["errors"])
    assert "Rows by their score, in tenths" in page


def test_without_labels_nothing_is_said_of_how_good_it_is(tmp_path: Path) -> None:
    told, page = experiment(tmp_path, "")
    model = told["model"]
    assert not model["is_labelled"]
    assert model["metric"] == "share without an alarm"
    assert model["confusion"] == model["errors"] == model["calibration"] == []
    (finding,) = [each for each in told["findings"] if each["kind"] == "quality"]
    assert finding["text"].startswith("No row is labelled: how good the detector is cannot be said. It alarms on ")
    assert not [each for each in told["findings"] if each["kind"] in {"leakage", "overfitting", "balance"}]
    assert "which answers are wrong cannot be said" in page


@pytest.mark.parametrize("name", ["isolation_forst", "forest"])
def test_a_candidate_that_does_no_such_task_is_named_before_any_row_is_read(tmp_path: Path, name: str) -> None:
    text = PROJECT.format(target='column = "state"').replace("blocks = 2", f'candidates = ["{name}"]')
    (tmp_path / "fieldloop.toml").write_text(text)
    done = CliRunner().invoke(app, ["experiment", "--project", str(tmp_path)])
    assert done.exit_code == 2
    assert name in done.stderr


def test_a_detection_is_asked_for_by_its_task_and_the_usual_label_is_the_frequent_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    labels = ["bad" if row % 20 == 0 else "good" for row in range(N_ROWS)]
    lines = [f"{rng.normal() + (6 if label == 'bad' else 0):.4f},{label}" for label in labels]
    (tmp_path / "pump.csv").write_text("\n".join(["pressure,state", *lines]) + "\n")
    asked = ["experiment", str(tmp_path / "pump.csv"), "--target", "state", "--task", "anomaly"]
    done = CliRunner().invoke(app, [*asked, "--project", str(tmp_path), "--trials", "2", "--json"])
    assert done.exit_code == 0, done.output
    assert load_project(tmp_path).project.target.labels == ("good", "bad")
    assert json.loads(done.stdout)["model"]["overall"]["value"] > 0.9
    third = (tmp_path / "pump.csv").read_text().replace("good", "fine", 1)
    (tmp_path / "pump.csv").write_text(third)
    done = CliRunner().invoke(app, [*asked, "--project", str(tmp_path), "--force"])
    assert done.exit_code == DataError.exit_code
    assert "tells two labels apart" in done.stderr
