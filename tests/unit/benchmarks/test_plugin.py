import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
def bench_one(record_ratio):
    record_ratio("one", ours=1.0, peer=2.0, reach=1.0, unit="s", runs=3)

def bench_two(record_ratio, benchmark):
    benchmark.pedantic(lambda: None, rounds=3)
    record_ratio("two", ours=2.0, peer=1.0, reach=1.0, unit="s", runs=3)
"""


@pytest.fixture
def checkout(tmp_path: Path, repository: Path) -> Path:
    """A folder with the harness and one area of our own."""
    shutil.copytree(
        repository / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("bench_*", "__pycache__")
    )
    shutil.copy(repository / "pyproject.toml", tmp_path)
    (tmp_path / "benchmarks" / "bench_sample.py").write_text(MODULE)
    return tmp_path


def test_an_area_leaves_its_results_as_data_and_in_the_terminal(checkout: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks/bench_sample.py"],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    results = json.loads((checkout / "build" / "bench" / "sample.json").read_text())
    assert [(each["name"], each["met"]) for each in results] == [("one", True), ("two", False)]
    assert "NOT MET" in run.stdout
    assert run.stdout.strip().splitlines()[-1].strip("= ").startswith("2 passed"), "pytest's line stays the last"
