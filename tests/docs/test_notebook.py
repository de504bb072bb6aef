"""Executes the notebook of docs/ as a reader would: all cells, from the top, in one fresh Python process.

No Jupyter: what it would add is a kernel of some 75 MB and the pictures of values; the cells are the same Python. What
only Jupyter understands (magics, shell lines) is refused here, so that the notebook stays Python.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

NOTEBOOK = REPOSITORY / "docs" / "experiment.ipynb"


def cells() -> list[dict[str, object]]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    found: list[dict[str, object]] = notebook["cells"]
    return found


def source_of(cell: dict[str, object]) -> str:
    lines = cell["source"]
    assert isinstance(lines, list)
    return "".join(lines)


def test_the_notebook_is_kept_without_outputs_and_its_cells_are_plain_python_with_names() -> None:
    names = [cell["id"] for cell in cells()]
    assert len(set(names)) == len(names)
    for cell in cells():
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            ast.parse(source_of(cell))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_cell_of_the_notebook_runs_from_the_top_in_an_empty_folder(tmp_path: Path) -> None:
    codes = [source_of(cell) for cell in cells() if cell["cell_type"] == "code"]
    # Each cell by its own, so that a traceback names it; all in one namespace, as in a kernel.
    program = """import json, sys
world = {}
for number, code in enumerate(json.load(sys.stdin)):
    exec(compile(code, f"cell {number}", "exec"), world)
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(codes),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "review may leak the target" in done.stdout
    assert (tmp_path / "experiment" / "report.html").is_file()
