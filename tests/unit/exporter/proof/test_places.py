import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import BundleError
from edge_agent.scoring.implementations import MODULES, implementation_of
from exporter.proof.intervals import Judge
from exporter.proof.places import Job, MissingPlace, NotRunError, PythonPlace, find_places, link_packages
from exporter.proof.probes import make_probes
from exporter.proof.proving import Prover, Surroundings
from exporter.proof.runtimes import CLAIMS, installed_version
from tests.conftest import REPOSITORY
from tests.unit.exporter.families import export, learn
from tests.unit.exporter.repositories import SetClock


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small ONNX file and what it must answer."""
    folder = tmp_path_factory.mktemp("file")
    learnt = learn("logistic", "cancer")
    (variant,) = export(learnt, folder, "onnx-fp32").variants
    return folder / variant.file, learnt


HERE = PythonPlace("onnx", "onnxruntime", Path(sys.executable))


def job(file, **changes):
    path, learnt = file
    return Job(**{"runtime": "onnx", "path": path, "rows": learnt.evaluation, "n_outputs": 2, **changes})


def test_another_process_answers_as_the_original_and_is_weighed_and_timed(file):
    answer = HERE.run(job(file))
    assert np.abs(answer.outputs - file[1].model.outputs(file[1].evaluation)).max() < 1e-5
    assert answer.implementation.startswith("onnxruntime 1.")
    assert answer.memory is not None
    assert 1e6 < answer.memory.runtime_bytes < answer.memory.peak_bytes < 500e6
    assert answer.memory.pss_bytes > 1e6
    assert answer.latency is not None
    assert answer.latency.median_us <= answer.latency.p99_us


def test_what_is_not_asked_for_is_not_done(file):
    answer = HERE.run(job(file, scores=False, weighs=False, times=False))
    assert (len(answer.outputs), answer.memory, answer.latency) == (0, None, None)


def test_missing_values_arrive_as_such(tmp_path):
    learnt = learn("imputed mlp", "cancer", "flag")
    export(learnt, tmp_path, "onnx-fp32")
    rows = learnt.evaluation.copy()
    rows[:, 3] = np.nan
    answer = HERE.run(Job("onnx", tmp_path / "model.fp32.onnx", rows, 2, weighs=False, times=False))
    assert np.abs(answer.outputs - learnt.model.outputs(rows)).max() < 1e-5


def test_a_file_that_the_runtime_refuses_is_the_variants_fault(file, tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError, match="cannot load it"):
        HERE.run(job(file, path=tmp_path / "no.onnx"))


def test_a_runtime_that_dies_is_the_variants_fault(file, tmp_path):
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nkill -SEGV $$\n")
    dying.chmod(0o755)
    with pytest.raises(BundleError, match="onnxruntime ended by signal 11 while it ran"):
        PythonPlace("onnx", "onnxruntime", dying).run(job(file))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("#!/bin/sh\necho 'No module named numpy' >&2; exit 1\n", "No module named numpy"),
        (f"#!/bin/sh\nPYTHONPATH= exec {sys.executable} -S -m exporter.proof.child\n", "python"),
    ],
)
def test_a_python_that_cannot_run_it_says_nothing_of_the_variant(program, message, file, tmp_path):
    broken = tmp_path / "python"
    broken.write_text(program)
    broken.chmod(0o755)
    with pytest.raises(NotRunError, match=message):
        PythonPlace("onnx", "onnxruntime", broken).run(job(file))


def test_a_python_that_is_not_there_says_nothing_of_the_variant(file, tmp_path):
    with pytest.raises(NotRunError, match="No such file"):
        PythonPlace("onnx", "onnxruntime", tmp_path / "none").run(job(file))


def test_a_python_with_another_library_than_the_claimed_one_is_not_taken_for_it(file):
    with pytest.raises(NotRunError, match="has onnxruntime instead"):
        PythonPlace("onnx", "tflite-runtime", Path(sys.executable)).run(job(file, weighs=False, times=False))


def test_an_environment_is_found_by_its_variable_or_beside_this_one(tmp_path):
    other = next(name for name in CLAIMS["tflite"] if name != implementation_of("tflite"))
    variable = {"tflite-runtime": "FIELDLOOP_TFLITE_PYTHON", "ai-edge-litert": "FIELDLOOP_LITERT_PYTHON"}[other]
    named = find_places({variable: sys.executable}, tmp_path / "venv")
    assert [(p.implementation, type(p)) for p in named if p.runtime == "tflite"] == [(other, PythonPlace)]
    usual = {"tflite-runtime": ".venv-tflite", "ai-edge-litert": ".venv-litert"}[other]
    (tmp_path / usual / "bin").mkdir(parents=True)
    (tmp_path / usual / "bin" / "python").touch()
    beside = [p for p in find_places({}, tmp_path / "venv") if isinstance(p, PythonPlace) and p.runtime == "tflite"]
    assert [p.python for p in beside] == [tmp_path / usual / "bin" / "python"]


def test_a_library_that_is_nowhere_is_a_place_that_says_so(tmp_path, file):
    (missing,) = [p for p in find_places({"FIELDLOOP_TFLITE_PYTHON": str(tmp_path / "none")}) if p.runtime == "tflite"]
    if not isinstance(missing, MissingPlace):
        pytest.skip("tflite-runtime is installed in this very environment")
    with pytest.raises(NotRunError, match=f"no environment with it at {tmp_path}/none; FIELDLOOP_TFLITE_PYTHON"):
        missing.run(job(file))


def test_a_variant_that_runs_in_no_library_is_refused_with_each_reason(file, monkeypatch):
    monkeypatch.setitem(MODULES, "onnx", ("no_such_module",))
    path, learnt = file
    surroundings = Surroundings((MissingPlace("onnx", "onnxruntime", "lost"),), weighs=False)
    judge = Judge("accuracy", learnt.truth, np.random.default_rng(0))
    probes = make_probes(learnt.model, learnt.evaluation)
    prover = Prover(learnt.model, probes, judge, 0.0, SetClock(), surroundings)
    with pytest.raises(BundleError, match="it ran nowhere: onnxruntime: lost"):
        prover.prove("onnx", path, is_quantised=False, is_exact=False)


class Wrong:
    """A place whose answers are those of another model."""

    runtime, implementation = "onnx", "onnxruntime"

    def __init__(self, change):
        self.change = change

    def run(self, job):
        answer = HERE.run(job)
        return type(answer)(
            self.change(answer.outputs), "onnxruntime of elsewhere", answer.where, answer.memory, answer.latency
        )


def test_a_variant_that_fails_on_one_library_only_is_refused_with_its_name(tmp_path):
    learnt = learn("logistic", "cancer")
    surroundings = Surroundings((Wrong(lambda outputs: outputs[:, ::-1]),), weighs=False)
    (variant,) = export(learnt, tmp_path, "onnx-fp32", surroundings=surroundings).variants
    assert not variant.accepted
    assert variant.refusal.startswith("on onnxruntime of elsewhere: ")
    assert "rows get another label" in variant.refusal
    first, second = variant.runs
    assert (first.refusal, second.from_first > 0.1) == ("", True)
    assert variant.failed is second.parity
    assert variant.failed is not None
    assert all(row.matters for row in variant.failed.worst)


def test_each_library_has_its_own_tolerance_and_the_variant_the_widest(tmp_path):
    learnt = learn("mlp", "cancer")
    surroundings = Surroundings((Wrong(lambda outputs: outputs + 1e-3),), weighs=False)
    (variant,) = export(learnt, tmp_path, "onnx-int8", surroundings=surroundings).variants
    tolerances = [run.tolerance for run in variant.runs]
    assert variant.tolerance == max(tolerances)
    assert tolerances[0] != tolerances[1]


@pytest.mark.tflite
def test_the_other_tflite_library_is_run_in_its_environment(tmp_path, tflite_python):
    learnt = learn("imputed mlp", "cancer", "flag")
    environ = {**os.environ, "FIELDLOOP_TFLITE_PYTHON": str(tflite_python)}
    surroundings = Surroundings(find_places(environ), weighs=False)
    report = export(learnt, tmp_path, "tflite-fp32", "tflite-int8", surroundings=surroundings)
    for variant in report.variants:
        assert {run.name for run in variant.runs} == {"tflite-runtime", "ai-edge-litert"}
        assert all(run.parity is not None and run.memory is not None for run in variant.runs[1:])


def test_a_library_that_is_not_there_has_no_version():
    assert not installed_version("")
    assert not installed_version("native")


def test_our_own_engine_is_told_to_be_built_and_never_to_be_installed_from_an_index(monkeypatch):
    monkeypatch.setattr("exporter.proof.places.implementation_of", lambda _: "")
    told = {place.implementation: place.reason for place in find_places({}) if isinstance(place, MissingPlace)}
    assert told["native"] == "not built here: python -m edge_agent.engine.compile"
    assert told["onnxruntime"] == "not installed: pip install onnxruntime"


def test_a_child_that_has_no_engine_names_the_folder_that_stays(tmp_path):
    link_packages(tmp_path / "lib")
    told = """import sys
from edge_agent.engine import loading
loading.find_library = lambda: None
try:
    loading.load_engine()
except ImportError as error:
    sys.stdout.write(str(error))
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "lib")}
    run = subprocess.run(
        [sys.executable, "-P", "-c", told], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert f"in {REPOSITORY / 'edge_agent' / 'engine' / 'lib'}; build it: " in run.stdout
