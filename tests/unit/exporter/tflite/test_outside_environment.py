from pathlib import Path

import pytest

from exporter.errors import ConversionError, UnsupportedError
from exporter.pinned_environment import cache_folder
from exporter.tflite.outside_environment import PYTHON_VARIABLE, find_python, onnx2tf_python


def fake_python(folder: Path, name: str, version: str) -> Path:
    """Return a program that says that it is a Python of this version, and can do nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\nif [ "$1" = -c ]; then echo {version}; else echo no venv; exit 1; fi\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def no_python(monkeypatch, tmp_path):
    """Variables of a machine whose only Python is too old."""
    old = fake_python(tmp_path / "old", "python3", "3.11")
    monkeypatch.setattr("exporter.tflite.outside_environment.sys.executable", str(old))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    return {"PATH": str(tmp_path / "old"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_without_a_python_that_is_new_enough_the_error_says_what_to_install(no_python):
    with pytest.raises(UnsupportedError, match=rf"install python3\.12 .* or name one: {PYTHON_VARIABLE}="):
        onnx2tf_python(no_python)
    assert not cache_folder(no_python).exists()


def test_a_python_that_is_named_is_taken(no_python, tmp_path):
    named = fake_python(tmp_path / "new", "mine", "3.13")
    assert find_python({**no_python, PYTHON_VARIABLE: str(named)}) == named


@pytest.mark.parametrize("version", ["3.11", "", "2.7", "what?"])
def test_a_python_that_is_named_and_too_old_is_refused(no_python, tmp_path, version):
    named = fake_python(tmp_path / "new", "mine", version)
    with pytest.raises(UnsupportedError, match=r"names .*mine, which is no Python of version 3\.12"):
        find_python({**no_python, PYTHON_VARIABLE: str(named)})


def test_a_python_that_is_named_and_not_there_is_refused(no_python, tmp_path):
    with pytest.raises(UnsupportedError, match="absent"):
        find_python({**no_python, PYTHON_VARIABLE: str(tmp_path / "absent")})


def test_one_on_the_path_is_found_before_one_of_pyenv(no_python, tmp_path):
    pyenv = fake_python(tmp_path / "home" / ".pyenv" / "versions" / "3.12.1" / "bin", "python", "3.12")
    assert find_python(no_python) == pyenv
    on_path = fake_python(tmp_path / "old", "python3.13", "3.13")
    assert find_python(no_python) == on_path


def test_this_python_is_taken_where_it_is_new_enough(no_python, monkeypatch, tmp_path):
    own = fake_python(tmp_path / "own", "python", "3.14")
    monkeypatch.setattr("exporter.tflite.outside_environment.sys.executable", str(own))
    assert find_python(no_python) == own


def test_an_environment_that_cannot_be_made_is_told_as_a_failed_conversion(no_python, tmp_path):
    named = fake_python(tmp_path / "new", "mine", "3.12")
    with pytest.raises(ConversionError, match=r"mine cannot make an environment\nno venv"):
        onnx2tf_python({**no_python, PYTHON_VARIABLE: str(named)})


def test_the_python_of_the_environment_in_the_users_cache_is_returned(no_python, tmp_path):
    named = fake_python(tmp_path / "new", "mine", "3.12")
    variables = {**no_python, PYTHON_VARIABLE: str(named)}
    with pytest.raises(ConversionError):
        onnx2tf_python(variables)
    (lock,) = cache_folder(variables).glob("*.lock")
    folder = lock.with_suffix("")
    folder.mkdir()
    (folder / "complete").touch()
    assert onnx2tf_python(variables) == folder / "bin" / "python"
