"""The same TFLite files on tflite-runtime 2.14, which devices with Python 3.11 or older run."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import tests.integration.exporter.tflite_scores as program
from exporter.metrics import labels_of, quality
from exporter.probes import make_probes
from tests.unit.exporter.families import export, learn

pytestmark = pytest.mark.tflite
CHECKOUT = Path(__file__).resolve().parents[3]


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
    learnt = learn(family, data, on_missing)
    report = export(learnt, tmp_path, "tflite-fp32", "tflite-int8")
    probes = make_probes(learnt.model, learnt.evaluation)
    rows = [["NaN" if np.isnan(v) else v for v in row] for row in probes.rows.tolist()]
    for variant in report.accepted:
        job = {"path": str(tmp_path / variant.file), "n_outputs": learnt.model.n_outputs, "rows": rows}
        done = subprocess.run(
            [str(tflite_python), program.__file__],
            input=json.dumps(job).replace('"NaN"', "NaN"),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        assert done.returncode == 0, done.stderr
        got = np.array(json.loads(done.stdout))
        # What devices will check on golden rows, here on every row.
        assert np.max(np.abs(got - probes.expected)) <= variant.tolerance
        own = quality(learnt.metric, learnt.truth, got[: len(learnt.truth)])
        assert own == pytest.approx(variant.quality, abs=0.01)
        if variant.name == "tflite-fp32" and learnt.model.labels:
            assert np.array_equal(labels_of(got), labels_of(probes.expected))
    assert len(report.accepted) == 2
