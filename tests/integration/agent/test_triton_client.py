"""NVIDIA's own client of the Open Inference Protocol asks a real agent."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bundles import FEATURES, LABELS
from tests.integration.agent.conftest import Fleet
from tests.integration.agent.test_live_sources import Client, start
from tests.waiting import wait_until

ASKS = Path(__file__).with_name("triton_asks.py")


@pytest.fixture
def told(one_fleet: Fleet, free_port: int, triton_python: Path):
    station = one_fleet.station(live=f'kind = "http"\nport = {free_port}')
    start(one_fleet, station)
    wait_until(Client(free_port).is_ready, 30, "the agent is ready")
    command = [str(triton_python), str(ASKS), f"127.0.0.1:{free_port}", "toy"]
    asked = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert asked.returncode == 0, asked.stderr
    answer: dict[str, Any] = json.loads(asked.stdout)
    yield answer
    assert station.stop() == 0


def test_the_client_of_triton_is_told_all_that_the_protocol_has(told: dict[str, Any]):
    assert (told["live"], told["ready"], told["model_ready"], told["version_ready"]) == (True, True, True, True)
    assert told["other_version_ready"] is False
    assert told["server"]["extensions"] == ["binary_tensor_data"]
    assert told["model"]["inputs"] == [{"name": "rows", "datatype": "FP32", "shape": [-1, len(FEATURES)]}]
    assert [output["name"] for output in told["model"]["outputs"]][:2] == ["label", "confidence"]
    # Each form of the rows, as JSON and as bytes, has the same answer.
    answers = [told[f"{form}_{coding}"] for form in ("rows", "columns") for coding in ("json", "binary")]
    assert answers[0]["label"] == ["high", "low", "high"]
    for answer in answers:
        assert answer["label"] == answers[0]["label"]
        assert answer["confidence"] == answers[0]["confidence"]
        assert np.allclose(np.sum(answer["probabilities"], axis=1), 1.0)
    assert told["everything"] == {"label": [3], "probabilities": [3, len(LABELS)], "prediction_id": [3]}
    assert told["id"] == "r-1"
    assert "a row has 3 values" in told["refused_width"]
    assert "missing" in told["refused_gap"]
