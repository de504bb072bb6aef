"""A program that is missing is named with the package that brings it."""

from pathlib import Path

import pytest

from exporter.image.errors import BuildError
from exporter.image.programs import find_program


def test_programs_of_the_administrator_are_found_by_everybody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert Path(find_program("mke2fs", BuildError)).name == "mke2fs"


@pytest.mark.parametrize(("program", "package"), [("mcopy", "mtools"), ("no-such-program", "no-such-program")])
def test_one_that_is_missing_is_named_with_its_package(program: str, package: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("exporter.image.programs.ADMINISTRATORS", ":/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BuildError, match=f"^{program} is missing: sudo apt-get install .*{package}$"):
        find_program(program, BuildError)
