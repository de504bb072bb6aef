"""Modules that are loaded from one file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

# Makes the archive of a package that it loads, and loads that again from it.
MAKE = """
import pathlib, sys
from edge_agent.start_archive import NAME, archive_bytes
import parts.one
pathlib.Path(sys.pycache_prefix, NAME).write_bytes(archive_bytes(sys.modules))
"""
LOAD = """
import sys
from edge_agent.start_archive import StartArchive, close_archives, open_archive
archive = open_archive(sys.pycache_prefix)
import parts.one
if "close" in sys.argv:
    close_archives()
    assert not any(isinstance(each, StartArchive) for each in sys.meta_path)
import parts.two
for module in (parts, parts.one, parts.two):
    print(isinstance(module.__spec__.loader, StartArchive), module.__file__, module.VALUE)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "parts"
    package.mkdir()
    (package / "__init__.py").write_text("VALUE = 0", encoding="utf-8")
    (package / "one.py").write_text("from . import two\nVALUE = two.VALUE - 1", encoding="utf-8")
    (package / "two.py").write_text("VALUE = 2", encoding="utf-8")
    (tmp_path / "bytecode").mkdir()
    run(tmp_path, MAKE)
    return tmp_path


def run(folder: Path, program: str, *arguments: str) -> list[list[str]]:
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{folder}"}
    command = [sys.executable, "-X", f"pycache_prefix={folder / 'bytecode'}", "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def archive_of(folder: Path) -> Path:
    (path,) = (folder / "bytecode").glob("start.*")
    return path


def test_modules_come_from_it_and_say_where_their_sources_are(folder: Path):
    parts = folder / "parts"
    assert run(folder, LOAD) == [
        ["True", str(parts / "__init__.py"), "0"],
        ["True", str(parts / "one.py"), "1"],
        ["True", str(parts / "two.py"), "2"],
    ]


def test_a_source_that_changed_is_what_is_run(folder: Path):
    (folder / "parts" / "two.py").write_text("VALUE = 22", encoding="utf-8")
    assert [line[::2] for line in run(folder, LOAD)] == [["True", "0"], ["True", "21"], ["False", "22"]]


def test_a_source_that_is_gone_is_not_run(folder: Path):
    (folder / "parts" / "two.py").unlink()
    with pytest.raises(AssertionError, match="cannot import name 'two'"):
        run(folder, LOAD)


def test_closed_it_is_not_used_any_more(folder: Path):
    (folder / "parts" / "one.py").write_text("VALUE = 1", encoding="utf-8")
    assert [line[0] for line in run(folder, LOAD, "close")] == ["True", "False", "False"]


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "a folder", "not there"])
def test_without_a_whole_file_modules_come_from_their_own(damage: str, folder: Path):
    path = archive_of(folder)
    whole = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "not there":
        path.write_bytes({"cut": whole[:-1], "empty": b"", "noise": b"\xff" * 100}[damage])
    assert [line[::2] for line in run(folder, LOAD)] == [["False", "0"], ["False", "1"], ["False", "2"]]
