"""A detector of anomalies whose rows nobody has labelled: trained, and judged by what can be judged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.trainer.conftest import NewStore
from tests.unit.trainer.pipeline.lessons import make_lesson, make_project, make_table
from trainer.pipeline.card import card_text, load_facts
from trainer.pipeline.evaluating import evaluate_model
from trainer.pipeline.gate_evidence import GateCheck
from trainer.pipeline.production import RunResult, run_production
from trainer.pipeline.runs import run_folder
from trainer.pipeline.training import train_model
from trainer.project.loading import load_project
from trainer.registry.registry import Registry

PROJECT = """\
name = "pump"

[data]
path = ["rows.csv"]

[target]
task = "anomaly"

[training]
candidates = ["isolation_forest", "one_class_svm"]
trials = 4
blocks = 2

[export]
variants = ["onnx-fp32"]

[gate]
max_alarms = {max_alarms}

[[features]]
name = "pressure"

[[features]]
name = "vibration"
"""
N_ROWS = 400


def rows_of(n_rows: int = N_ROWS) -> Any:
    return np.random.default_rng(8).normal(size=(n_rows, 2))


def write_project(folder: Path, *, max_alarms: float = 0.2) -> Path:
    lines = [f"{a:.4f},{b:.4f}" for a, b in rows_of()]
    (folder / "rows.csv").write_text("\n".join(["pressure,vibration", *lines]) + "\n")
    (folder / "fieldloop.toml").write_text(PROJECT.format(max_alarms=max_alarms))
    return folder


def produce(folder: Path) -> RunResult:
    return run_production(load_project(folder), trigger="manual", reason="a test")


def checks(result: RunResult) -> dict[str, GateCheck]:
    return {check.name: check for check in result.decision.checks}


@pytest.fixture
def project(new_store: NewStore, tmp_path: Path) -> Path:
    folder = write_project(tmp_path)
    new_store(folder / ".fieldloop")
    return folder


def test_a_detector_is_promoted_by_what_can_be_judged_and_the_gate_says_what_cannot(project: Path) -> None:
    first = produce(project)
    assert first.promoted, first.reason
    told = checks(first)
    assert set(told) >= {"baseline", "previous", "alarms", "variants"}
    assert not {"chance", "recent", "persistence"} & set(told)
    assert "not judged: no row is labelled" in told["baseline"].text
    assert told["previous"].text == "previous: there is no champion to compare with"
    figures = first.decision.evidence.alarms
    assert figures is not None
    assert told["alarms"].value == figures.judged
    # The forest is told to alarm on two of a hundred rows.
    assert figures.trained == pytest.approx(0.02, abs=0.005)
    second = produce(project)
    assert second.promoted, second.reason
    assert "version 1, decides alike on 100.00% of 80 rows" in checks(second)["previous"].text


def test_its_forms_are_held_to_the_model_itself_and_no_figure_pretends_to_be_quality(project: Path) -> None:
    result = produce(project)
    assert result.report.metric == "agreement"
    assert result.report.original_quality == 1.0
    (variant,) = [each for each in result.report.variants if each.accepted]
    assert variant.quality is not None
    assert variant.quality >= 0.995
    registry = Registry(project / ".fieldloop")
    assert registry.load("pump").tags["quality"] == "not known"
    card = card_text(load_facts(run_folder(project / ".fieldloop", result.run_id), 1))
    assert "detection of anomalies" in card
    assert "| how good it is | not known: no row is labelled |" in card
    metrics = {name for step in result.steps for name in step.metrics}
    assert {"test_alarm_share", "train_alarm_share"} <= metrics
    assert not [name for name in metrics if "accuracy" in name]


def test_a_detector_that_alarms_too_often_is_refused(new_store: NewStore, tmp_path: Path) -> None:
    folder = write_project(tmp_path, max_alarms=0.001)
    new_store(folder / ".fieldloop")
    result = produce(folder)
    assert not result.promoted
    (refusal,) = result.decision.refusals
    assert refusal.startswith("alarms: on ")
    assert refusal.endswith("at most 0.10%")


def test_without_labels_nothing_is_searched_and_the_first_candidate_is_taken(tmp_path: Path) -> None:
    project = make_project(
        "anomaly",
        target={"task": "anomaly"},
        training={"candidates": ["one_class_svm", "isolation_forest"], "trials": 6, "blocks": 2},
    )
    table = make_table(rows_of(), np.zeros(N_ROWS), labels=("usual", "anomaly"))
    outcome = train_model(make_lesson(project, table), tmp_path)
    assert [(number, family) for number, family, _ in outcome.value.chosen.trials] == [(0, "one_class_svm")]
    assert outcome.value.chosen.parameters == {"false_alarms": 0.02, "gamma": 0.1}
    assert "not searched" in dict(outcome.facts)
    assert outcome.metrics == {}


def test_labelled_rows_of_the_fleet_judge_a_detector_whose_own_rows_have_no_labels(tmp_path: Path) -> None:
    project = make_project(
        "anomaly",
        target={"task": "anomaly"},
        training={"candidates": ["isolation_forest"], "trials": 1, "blocks": 2},
    )
    rows, is_fault = rows_of(500), np.arange(500) >= 480
    rows[is_fault] += 8
    table = make_table(rows, is_fault, n_fleet=100, labels=("usual", "anomaly"))
    lesson = make_lesson(project, table)
    assert lesson.is_labelled
    figures = evaluate_model(lesson, train_model(lesson, tmp_path).value, None, tmp_path).value.figures
    assert figures.alarms is None
    assert figures.quality > 0.9
