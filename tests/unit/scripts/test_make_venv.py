"""Environments on machines that lack something: a Python wrapped so that it lacks the same."""

import ensurepip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Debian's python3 without python3-venv: these modules are missing or refuse.
WITHOUT = """#!/bin/sh
case "$*" in
    *--without-pip*) ;;
    "-m venv "*|"-m ensurepip"*) echo "ensurepip is not available" >&2; exit 1 ;;
    "-m virtualenv "*) echo "No module named virtualenv" >&2; exit 1 ;;
    "-m pip "*) {pip} ;;
esac
exec {python} "$@"
"""
NO_PIP = 'echo "No module named pip" >&2; exit 1'
OLD = """#!/bin/sh
exec {python} -c 'import sys; sys.version_info = (3, 9, 2, "final", 0); exec(sys.argv.pop(1))' "$2"
"""
# Where this Python, or Debian, keeps the wheel of pip.
BUNDLED = next(
    folder
    for folder in (Path(ensurepip.__file__).parent / "_bundled", Path("/usr/share/python-wheels"))
    if any(folder.glob("pip-*.whl"))
)


@pytest.fixture
def base() -> Path:
    """The interpreter below this environment."""
    return Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder that is all of PATH, with no more than the script uses."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "rm", "ls", "mktemp", "cat", "env"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def write_program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def make_venv(
    repository: Path, tools: Path, python: Path | str, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", repository / "scripts" / "make-venv.sh", python, folder],
        cwd=tools.parent,
        env={
            "PATH": str(tools),
            "HOME": str(tools.parent),
            "FIELDLOOP_PYTHON_WHEELS": "/nonexistent",
            # A pip that is started here finds its own wheel without network.
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(BUNDLED),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def has_pip(folder: Path) -> bool:
    run = subprocess.run([folder / "bin" / "python", "-m", "pip", "--version"], capture_output=True, check=False)
    return run.returncode == 0 and str(folder).encode() in run.stdout


def test_a_complete_python_makes_an_environment_without_a_word(
    repository: Path, tools: Path, base: Path, tmp_path: Path
) -> None:
    run = make_venv(repository, tools, base, tmp_path / "venv")
    assert (run.returncode, run.stderr) == (0, "")
    assert has_pip(tmp_path / "venv")


def test_a_python_that_is_too_old_is_refused_by_its_version(
    repository: Path, tools: Path, base: Path, tmp_path: Path
) -> None:
    old = write_program(tmp_path / "old", OLD.format(python=base))
    run = make_venv(repository, tools, old, tmp_path / "venv")
    assert run.returncode == 1
    assert "Python 3.9, which is too old: Fieldloop needs 3.11 or newer" in run.stderr
    assert not (tmp_path / "venv").exists()


def test_a_python_that_is_too_old_names_a_newer_one_that_is_there(
    repository: Path, tools: Path, base: Path, tmp_path: Path
) -> None:
    old = write_program(tmp_path / "old", OLD.format(python=base))
    (tools / "python3.12").symlink_to(base)
    run = make_venv(repository, tools, old, tmp_path / "venv")
    assert run.returncode == 1
    assert "make demo PYTHON=python3.12" in run.stderr


def test_a_python_that_is_not_there_says_how_to_get_one(repository: Path, tools: Path, tmp_path: Path) -> None:
    run = make_venv(repository, tools, "python3", tmp_path / "venv")
    assert run.returncode == 1
    assert "sudo apt-get install python3 python3-venv" in run.stderr


def test_a_folder_with_other_things_in_it_is_left_alone(
    repository: Path, tools: Path, base: Path, tmp_path: Path
) -> None:
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "thesis.tex").write_text("years of work")
    run = make_venv(repository, tools, base, tmp_path / "venv")
    assert run.returncode == 1
    assert (tmp_path / "venv" / "thesis.tex").read_text() == "years of work"


def test_without_ensurepip_the_pip_of_that_python_comes_in(
    repository: Path, tools: Path, base: Path, tmp_path: Path
) -> None:
    if subprocess.run([base, "-m", "pip", "--version"], capture_output=True, check=False).returncode != 0:
        pytest.skip(f"{base} has no pip of its own")
    python = write_program(tmp_path / "python", WITHOUT.format(python=base, pip=":"))
    run = make_venv(repository, tools, python, tmp_path / "venv")
    assert run.returncode == 0, run.stderr
    assert "made" in run.stderr
    assert has_pip(tmp_path / "venv")


def test_without_ensurepip_debians_pip_wheel_comes_in(
    repository: Path, tools: Path, base: Path, tmp_path: Path
) -> None:
    python = write_program(tmp_path / "python", WITHOUT.format(python=base, pip=NO_PIP))
    run = make_venv(repository, tools, python, tmp_path / "venv", FIELDLOOP_PYTHON_WHEELS=str(BUNDLED))
    assert run.returncode == 0, run.stderr
    assert "Debian's pip wheel" in run.stderr
    assert has_pip(tmp_path / "venv")


def test_without_ensurepip_a_virtualenv_zipapp_serves(
    repository: Path, tools: Path, base: Path, tmp_path: Path
) -> None:
    python = write_program(tmp_path / "python", WITHOUT.format(python=base, pip=NO_PIP))
    # Stands for virtualenv.pyz, which is not installed here: a Python file that makes its argument an environment.
    (tmp_path / "virtualenv.pyz").write_text("import sys, venv\nvenv.create(sys.argv[1], with_pip=True)\n")
    run = make_venv(repository, tools, python, tmp_path / "venv")
    assert run.returncode == 0, run.stderr
    assert "zipapp" in run.stderr
    assert has_pip(tmp_path / "venv")


def test_without_any_way_it_stops_with_the_line_that_mends_it(
    repository: Path, tools: Path, base: Path, tmp_path: Path
) -> None:
    python = write_program(tmp_path / "python", WITHOUT.format(python=base, pip=NO_PIP))
    run = make_venv(repository, tools, python, tmp_path / "venv")
    assert run.returncode == 1
    mending = [line for line in run.stderr.splitlines() if "sudo apt-get install" in line]
    assert len(mending) == 1
    assert mending[0].endswith("-venv")
    assert not (tmp_path / "venv").exists()
