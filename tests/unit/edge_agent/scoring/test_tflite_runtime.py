"""The TFLite adapter runs on tflite-runtime, which lives in an environment of its own."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from edge_agent.errors import BundleError, RowError
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
