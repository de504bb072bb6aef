"""Exports are proved on tflite-runtime 2.14 too, in its own environment."""

import pytest

from exporter.proof.places import find_places
from exporter.proof.proving import Surroundings
from tests.unit.exporter.families import export, learn

pytestmark = pytest.mark.tflite


@pytest.mark.parametrize(
    ("family", "data", "on_missing"),
    [
        ("mlp", "digits", "refuse"),
        ("tanh mlp", "cancer", "refuse"),
        ("logistic mlp", "cancer", "refuse"),
        ("imputed mlp", "cancer", "flag"),
        ("logistic", "cancer", "refuse"),
        ("rescaled mlp", "diabetes", "refuse"),
        ("ridge", "diabetes", "refuse"),
    ],
)
def test_files_answer_alike_on_tflite_runtime(family, data, on_missing, tmp_path, tflite_python):
    places = find_places({"FIELDLOOP_TFLITE_PYTHON": str(tflite_python)})
    learnt = learn(family, data, on_missing)
    report = export(learnt, tmp_path, "tflite-fp32", "tflite-int8", surroundings=Surroundings(places, weighs=False))
    assert len(report.accepted) == 2, [variant.verdict for variant in report.variants]
    for variant in report.accepted:
        here, other = variant.runs
        assert {here.name, other.name} == {"ai-edge-litert", "tflite-runtime"}
        assert here.parity is not None
        assert other.parity is not None
        assert other.quality == pytest.approx(here.quality, abs=0.01)
        assert other.from_first <= variant.tolerance
        if variant.name == "tflite-fp32":
            assert other.parity.label_flips == 0
            assert other.from_first <= 2e-6 * max(1, other.parity.scale)
