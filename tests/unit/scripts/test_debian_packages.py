import os
import shutil
import subprocess
from pathlib import Path

import pytest

MISSING = "# a comment\n\nno-such-server   test -e /nonexistent\nalso-missing   false\nthere   true\n"


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH on which the user is nobody in particular: no root, and sudo that asks for a password."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "true", "false", "test", "cat"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    for name, text in {"id": "echo 1000", "sudo": "exit 1", "apt-get": 'echo "$@" > called; exit 0'}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def debian_packages(repository: Path, tools: Path, packages: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", repository / "scripts" / "debian-packages.sh", packages],
        cwd=tools.parent,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_root_the_missing_ones_are_named_with_the_command(repository: Path, tools: Path) -> None:
    packages = tools.parent / "packages.txt"
    packages.write_text(MISSING)
    run = debian_packages(repository, tools, packages)
    assert run.returncode == 1
    assert "sudo apt-get install --no-install-recommends no-such-server also-missing\n" in run.stderr
    assert not (tools.parent / "called").exists()


def test_nothing_is_done_where_nothing_is_missing(repository: Path, tools: Path) -> None:
    packages = tools.parent / "packages.txt"
    packages.write_text("there   true\n")
    run = debian_packages(repository, tools, packages)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_list_of_the_tests_is_met_or_can_be_read(repository: Path) -> None:
    run = subprocess.run(
        ["sh", "-n", repository / "scripts" / "debian-packages.sh"],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    lines = (repository / "packages" / "debian-test.txt").read_text().splitlines()
    listed = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert "mosquitto" in listed
