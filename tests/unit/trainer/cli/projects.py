"""Small projects for tests of the commands."""

import csv
from pathlib import Path

import numpy as np

N_ROWS = 400

SMALL_PROJECT = """\
name = "quality"

[data]
path = ["rows.csv"]

[target]
column = "quality"
task = "classification"

[training]
candidates = ["forest"]
trials = 1
blocks = 2

[export]
variants = ["onnx-fp32"]

[gate]
min_gain_over_baseline = {min_gain}
# Tests promote the same model again and again.
max_chance = 1.0

[[features]]
name = "pressure"

[[features]]
name = "vibration"
"""


def write_small_project(folder: Path, *, min_gain: float = 0.0) -> Path:
    """Write a project whose run takes seconds; a gain of more than 1 over the baseline is refused by the gate."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(N_ROWS, 2))
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("pressure", "vibration", "quality"))
        writer.writerows((f"{a:.4f}", f"{b:.4f}", "good" if a + b > 0 else "scrap") for a, b in rows)
    (folder / "fieldloop.toml").write_text(SMALL_PROJECT.format(min_gain=min_gain), encoding="utf-8")
    return folder
