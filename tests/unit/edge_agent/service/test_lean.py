"""The unit starts the agent without ``assert`` and docstrings (``-OO``): neither is relied on."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.footprint import UNIT, unit_flags
from tests.conftest import REPOSITORY

# Writes the documentation of the wire from docstrings; no device does that.
FOR_DOCUMENTS = "broker/asyncapi.py"
SOURCES = sorted(path for part in ("broker", "edge_agent") for path in (REPOSITORY / part).rglob("*.py"))


def test_no_code_of_the_device_asserts_or_reads_docstrings():
    assert len(SOURCES) > 100
    for path in SOURCES:
        found = [ast.unparse(node) for node in ast.walk(ast.parse(path.read_bytes())) if _relies_on_either(node)]
        assert not found or path.relative_to(REPOSITORY).as_posix() == FOR_DOCUMENTS, (path, found)


def _relies_on_either(node: ast.AST) -> bool:
    return isinstance(node, ast.Assert) or (isinstance(node, ast.Attribute) and node.attr == "__doc__")


def test_help_is_the_same_without_docstrings(tmp_path: Path):
    flags = unit_flags(tmp_path)
    told = _told([], "--help")
    assert _told(flags, "--help") == told
    commands = re.findall(r"^    ([a-z-]+)(?:  |$)", told, re.MULTILINE)
    assert {"run", "status", "check-config", "explain"} <= set(commands)
    for command in ("run", "explain"):
        assert _told(flags, command, "--help") == _told([], command, "--help")


def _told(flags: list[str], *arguments: str) -> str:
    command = [sys.executable, *flags, "-m", "edge_agent", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout


def test_the_flags_are_those_of_the_unit(tmp_path: Path):
    flags = unit_flags(tmp_path)
    assert flags[:2] == ["-P", "-OO"]
    assert f"pycache_prefix={tmp_path}" in flags
    assert "-I -OO" in UNIT.read_text(encoding="utf-8")


@pytest.mark.parametrize("state", ["a file", "not there"])
def test_bytecode_that_cannot_be_had_keeps_nothing_from_running(state: str, tmp_path: Path):
    prefix = tmp_path / "bytecode" if state == "a file" else tmp_path / "file" / "bytecode"
    (tmp_path / prefix.relative_to(tmp_path).parts[0]).write_text("no folder", encoding="utf-8")
    assert _told(unit_flags(prefix), "--version").startswith("fieldloop-agent ")
