"""NVIDIA's own client of the Open Inference Protocol asks the service, with the same questions as it asks a device."""

import json
import subprocess
from pathlib import Path

import numpy as np

from tests.bundles import FEATURES, LABELS, make_bundle
from tests.conftest import REPOSITORY
from tests.serving import running

ASKS = REPOSITORY / "tests" / "integration" / "agent" / "triton_asks.py"


def test_the_client_of_triton_is_told_all_that_the_protocol_has(tmp_path: Path, triton_python: Path):
    with running(make_bundle(tmp_path / "bundle")) as service:
        command = [str(triton_python), str(ASKS), f"127.0.0.1:{service.port}", "toy"]
        asked = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    assert (told["live"], told["ready"], told["model_ready"], told["version_ready"]) == (True, True, True, True)
    assert told["other_version_ready"] is False
    assert told["server"]["extensions"] == ["binary_tensor_data"]
    assert told["model"]["inputs"] == [{"name": "rows", "datatype": "FP32", "shape": [-1, len(FEATURES)]}]
    # Each form of the rows, as JSON and as bytes, has the same answer.
    answers = [told[f"{form}_{coding}"] for form in ("rows", "columns") for coding in ("json", "binary")]
    for answer in answers:
        assert answer == answers[0]
        assert answer["label"] == ["high", "low", "high"]
        assert np.allclose(np.sum(answer["probabilities"], axis=1), 1.0)
    assert told["everything"] == {"label": [3], "probabilities": [3, len(LABELS)], "prediction_id": [3]}
    assert told["id"] == "r-1"
    assert "a row has 3 values" in told["refused_width"]
    assert "missing" in told["refused_gap"]
