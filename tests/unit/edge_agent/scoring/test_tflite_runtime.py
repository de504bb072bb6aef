"""The TFLite adapter runs on tflite-runtime, which lives in an environment of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import BundleError, RowError
from edge_agent.scoring import tflite_runtime
from edge_agent.scoring.tflite_runtime import TfliteRuntime
from tests.unit.edge_agent.examples import softmax, write_tflite_classifier

SCORE = """
import json, sys
from pathlib import Path
from edge_agent.scoring import tflite_runtime
assert tflite_runtime.tflite.__name__.startswith("tflite_runtime"), tflite_runtime.tflite.__name__
runtime = tflite_runtime.TfliteRuntime(Path(sys.argv[1]), 2, 2)
print(json.dumps(list(runtime.score([1.0, 2.0]))))
"""


BOUND = """
import sys
from pathlib import Path
import numpy as np
from edge_agent.scoring import tflite_runtime
runtime = tflite_runtime.TfliteRuntime(Path(sys.argv[1]), 2, 2)
bound = runtime.bind(64)
rows, answers, entry, answer = map(np.asarray, (bound.rows, bound.answers, bound.entry, bound.exit))
rows[:] = np.linspace(-2, 2, 128).reshape(64, 2)
expected = [runtime.score(row) for row in rows.tolist()]
bound.run_many(50)
assert np.allclose(answers[:50], expected[:50], atol=1e-6), (answers[:50], expected[:50])
assert not answers[50:].any()
for row, each in zip(rows, expected):
    entry[:] = row
    bound.run()
    assert np.allclose(answer, each, atol=1e-6)
    assert np.allclose(runtime.score(row.tolist()), each, atol=1e-6)
runtime.close()
"""


@pytest.mark.tflite
def test_tflite_runtime_bound_to_buffers_scores_as_before(tflite_python: Path, repository: Path, tmp_path: Path):
    path = write_tflite_classifier(tmp_path / "m.tflite")
    environment = os.environ | {"PYTHONPATH": str(repository)}
    subprocess.run([str(tflite_python), "-c", BOUND, str(path)], check=True, timeout=120, env=environment)


def test_bound_to_buffers_it_scores_many_rows_as_one_by_one(repository: Path, tmp_path: Path):
    path = write_tflite_classifier(tmp_path / "m.tflite")
    environment = os.environ | {"PYTHONPATH": str(repository)}
    subprocess.run([sys.executable, "-c", BOUND, str(path)], check=True, timeout=120, env=environment)


def test_a_large_model_is_not_held_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tflite_runtime, "MAX_TWICE", 100)
    bound = TfliteRuntime(write_tflite_classifier(tmp_path / "m.tflite"), 2, 2).bind(64)
    assert bound is not None
    assert bound.run_many is None


def test_a_model_whose_answers_together_differ_from_those_one_by_one_says_so_each_time(tmp_path: Path):
    path = write_tflite_classifier(tmp_path / "m.tflite")
    rows, answers = np.zeros((8, 2), np.float32), np.zeros((8, 2), np.float32)
    other = tflite_runtime._Together(path, lambda _row: [0.3, 0.7], rows, answers)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="one row at a time"):
            other.run(5)
    assert not answers.any()


def test_a_model_of_integers_is_not_bound(tmp_path: Path):
    assert TfliteRuntime(write_tflite_classifier(tmp_path / "m.tflite", integers=True), 2, 2).bind(4) is None


@pytest.mark.tflite
@pytest.mark.parametrize("integers", [False, True])
def test_tflite_runtime_scores_what_its_successor_scores(
    tflite_python: Path,
    repository: Path,
    tmp_path: Path,
    integers: bool,  # noqa: FBT001
):
    path = write_tflite_classifier(tmp_path / "m.tflite", integers=integers)
    done = subprocess.run(
        [str(tflite_python), "-c", SCORE, str(path)],
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(repository)},
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer == pytest.approx(list(TfliteRuntime(path, 2, 2).score([1.0, 2.0])), abs=1 / 256)
    assert answer == pytest.approx(softmax([1.0, 2.0]), abs=1 / 256)


def test_an_integer_input_saturates_and_refuses_a_missing_value(tmp_path: Path):
    runtime = TfliteRuntime(write_tflite_classifier(tmp_path / "m.tflite", integers=True), 2, 2)
    assert list(runtime.score([1e6, 1e6])) == pytest.approx([0.0, 1.0], abs=1 / 128)
    with pytest.raises(RowError, match="missing"):
        runtime.score([float("nan"), 1.0])


def test_a_cut_model_is_refused(tmp_path: Path):
    path = write_tflite_classifier(tmp_path / "m.tflite")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BundleError, match=r"m\.tflite"):
        TfliteRuntime(path, 2, 2)
