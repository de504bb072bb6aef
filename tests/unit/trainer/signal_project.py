"""A project over raw readings, for tests of what reads them: a machine that shakes faster when its bearing is worn."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 100.0
N_RECORDINGS = 12
N_READINGS = 400
LABELS = ("good", "worn")

SIGNAL_PROJECT = """\
name = "bearing"

[data]
path = ["readings.csv"]

[target]
column = "state"
task = "classification"

[signal]
rate_hz = 100
size = 64
step = 32
time = "t"
recording = "run"
label = "last"
bands = [{ low_hz = 5, high_hz = 15 }, { low_hz = 15, high_hz = 50 }]

[[signal.channels]]
name = "x"
unit = "m/s^2"
statistics = ["mean", "std", "rms", "min", "max", "peak_to_peak", "zero_crossings", "band_energy"]

[[signal.channels]]
name = "y"
statistics = ["rms", "mean_crossings"]

[training]
candidates = ["forest"]
trials = 1
blocks = 2

[export]
variants = ["onnx-fp32", "native"]
"""


def shake(state: int, rng: np.random.Generator, n: int = N_READINGS) -> NDArray[np.float64]:
    """Two channels, ``(n, 2)``: 8 Hz, and, when worn, a little 23 Hz; both with noise."""
    t = np.arange(n) / RATE_HZ
    x = np.sin(2 * np.pi * 8.0 * t + rng.uniform(0, 6)) + 0.3 * state * np.sin(2 * np.pi * 23.0 * t)
    y = 0.5 * np.cos(2 * np.pi * 8.0 * t)
    return np.round(np.column_stack([x, y]) + 0.25 * rng.normal(size=(n, 2)), 4)


def write_readings(path: Path, recordings: list[tuple[str, int, NDArray[np.float64]]]) -> None:
    """Write recordings, each a name, a state and its readings, one after the other; an hour lies between two."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("t", "run", "x", "y", "state"))
        for place, (name, state, readings) in enumerate(recordings):
            for n, (x, y) in enumerate(readings):
                values = ("" if np.isnan(v) else f"{v:.4f}" for v in (x, y))
                writer.writerow((f"{3600 * place + n / RATE_HZ:.2f}", name, *values, LABELS[state]))


def write_signal_project(folder: Path, *, changes: tuple[tuple[str, str], ...] = ()) -> Path:
    """Write a project whose run takes seconds; ``changes`` are texts of its file, and what they become."""
    rng = np.random.default_rng(1)
    write_readings(folder / "readings.csv", [(f"r{n}", n % 2, shake(n % 2, rng)) for n in range(N_RECORDINGS)])
    text = SIGNAL_PROJECT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "fieldloop.toml").write_text(text, encoding="utf-8")
    return folder
