"""A user's own data, from ``fieldloop init`` to the loop: real sensors, regression and many classes."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import played, running_children, summary_of, verify_books


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
@pytest.mark.timeout(600)
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
        assert summary["loop_accuracy"] > summary["static_accuracy"]
    assert not running_children(folder)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ageing_gas_sensors_collapse_and_a_better_model_of_six_classes_is_promoted(shared_data, tmp_path):
    init(
        tmp_path,
        str(shared_data / "gas_drift_raw" / "gas_drift_raw.parquet"),
        *("--target", "gas", "--leave-out", "batch", "--leave-out", "concentration_ppm", "--name", "gas"),
        rows="[0, 1689]",
        candidates='["mlp"]',
        trials="3",
    )
    folder = tmp_path / "demo"
    arguments = ("--project", str(tmp_path), "--folder", str(folder), "--devices", "3", "--rows-per-second", "20")
    with played(*arguments, cwd=tmp_path) as process:
        summary = summary_of(process, folder)
    verify_books(summary, 6_697 - 1_689)
    kinds = kinds_of(summary)
    assert "confirmed" in kinds
    # Gases come one after the other, batch after batch: what was learnt from one need not hold for the next, so that
    # only the gate's own comparison, on rows of the same time, says whether the new model is better.
    assert "promoted" in kinds
    promotion = next(text for _, kind, text in summary["story"] if kind == "promoted")
    assert "previous: accuracy" in promotion
    alerts = [json.loads(line) for line in (folder / ".fieldloop" / "alerts.jsonl").read_text().splitlines()]
    assert "collapse" in {alert["kind"] for alert in alerts}, "so great a loss is told to people too"
    assert not running_children(folder)
