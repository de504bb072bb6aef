"""The whole loop on the rainfall data: the fleet with the loop against the same fleet that keeps its first bundle.

Both answer the same rows, all that came after the first switch. The goal is 5 points, with each seed and in the mean;
as a ratio: (static + 5) / static. About three minutes a seed; ``FIELDLOOP_BENCH_SEEDS=1,2`` bounds them.
"""

import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import pytest

SEEDS: Final = tuple(int(seed) for seed in os.environ.get("FIELDLOOP_BENCH_SEEDS", "1,2,3,4,5").split(","))
GOAL_POINTS: Final = 5.0
SEED_S: Final = 900.0


class Device(msgspec.Struct, frozen=True):
    """What the demo's summary says of one device."""

    rows_scored: int
    quality_before: float | None


class Summary(msgspec.Struct, frozen=True):
    """What the demo's summary says; accuracies are None where no device switched."""

    static_accuracy: float | None
    loop_accuracy: float | None
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Accuracies of one seed, in points of a hundred."""

    static: float
    loop: float
    has_switched: bool


def outcome_of(summary: Summary) -> Outcome:
    """Return the accuracies to compare; a loop that never switched is its static self: it gained nothing."""
    if summary.static_accuracy is not None and summary.loop_accuracy is not None:
        return Outcome(100 * summary.static_accuracy, 100 * summary.loop_accuracy, has_switched=True)
    judged = [(each.quality_before, each.rows_scored) for each in summary.devices if each.quality_before is not None]
    accuracy = 100 * sum(quality * rows for quality, rows in judged) / sum(rows for _, rows in judged)
    return Outcome(accuracy, accuracy, has_switched=False)


@pytest.mark.timeout(SEED_S * len(SEEDS) + 60)
def bench_loop_against_static(tmp_path, record_ratio) -> None:
    outcomes = [_run_demo(seed, tmp_path / f"seed-{seed}") for seed in SEEDS]
    for seed, outcome in zip(SEEDS, outcomes, strict=True):
        gain = f"{outcome.loop - outcome.static:+.1f} points" if outcome.has_switched else "no update was made"
        _record(record_ratio, f"seed {seed}: loop / static, {gain}", [outcome])
    mean = statistics.mean(outcome.loop - outcome.static for outcome in outcomes)
    _record(record_ratio, f"mean of {len(SEEDS)} seeds: loop / static, {mean:+.1f} points", outcomes)


def _record(record_ratio, name: str, outcomes: list[Outcome]) -> None:
    static = statistics.mean(outcome.static for outcome in outcomes)
    record_ratio(
        name,
        ours=statistics.mean(outcome.loop for outcome in outcomes),
        peer=static,
        reach=(static + GOAL_POINTS) / static,
        unit="% of rows right",
        runs=len(outcomes),
        higher_is_better=True,
    )


def _run_demo(seed: int, folder: Path) -> Outcome:
    command = [sys.executable, "-m", "trainer.cli", "demo", "--data", "rainfall", "--seed", str(seed)]
    run = subprocess.run(
        [*command, "--folder", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SEED_S,
        check=False,
    )
    assert run.returncode == 0, run.stdout.decode(errors="replace")[-4000:]
    return outcome_of(msgspec.json.decode((folder / "summary.json").read_bytes(), type=Summary))
