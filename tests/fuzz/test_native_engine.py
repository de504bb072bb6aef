"""Changed tables by the hundred thousand, with every access checked: none may do worse than be refused.

The corpus is kept: a table for each operation and layout, what once went wrong, and what the fuzzer found on the way.
To go on from it: ``native_driver CORPUS SECONDS SEED KEEP``; tables that reach new code are written to the folder KEEP.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.engine.compile import SOURCES, sources

HERE = Path(__file__).parent
CORPUS = HERE / "corpus" / "native"
# A parser is fuzzed for half a minute at least; a longer search is started by hand.
SECONDS = int(os.environ.get("FIELDLOOP_FUZZ_SECONDS", "30"))
CHECKED = ("-std=gnu11", "-g", "-O1", "-ffp-contract=off", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine with AddressSanitizer, UBSan and edges that are reported, linked with the fuzzer."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc: its sanitizers and -fsanitize-coverage=trace-pc")
    folder = tmp_path_factory.mktemp("fuzz")
    objects = []
    for path in (*sources(), HERE / "native_driver.c"):
        if path.name.startswith("extension"):
            continue
        made = folder / f"{path.stem}.o"
        edges = ["-fsanitize-coverage=trace-pc"] if path.parent == SOURCES else []
        subprocess.run(
            [compiler, *CHECKED, *edges, f"-I{SOURCES}", "-c", str(path), "-o", str(made)], check=True, timeout=120
        )
        objects.append(str(made))
    made = folder / "native_driver"
    subprocess.run([compiler, *CHECKED, *objects, "-lm", "-o", str(made)], check=True, timeout=120)
    return made


@pytest.mark.slow
def test_no_changed_table_reads_or_writes_where_it_must_not(driver: Path, tmp_path: Path):
    done = subprocess.run(
        [driver, CORPUS, str(SECONDS), "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr[-4000:]}\nthe table is kept in {tmp_path / 'crash'}"
    found = re.fullmatch(r"runs (\d+), tables given (\d+), kept (\d+), edges before (\d+), after (\d+)\n", done.stdout)
    assert found is not None, done.stdout
    runs, given, _, before, _ = map(int, found.groups())
    # It would be no fuzzing if the tables did not get far into the engine, or the edges were not seen.
    assert given >= 100
    assert before >= 1000
    assert runs >= 1000
