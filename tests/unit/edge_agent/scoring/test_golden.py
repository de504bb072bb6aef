"""Golden rows must come out on this device as they were written down."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import structs

from edge_agent.bundle import Feature, GoldenRow, LibraryTolerance, Manifest
from edge_agent.errors import BundleError
from edge_agent.scoring.golden import verify_golden
from edge_agent.scoring.onnx_runtime import OnnxRuntime
from edge_agent.scoring.runtime import Runtime
from tests.unit.edge_agent.examples import (
    classification_manifest,
    regression_manifest,
    softmax,
    variant_of,
    write_onnx_classifier,
    write_onnx_regressor,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_onnx_classifier(tmp_path / "model.onnx")


def verify(manifest: Manifest, model: Path, tolerance: float = 1e-5, runtime: Runtime | None = None) -> float:
    opened = runtime or OnnxRuntime(model, len(manifest.features), manifest.n_outputs)
    return verify_golden(manifest, variant_of(model, tolerance=tolerance), opened).max_abs_difference


def test_right_answers_pass_and_tell_how_near_they_were(model: Path):
    assert verify(classification_manifest(), model) < 1e-6


def test_a_difference_over_the_tolerance_is_refused_with_the_worst_row(model: Path):
    near, far = softmax([0.0, 1.0]), softmax([1.0, 1.0])
    rows = (
        GoldenRow((0.0, 1.0), (near[0] + 0.001, near[1] - 0.001)),
        GoldenRow((1.0, 1.0), (far[0] + 0.02, far[1] - 0.02)),
        GoldenRow((2.0, 1.0), tuple(softmax([2.0, 1.0]))),
    )
    with pytest.raises(BundleError, match=r"2 of 3 golden rows differ.*worst is row 1.*0\.02 apart, tolerance 1e-05"):
        verify(classification_manifest(golden=rows), model)


def test_the_tolerance_is_that_of_the_library_that_runs_here(model: Path):
    near = softmax([0.0, 1.0])
    manifest = classification_manifest(golden=(GoldenRow((0.0, 1.0), (near[0] + 0.001, near[1] - 0.001)),))
    runtime = OnnxRuntime(model, len(manifest.features), manifest.n_outputs)
    wide = variant_of(model, tolerance=1.0)
    strict = structs.replace(wide, tolerances=(LibraryTolerance("onnxruntime", 1e-5),))
    other = structs.replace(wide, tolerances=(LibraryTolerance("ai-edge-litert", 1e-5),))
    verify_golden(manifest, wide, runtime)
    verify_golden(manifest, other, runtime)
    with pytest.raises(BundleError, match="tolerance 1e-05"):
        verify_golden(manifest, strict, runtime)


def test_another_label_is_refused_even_within_the_tolerance(model: Path):
    rows = (GoldenRow((0.01, 0.0), (0.501, 0.499)),)
    with pytest.raises(BundleError, match="row 0"):
        verify(classification_manifest(golden=rows), model, tolerance=0.05)


def test_a_detector_must_call_the_same_rows_anomalies(tmp_path: Path):
    model = write_onnx_regressor(tmp_path / "model.onnx")
    rows = (GoldenRow((0.001, 0.0), (-0.001,)),)
    verify(regression_manifest(golden=rows), model, 0.05)
    with pytest.raises(BundleError, match="row 0"):
        verify(regression_manifest(golden=rows, task="anomaly"), model, 0.05)


def test_regression_is_judged_by_tolerance_alone(tmp_path: Path):
    model = write_onnx_regressor(tmp_path / "model.onnx")
    assert verify(regression_manifest(golden=(GoldenRow((1.0, 2.0), (2.005,)),)), model, 0.01) == pytest.approx(0.005)
    with pytest.raises(BundleError, match="row 0"):
        verify(regression_manifest(golden=(GoldenRow((1.0, 2.0), (2.02,)),)), model, 0.01)


class Nothing:
    """A runtime that answers NaN in the last place."""

    def __init__(self, n_outputs: int) -> None:
        self._n_outputs = n_outputs

    def score(self, row: Sequence[float]) -> Sequence[float]:
        return [softmax(list(row))[0], math.nan][-self._n_outputs :]

    def score_batch(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        return [list(self.score(row)) for row in rows]

    def close(self) -> None:
        pass


def test_an_answer_that_is_no_number_is_refused_whatever_the_tolerance(model: Path):
    for manifest in (classification_manifest(), regression_manifest()):
        with pytest.raises(BundleError, match="nan apart"):
            verify(manifest, model, tolerance=1e9, runtime=Nothing(manifest.n_outputs))


def test_a_golden_row_that_the_manifest_itself_refuses_is_refused(model: Path):
    manifest = classification_manifest(golden=(GoldenRow((1.0, None), (0.5, 0.5)),))
    with pytest.raises(BundleError, match="golden row 0 cannot be scored"):
        verify(manifest, model)


def test_categories_stand_in_golden_rows_as_their_index(model: Path):
    sky = Feature("sky", dtype="category", categories=("clear", "cloud"))
    manifest = classification_manifest(
        features=(Feature("temperature"), sky), golden=(GoldenRow((1.0, 1.0), tuple(softmax([1.0, 1.0]))),)
    )
    assert verify(manifest, model) < 1e-6
