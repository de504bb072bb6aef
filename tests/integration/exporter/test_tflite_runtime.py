"""The same TFLite files on tflite-runtime 2.14, which devices with Python 3.11 or older run."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import tests.integration.exporter.tflite_scores as program
from edge_agent.bundle import Feature
from exporter.material import Material
from exporter.models.metrics import labels_of, quality
from exporter.models.model import FittedModel
from exporter.programs.interpreter import run_program
from exporter.proof.ties import margins_of
from exporter.tflite.target import convert_tflite_fp32, convert_tflite_int8
from tests.unit.exporter.families import fit, learn, load
from tests.unit.exporter.tflite_files import ENSEMBLES, PROGRAMS, answer, assert_close, float_file, small_file

pytestmark = pytest.mark.tflite
CHECKOUT = Path(__file__).resolve().parents[3]
LEARNT = [
    *((family, "digits", "refuse") for family in ("mlp", "logistic", "forest", "scaled forest", "boosting")),
    *((family, "cancer", "refuse") for family in ("tanh mlp", "logistic mlp", "logistic", "columns", "boosting")),
    *((family, "cancer", "flag") for family in ("imputed mlp", "imputed trees", "forest")),
    *((family, "diabetes", "refuse") for family in ("rescaled mlp", "ridge", "forest regressor", "trees regressor")),
]
# Fitted on wine; the first on digits.
OTHERS = {
    "projected": lambda: make_pipeline(StandardScaler(), PCA(20), LogisticRegression(max_iter=50)),
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=10, random_state=0),
    "pairs that vote": lambda: make_pipeline(StandardScaler(), SVC()),
    "coupled pairs": lambda: make_pipeline(StandardScaler(), SVC(probability=True, random_state=0)),
    "scaled forest of three": lambda: make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)),
}


def score(tflite_python, folder, files):
    """Score every ``name: (data, rows, n_outputs)`` with tflite-runtime; return the answers by name."""
    named = {f"file{number}": file for number, file in enumerate(files.values())}
    for name, (data, rows, _) in named.items():
        (folder / f"{name}.tflite").write_bytes(data)
        np.save(folder / f"{name}.npy", rows)
    job = {"folder": str(folder), "files": [{"name": n, "n_outputs": width} for n, (_, _, width) in named.items()]}
    done = subprocess.run(
        [str(tflite_python), program.__file__],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert done.returncode == 0, done.stderr
    return {asked: np.load(folder / f"{name}.out.npy") for asked, name in zip(files, named, strict=True)}


def without_infinity(rows):
    return rows[~np.isinf(rows).any(axis=1)]


@pytest.fixture(scope="module")
def operations(tflite_python, tmp_path_factory):
    """Every operation's answers, in float32 and, where it has numbers, in int8."""
    files = {}
    for name, (written, all_rows, _) in PROGRAMS.items():
        rows = without_infinity(all_rows)
        files[name] = (float_file(written), rows, written.n_outputs)
        if name in ENSEMBLES:
            files[f"{name}, small"] = (small_file(written, rows), rows, written.n_outputs)
    return score(tflite_python, tmp_path_factory.mktemp("operations"), files)


@pytest.mark.parametrize("case", PROGRAMS)
def test_an_operation_answers_as_it_is_meant(case, operations):
    written, rows, tolerance = PROGRAMS[case]
    assert_close(operations[case], run_program(written, without_infinity(rows)), max(tolerance, 1e-6))


@pytest.mark.parametrize("case", ENSEMBLES)
def test_small_trees_take_the_same_paths(case, operations):
    written, rows, _ = PROGRAMS[case]
    assert_close(operations[f"{case}, small"], run_program(written, without_infinity(rows)), 5e-4)


def other(name):
    rows, truth = load("digits") if name == "projected" else load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(rows))
    return fit(OTHERS[name](), rows[order].astype(np.float32), truth[order])


@pytest.fixture(scope="module")
def models():
    """Fitted models by name."""
    return {
        **{f"{family} on {data}, {missing}": learn(family, data, missing) for family, data, missing in LEARNT},
        **{name: other(name) for name in OTHERS},
    }


def asked_of(learnt):
    """Return rows that the model was not trained on, with missing values where its features may lack."""
    rows = learnt.evaluation[:300].copy()
    if learnt.model.features[0].on_missing == "flag":
        rows[np.random.default_rng(0).random(rows.shape) < 0.05] = np.nan
    return rows


@pytest.fixture(scope="module")
def answers(models, tflite_python, tmp_path_factory):
    """The answers of both variants of every model on both runtimes, by (runtime, variant, model)."""
    files, found = {}, {}
    for name, learnt in models.items():
        material = Material(learnt.model, learnt.training)
        for variant, convert in (("tflite-fp32", convert_tflite_fp32), ("tflite-int8", convert_tflite_int8)):
            files[variant, name] = (convert(material), asked_of(learnt), learnt.model.n_outputs)
    folder = tmp_path_factory.mktemp("models")
    for key, got in score(tflite_python, folder, files).items():
        found["tflite-runtime", *key] = got
    for key, (data, rows, n_outputs) in files.items():
        found["ai-edge-litert", *key] = answer(data, rows, n_outputs, folder)
    return found


NAMES = [*(f"{family} on {data}, {missing}" for family, data, missing in LEARNT), *OTHERS]
RUNTIMES = ["tflite-runtime", "ai-edge-litert"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_float_file_answers_as_the_original(runtime, name, models, answers):
    model, got = models[name].model, answers[runtime, "tflite-fp32", name]
    expected = model.outputs(asked_of(models[name]))
    assert_close(got, expected, 2e-6)
    if model.labels:
        is_clear = margins_of("classification", expected) >= 1e-5
        assert np.array_equal(labels_of(got)[is_clear], labels_of(expected)[is_clear])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_int8_file_loses_a_point_at_most(runtime, name, models, answers):
    learnt, got = models[name], answers[runtime, "tflite-int8", name]
    expected, truth = learnt.model.outputs(asked_of(learnt)), learnt.truth[:300]
    loss = quality(learnt.metric, truth, expected) - quality(learnt.metric, truth, got)
    assert loss <= 0.01


def test_anomalies_are_scored_alike(tflite_python, tmp_path):
    rows, _ = load("cancer")
    estimator = IsolationForest(n_estimators=20, random_state=0).fit(rows[:400])
    model = FittedModel(estimator, "anomaly", tuple(Feature(f"f{i}") for i in range(30)))
    data = convert_tflite_fp32(Material(model, rows[:400]))
    got = score(tflite_python, tmp_path, {"anomaly": (data, rows[400:], 1)})["anomaly"]
    assert_close(got, model.outputs(rows[400:]), 2e-6)
