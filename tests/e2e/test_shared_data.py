"""A user's own data, from ``fieldloop init`` to the loop: real sensors, regression and many classes."""

import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from tests.e2e.conftest import played, running_children, summary_of, verify_books
from trainer.features.store import LabelledRow, push_labelled
from trainer.pipeline.production import run_production
from trainer.project.loading import load_project
from trainer.registry.registry import CHAMPION, open_registry


def init(folder: Path, *arguments: str, **keys: str) -> None:
    """Write a project as a user would: by the command, and then by setting some of the keys that it shows."""
    command = [sys.executable, "-m", "trainer.cli", "init", *arguments, "--project", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    file = folder / "fieldloop.toml"
    text = file.read_text()
    for key, value in keys.items():
        text, found = re.subn(rf"^#?{key} = .*$", f"{key} = {value}", text, count=1, flags=re.MULTILINE)
        assert found == 1, key
    file.write_text(text)


def kinds_of(summary: dict[str, Any]) -> list[str]:
    return [kind for _, kind, _ in summary["story"]]


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_turbine_drifts_year_after_year_and_regression_is_mended_or_people_are_told(shared_data, tmp_path):
    files = [str(shared_data / "gas_turbine" / f"gt_{year}.csv") for year in (2011, 2012, 2013)]
    init(
        tmp_path,
        *files,
        *("--target", "NOX", "--leave-out", "CO", "--name", "turbine"),
        rows="[0, 7411]",
        candidates='["mlp"]',
        trials="3",
    )
    folder = tmp_path / "demo"
    arguments = ("--project", str(tmp_path), "--folder", str(folder), "--devices", "3", "--rows-per-second", "80")
    with played(*arguments, cwd=tmp_path) as process:
        summary = summary_of(process, folder)
    verify_books(summary, 22_191 - 7_411)
    assert summary["metric"] == "r2"
    kinds = kinds_of(summary)
    assert "confirmed" in kinds, "from the second year on the first model is no longer what it was"
    alerts = (folder / ".fieldloop" / "alerts.jsonl").read_text() if "refused" in kinds else "gate_refused"
    assert "promoted" in kinds or "refused" in kinds
    assert "gate_refused" in alerts, "a gate that refuses tells people"
    if summary["loop_accuracy"] is not None:
        # A model of last year's rows need not be better on next year's; it must not be out of its mind.
        assert summary["loop_accuracy"] > summary["static_accuracy"] - 0.2
    assert not running_children(folder)


GAS_ROWS = 6_697
# Batches 1 and 2, in the first month; the later ones reach over three years.
GAS_TRAINING_ROWS = 1_689


def init_gas(folder: Path, shared_data: Path) -> None:
    init(
        folder,
        str(shared_data / "gas_drift_raw" / "gas_drift_raw.parquet"),
        *("--target", "gas", "--leave-out", "batch", "--leave-out", "concentration_ppm", "--name", "gas"),
        rows=f"[0, {GAS_TRAINING_ROWS}]",
        candidates='["mlp"]',
        trials="3",
    )


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_six_classes_over_128_features_go_through_the_whole_loop_and_every_sign_is_answered(shared_data, tmp_path):
    init_gas(tmp_path, shared_data)
    folder = tmp_path / "demo"
    arguments = ("--project", str(tmp_path), "--folder", str(folder), "--devices", "3", "--rows-per-second", "40")
    with played(*arguments, cwd=tmp_path) as process:
        summary = summary_of(process, folder)
    verify_books(summary, GAS_ROWS - GAS_TRAINING_ROWS)
    kinds = kinds_of(summary)
    # Gases come one after the other: whether the labels after a sign confirm it is a matter of which gas comes then.
    signs, answers = kinds.count("sign"), sum(kinds.count(kind) for kind in ("cleared", "confirmed", "labels_missing"))
    assert signs >= 1
    assert answers in {signs, signs - 1}, "the last sign may come too late for labels"
    assert all(device["quality_before"] < 0.85 for device in summary["devices"]), "the sensors have aged"
    assert not running_children(folder)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_labels_of_aged_gas_sensors_give_a_model_that_is_promoted_over_the_first(shared_data, tmp_path):
    init_gas(tmp_path, shared_data)
    loaded = load_project(tmp_path)
    first = run_production(loaded, trigger="manual", reason="the first model")
    assert first.promoted
    table = pyarrow.parquet.read_table(shared_data / "gas_drift_raw" / "gas_drift_raw.parquet")
    chosen = sorted(random.Random(1).sample(range(GAS_TRAINING_ROWS, GAS_ROWS), 400))
    rows = [
        LabelledRow(
            prediction_id=f"reader.{number}",
            device="reader",
            bundle="gas/1",
            features={feature.name: row[feature.name] for feature in loaded.project.features},
            label=row["gas"],
            scored_utc_s=1000.0 + number,
            known_utc_s=2000.0 + number,
            reason="background",
        )
        for number, row in zip(chosen, table.take(chosen).to_pylist(), strict=True)
    ]
    assert push_labelled(loaded, rows) == 400
    second = run_production(loaded, trigger="labels", reason="the sensors have aged")
    assert second.promoted, second.reason
    evidence = second.decision.evidence
    assert evidence.compared_rows == 400
    assert evidence.compared_quality > evidence.champion_quality + 0.1


TURBINE_ROWS_OF_2011, TURBINE_ROWS_OF_2012, TURBINE_ROWS_OF_2014 = 7_411, 7_628, 7_158
EARLY_ROWS = 2_147


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_turbine_that_is_retrained_on_early_months_only_is_refused_by_the_rows_that_judge(shared_data, tmp_path):
    init(
        tmp_path,
        str(shared_data / "gas_turbine" / "gt_2014.csv"),
        *("--target", "NOX", "--leave-out", "CO", "--name", "turbine"),
        rows=f"[0, {EARLY_ROWS}]",
        judge=f"[{EARLY_ROWS}, {TURBINE_ROWS_OF_2014}]",
        candidates='["hist_gradient_boosting"]',
        trials="1",
        boards='["x86-64"]',
        variants='["onnx-fp32"]',
    )
    result = run_production(load_project(tmp_path), trigger="manual", reason="early months only")
    assert not result.promoted
    failed = [check.name for check in result.decision.checks if check.decides and not check.passed]
    assert "baseline" in failed, "the rest of the year is another turbine"
    assert result.decision.evidence.judged_rows == TURBINE_ROWS_OF_2014 - EARLY_ROWS
    assert result.decision.evidence.quality < 0


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_turbine_that_was_good_is_not_replaced_by_one_of_early_months(shared_data, tmp_path):
    init(
        tmp_path,
        *(str(shared_data / "gas_turbine" / f"gt_{year}.csv") for year in (2011, 2012)),
        *("--target", "NOX", "--leave-out", "CO", "--name", "turbine"),
        rows=f"[0, {TURBINE_ROWS_OF_2011}]",
        judge=f"[{TURBINE_ROWS_OF_2011}, {TURBINE_ROWS_OF_2011 + TURBINE_ROWS_OF_2012}]",
        candidates='["hist_gradient_boosting"]',
        trials="1",
        boards='["x86-64"]',
        variants='["onnx-fp32"]',
    )
    first = run_production(load_project(tmp_path), trigger="manual", reason="a year")
    assert first.promoted
    file = tmp_path / "fieldloop.toml"
    text, found = re.subn(r"^rows = .*$", f"rows = [0, {EARLY_ROWS}]", file.read_text(), count=1, flags=re.MULTILINE)
    assert found == 1
    file.write_text(text)
    again = run_production(load_project(tmp_path), trigger="manual", reason="early months only")
    assert not again.promoted
    failed = [check.name for check in again.decision.checks if check.decides and not check.passed]
    assert "previous" in failed, "judged by the same rows, the champion is better"
    assert again.decision.evidence.judged_rows == TURBINE_ROWS_OF_2012
    registry = open_registry(load_project(tmp_path))
    champion = registry.find("turbine", alias=CHAMPION)
    assert champion is not None
    assert champion.version == first.version


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rooms_without_a_light_sensor_are_refused_by_the_baseline(shared_data, tmp_path):
    header, lines = "", []
    for name in ("datatraining.txt", "datatest2.txt"):
        header, *rows = (shared_data / "occupancy" / name).read_text().splitlines()
        lines += [row.split(",", 1)[1] for row in rows]
    data = tmp_path / "rooms.csv"
    data.write_text("\n".join([header, *lines]) + "\n")
    init(
        tmp_path,
        str(data),
        *("--target", "Occupancy", "--leave-out", "Light", "--name", "rooms"),
        candidates='["hist_gradient_boosting"]',
        trials="1",
        boards='["x86-64"]',
        variants='["onnx-fp32"]',
    )
    result = run_production(load_project(tmp_path), trigger="manual", reason="without light")
    assert not result.promoted
    failed = [check.name for check in result.decision.checks if check.decides and not check.passed]
    assert "baseline" in failed
