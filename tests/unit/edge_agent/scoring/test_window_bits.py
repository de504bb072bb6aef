"""Features of fixed readings have the bits that they had when their definitions were laid down, on every numpy.

A model was trained on these bits. Where this fails, a definition changed, or a numpy adds or transforms in another
order: then models are given other numbers than they were trained on, if only in the last digit.
"""

import os
import subprocess
from pathlib import Path
from typing import Final

from tests.conftest import REPOSITORY
from tests.unit.edge_agent.scoring.window_bits import digest

EXPECTED: Final = "6dac4f2db9a8c1dd784d77f754da910b354ac266ca0d2d8a3a54701663e8157b"


def test_the_features_of_fixed_readings_have_the_same_bits_as_ever():
    assert digest() == EXPECTED


def test_an_older_numpy_makes_the_same_bits(tflite_python: Path):
    told = subprocess.run(
        [tflite_python, "-P", "-m", "tests.unit.edge_agent.scoring.window_bits"],
        check=True,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OPENBLAS_NUM_THREADS": "1"},
    )
    found, _, version = told.stdout.strip().rpartition(" numpy ")
    assert version.startswith("1.26.")
    assert found == EXPECTED
