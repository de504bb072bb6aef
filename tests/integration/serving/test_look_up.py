"""``fieldloop serve --look-up`` on a real feature store and a real online store, asked by NVIDIA's own client."""

import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.integration.serving.conftest import client_of, serving
from tests.looked_up import write_views

NAMES = Path(__file__).with_name("triton_names.py")
_NUMBERS = count()


@pytest.fixture(params=["sqlite", "postgresql"])
def online(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'online.db'}"
    return request.getfixturevalue("postgres").new_database(f"served_{next(_NUMBERS)}")


@pytest.mark.slow
def test_machines_are_named_instead_of_their_features(shop, tmp_path, online, triton_python, monkeypatch):
    # A password belongs into the environment, and the service finds it there.
    monkeypatch.setenv("FIELDLOOP_STORES_ONLINE", online)
    (tmp_path / "rows.csv").write_text(
        "machine_id,event_timestamp,b,c,d\nm1,NOW,2.0,0.5,9\nm2,NOW,-2.0,-0.5,9\n".replace("NOW", _now()),
        encoding="utf-8",
    )
    for command in (("register", write_views(tmp_path)), ("push", "machines", tmp_path / "rows.csv"), ("materialize",)):
        _features(*command, "--project", shop.folder)
    with serving("toy/1", "--project", shop.folder, "--look-up", "machines") as (_, port):
        asked = subprocess.run(
            [str(triton_python), str(NAMES), f"127.0.0.1:{port}", "toy"],
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        status, whole = client_of(port).infer((1.0, 2.0, 0.5), (-1.0, -2.0, -0.5))
    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    (expected,) = [output for output in whole["outputs"] if output["name"] == "probabilities"]
    assert status == 200
    for coding in ("json", "binary"):
        np.testing.assert_allclose(np.ravel(told[coding]), expected["data"], rtol=1e-6)
    assert told["unknown"] == "missing: feature 'b' has no value: view 'machines' knows no machine_id 'm9'"
    assert told["parameters"]["entity_lookup"][0]["keys"] == [{"name": "machine_id", "datatype": "BYTES"}]


def _now() -> str:
    run = subprocess.run(["date", "-u", "+%Y-%m-%dT%H:%M:%SZ"], check=True, capture_output=True, text=True)
    return run.stdout.strip()


def _features(*arguments: object) -> None:
    command = [sys.executable, "-P", "-m", "trainer.cli", "features", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
