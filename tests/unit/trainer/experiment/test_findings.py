"""What a person is told to look at: each thing when it is there, and nothing of it when it is not."""

import math

import numpy as np
import pytest
from msgspec.structs import replace

from edge_agent.bundle import Feature
from exporter.proof.intervals import Estimate
from tests.unit.trainer.experiment.test_leakage import table_of
from trainer.experiment.data_analysis import DataAnalysis, Pair, analyse_data
from trainer.experiment.findings import findings_of
from trainer.experiment.leakage import ColumnAlone
from trainer.experiment.model_analysis import ModelAnalysis, Slice
from trainer.features.guess import LeftOut

MODEL = ModelAnalysis(
    metric="accuracy",
    slice_metric="accuracy",
    rows=400,
    overall=Estimate(0.9, 0.86, 0.94),
    overall_of_slices=0.9,
    constant=0.5,
    train_quality=0.95,
    slices=(Slice("time", "part 1 of 4", 100, Estimate(0.85, 0.8, 0.9)),),
    calibration=(),
    calibration_error=0.05,
    importance=(),
    confusion=(),
    scatter=(),
    errors=(),
)
ALONE = (ColumnAlone("heat", 0.3, ""), ColumnAlone("load", 0.1, ""))


def usual_data(**changes: object) -> DataAnalysis:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(1200, 2))
    truth = np.arange(1200) % 2
    data = analyse_data(table_of(rows, truth, ("no", "yes")), (Feature("heat"), Feature("load")), "goal")
    return replace(data, **changes)


def told(data: DataAnalysis | None = None, model: ModelAnalysis = MODEL, **of: object) -> list[tuple[str, str, str]]:
    columns, left_out = of.get("columns", ALONE), of.get("left_out", ())
    found = findings_of(data or usual_data(), columns, model, left_out)  # type: ignore[arg-type]
    return [(finding.grade, finding.kind, finding.text) for finding in found]


def test_of_usual_rows_and_a_good_model_only_its_quality_is_told() -> None:
    ((grade, kind, text),) = told()
    assert (grade, kind) == ("good", "quality")
    assert "accuracy 0.900 (95 %: 0.860 to 0.940) on 400 rows" in text
    assert "a constant answer has 0.500" in text


def first_feature(**changes: object) -> DataAnalysis:
    data = usual_data()
    return replace(data, features=(replace(data.features[0], **changes), data.features[1]))


def drifting(place: int) -> DataAnalysis:
    data = usual_data()
    moved = list(data.drift)
    moved[place] = replace(moved[place], indices=(0.1, 0.9), limits=(0.2, 0.2))
    return replace(data, drift=tuple(moved))


def counted(n_yes: int) -> DataAnalysis:
    data = usual_data()
    return replace(data, target=replace(data.target, counts=(1200 - n_yes, n_yes)))


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (drifting(0), "drift", "heat (PSI 0.90)"),
        (drifting(-1), "drift", "The target goal moves with time (PSI 0.90)"),
        (first_feature(missing=241), "missing", "heat (20%)"),
        (counted(59), "balance", "yes (59 rows)"),
        (first_feature(farthest=15.0), "outliers", "heat (up to 15 spreads away)"),
        (usual_data(doubles=61), "doubles", "61 rows repeat an earlier one"),
        (usual_data(notable_pairs=(Pair("heat", "load", -0.98),)), "correlation", "heat and load (-0.98)"),
    ],
)
def test_what_is_unusual_in_the_rows_is_told_by_name(data: DataAnalysis, kind: str, words: str) -> None:
    first, last = told(data)
    assert first[:2] == ("look", kind)
    assert words in first[2]
    assert last[0] == "good"


@pytest.mark.parametrize(
    "data",
    [
        first_feature(missing=240),
        counted(60),
        first_feature(farthest=14.9),
        usual_data(doubles=60),
        usual_data(notable_pairs=(Pair("heat", "load", 0.97),)),
    ],
)
def test_what_is_just_usual_is_not_told(data: DataAnalysis) -> None:
    assert [kind for _, kind, _ in told(data)] == ["quality"]


@pytest.mark.parametrize(
    ("changes", "grade", "kind", "words"),
    [
        (
            {"overall": Estimate(0.52, 0.5, 0.6), "train_quality": 0.55},
            "grave",
            "quality",
            "not better than a constant",
        ),
        ({"train_quality": 1.0 + 1e-9}, "look", "overfitting", "0.100 more"),
        (
            {"slices": (Slice("truth", "yes", 50, Estimate(0.7, 0.6, 0.89)),)},
            "look",
            "slices",
            "truth yes (0.7)",
        ),
        ({"calibration_error": 0.11}, "look", "calibration", "0.11 off on average"),
    ],
)
def test_where_the_model_is_weak_is_told(changes: dict[str, object], grade: str, kind: str, words: str) -> None:
    found = [each for each in told(model=replace(MODEL, **changes)) if each[0] != "good"]
    ((found_grade, found_kind, text),) = found
    assert (found_grade, found_kind) == (grade, kind)
    assert words in text


def test_what_nobody_can_know_is_not_told() -> None:
    assert [kind for _, kind, _ in told(model=replace(MODEL, calibration_error=math.nan))] == ["quality"]


def test_a_leak_comes_first_and_what_was_left_out_is_named_with_its_reason() -> None:
    columns = (ColumnAlone("heat", 0.97, "by itself it gets 97% right"), ALONE[1])
    found = told(drifting(0), columns=columns, left_out=(LeftOut("id", "it counts"),))
    assert [(grade, kind) for grade, kind, _ in found] == [
        ("grave", "leakage"),
        ("look", "drift"),
        ("look", "left out"),
        ("good", "quality"),
    ]
    assert "--leave-out heat" in found[0][2]
    assert "id (it counts)" in found[2][2]
