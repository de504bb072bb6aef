"""Builds and runs the drivers that fuzz C, with every access checked."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).parent
# A parser is fuzzed for half a minute at least; a longer search is started by hand.
SECONDS: Final = int(os.environ.get("FIELDLOOP_FUZZ_SECONDS", "30"))
_CHECKED: Final = (
    "-std=gnu11", "-g", "-O1", "-ffp-contract=off", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
)  # fmt: skip


def build_driver(name: str, sources: Sequence[Path], folder: Path) -> Path:
    """Compile a driver, with AddressSanitizer, UBSan and edges that are reported in what it fuzzes."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc: its sanitizers and -fsanitize-coverage=trace-pc")
    objects = []
    for path in (*(each for each in sources if not each.name.startswith("extension")), HERE / f"{name}.c"):
        made = folder / f"{path.stem}.o"
        edges = [] if path.parent == HERE else ["-fsanitize-coverage=trace-pc"]
        include = [f"-I{sources[0].parent}", f"-I{HERE}"]
        subprocess.run(
            [compiler, *_CHECKED, *edges, *include, "-c", str(path), "-o", str(made)], check=True, timeout=120
        )
        objects.append(str(made))
    made = folder / name
    subprocess.run([compiler, *_CHECKED, *objects, "-lm", "-o", str(made)], check=True, timeout=120)
    return made


def fuzz(driver: Path, corpus: Path, folder: Path) -> tuple[int, int, int]:
    """Run a driver; return how often it ran, the inputs it was given, and the edges that these reached."""
    done = subprocess.run(
        [driver, corpus, str(SECONDS), "1"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr[-4000:]}\nwhat did it is kept in {folder / 'crash'}"
    found = re.fullmatch(r"runs (\d+), inputs given (\d+), kept (\d+), edges before (\d+), after (\d+)\n", done.stdout)
    assert found is not None, done.stdout
    runs, given, _, before, _ = map(int, found.groups())
    return runs, given, before
