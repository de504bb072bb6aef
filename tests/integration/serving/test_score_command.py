"""``fieldloop score`` as a process: killed and started again, on a file of millions of rows, in constant memory."""

import json
import os
import pty
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bundles import FEATURES, make_bundle
from tests.conftest import REPOSITORY
from tests.waiting import wait_until

MILLION = 1_000_000
# What the same work takes more or less from run to run; a million rows of the file are 28 MB in memory.
NOISE_BYTES = 40 << 20

# The peak of the process alone: what the system tells its parent holds the parent's own, from before exec.
_AND_TELL_MEMORY = """
import sys
from trainer.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
peak = next(line for line in open("/proc/self/status", encoding="ascii") if line.startswith("VmHWM"))
sys.stderr.write(peak)
"""


def write_rows(path: Path, n_rows: int) -> Path:
    """Write rows with an id, a million at a time; some are refused."""
    rng = np.random.default_rng(4)
    schema = pa.schema([("id", pa.int64()), *((name, pa.float64()) for name in FEATURES)])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, n_rows, MILLION):
            values = rng.normal(size=(len(FEATURES), MILLION))
            values[0, ::100_000] = np.nan
            writer.write_table(pa.table([np.arange(start, start + MILLION), *values], schema=schema))
    return path


def started(rows: Path, out: Path, model: Path, stderr: int | None = None) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-m", "trainer.cli", "score", str(rows), str(out), "--model", str(model)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm"}
    arguments = [*command, "--keep", "id", "--json"]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=stderr)


def score(rows: Path, out: Path, model: Path) -> tuple[dict[str, object], int]:
    """Score a file in a process; return what is told of it and the most memory that it held, in bytes."""
    command = [sys.executable, "-P", "-c", _AND_TELL_MEMORY, "score", str(rows), str(out), "--model", str(model)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(
        [*command, "--keep", "id", "--json"], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout), int(run.stderr.split()[-2]) * 1024


@pytest.mark.slow
def test_millions_of_rows_take_the_memory_of_one_and_a_kill_costs_no_row(tmp_path: Path):
    model = make_bundle(tmp_path / "bundle")
    one, four = (write_rows(tmp_path / f"{n}.parquet", n * MILLION) for n in (1, 4))
    _, one_bytes = score(one, tmp_path / "one.parquet", model)
    told, four_bytes = score(four, tmp_path / "four.parquet", model)
    assert (told["n_rows"], told["refused"]) == (4 * MILLION, {"missing": 40})
    assert four_bytes < one_bytes + NOISE_BYTES

    out = tmp_path / "again.parquet"
    parts = tmp_path / "again.parquet.parts"
    with started(four, out, model) as process:
        wait_until((parts / "part-000002.arrow").exists, 60, "some parts are done")
        process.kill()
    assert process.returncode == -9
    assert not out.exists()
    told, _ = score(four, out, model)
    resumed = told["resumed_rows"]
    assert isinstance(resumed, int)
    assert 0 < resumed < 4 * MILLION
    assert out.read_bytes() == (tmp_path / "four.parquet").read_bytes()
    assert not parts.exists()


def test_a_terminal_is_shown_how_far_it_is_and_nothing_else_is(tmp_path: Path):
    rows, model = write_rows(tmp_path / "rows.parquet", MILLION), make_bundle(tmp_path / "bundle")
    ours, theirs = pty.openpty()
    try:
        with started(rows, tmp_path / "shown.parquet", model, stderr=theirs) as process:
            os.close(theirs)
            shown = b"".join(iter(partial(_read, ours), b""))
            assert process.wait(120) == 0
    finally:
        os.close(ours)
    assert b"rows.parquet" in shown
    assert b"1000000/1000000" in shown
    assert "━".encode() in shown
    with started(rows, tmp_path / "silent.parquet", model, stderr=subprocess.PIPE) as process:
        assert process.communicate(timeout=120)[1] == b""


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        # Linux tells the end of a terminal so.
        return b""


def test_a_model_of_the_registry_scores_a_file(shop, tmp_path: Path):
    (tmp_path / "rows.csv").write_text("a,b,c\n1,2,0.5\n-1,-2,\n", encoding="utf-8")
    command = [sys.executable, "-P", "-m", "trainer.cli", "score", "rows.csv", "answers.csv", "--model", "toy/2"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(
        [*command, "--project", str(shop.folder)],
        check=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.stdout.splitlines() == [
        "scored 2 rows with toy/2: answers.csv",
        "1 rows have no answer (missing 1); the column 'refused' says why:",
        "  row 1: missing: feature 'c' has no value",
    ]
    assert (tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines()[1].startswith('"high",')
