"""The bytecode that a service starts from is made by the unit's flags, and used."""

import subprocess
import sys
from pathlib import Path

from benchmarks.footprint import make_bytecode, unit_flags
from tests.conftest import REPOSITORY

LOADED = """
import sys
from edge_agent.start_archive import StartArchive, close_archives, open_archive
open_archive(sys.pycache_prefix)
import edge_agent.upkeep, edge_agent.wiring, edge_agent.scoring.native_runtime
close_archives()
loaded = [each.__spec__ for each in sys.modules.values() if getattr(each, "__spec__", None)]
for spec in loaded:
    if spec.name.startswith(("broker", "edge_agent")) or spec.name in ("ssl", "msgspec", "csv"):
        print(spec.name, isinstance(spec.loader, StartArchive), spec.name + ".__doc__", sys.modules[spec.name].__doc__)
"""


def test_all_that_an_agent_loads_comes_from_it_without_docstrings(tmp_path: Path):
    flags = unit_flags(tmp_path)
    make_bytecode(flags)
    assert list(tmp_path.rglob("edge_agent/agent.*.opt-2.pyc"))
    done = subprocess.run(
        [sys.executable, *flags, "-c", LOADED], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    lines = done.stdout.splitlines()
    # These two are there before it can be.
    found = [line for line in lines if line.split()[0] not in {"edge_agent", "edge_agent.start_archive"}]
    assert len(found) > 80
    for line in found:
        name = line.split()[0]
        assert line == f"{name} True {name}.__doc__ None"


def test_without_a_folder_it_says_what_to_give():
    command = [sys.executable, "-m", "edge_agent.service.bytecode"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 1
    assert "-X pycache_prefix=FOLDER" in done.stderr
