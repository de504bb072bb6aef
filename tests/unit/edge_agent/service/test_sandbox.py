"""The unit forbids memory that is both writable and executable, and docstrings: every runtime scores without."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

# As MemoryDenyWriteExecute= has it, by prctl(2) of Linux 6.3.
SCORE = """
import ctypes, json, mmap, sys
from pathlib import Path
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    sys.exit(99)
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    pass
else:
    sys.exit("it is not forbidden")
from edge_agent.scoring.loading import open_runtime
from tests.unit.edge_agent import examples
name, runtime, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
path = getattr(examples, f"write_{runtime}_classifier")(folder / "model")
variant = examples.variant_of(path, name, runtime)
scorer = open_runtime(variant, folder, examples.classification_manifest(variants=(variant,)))
print(json.dumps([list(scorer.score([1.0, 2.0])), examples.softmax([1.0, 2.0])]))
"""


@pytest.mark.parametrize(("name", "runtime"), [("native", "native"), ("onnx-fp32", "onnx"), ("tflite-fp32", "tflite")])
def test_a_runtime_scores_without_docstrings_and_memory_that_is_writable_and_executable(
    name: str, runtime: str, tmp_path: Path
):
    done = subprocess.run(
        [sys.executable, "-OO", "-c", SCORE, name, runtime, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    if done.returncode == 99:
        pytest.skip("this kernel cannot forbid it: Linux 6.3 or newer")
    assert done.returncode == 0, done.stderr
    scored, expected = json.loads(done.stdout)
    assert scored == pytest.approx(expected, abs=1e-5)
