import hashlib
import io
import subprocess
import sys
import tarfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.pinned_environment import PinnedEnvironment, cache_folder, environment_key

PYTHON = Path(sys.executable)


class CannotBeMadeError(Exception):
    pass


@pytest.fixture
def pinned(tmp_path) -> PinnedEnvironment:
    """An environment with nothing in it, not yet made."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# nothing\n")
    return PinnedEnvironment(
        tmp_path / "cache" / "tool-1.0",
        requirements,
        content="the tool",
        pip_mend="install pip",
        failure=CannotBeMadeError,
        timeout_s=60.0,
    )


def program(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return path


def test_the_cache_is_where_the_users_other_caches_are(tmp_path):
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "fieldloop"
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache" / "fieldloop"
    assert cache_folder({}) == Path.home() / ".cache" / "fieldloop"


def test_other_requirements_or_another_python_are_another_environment(tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("a==1\n")
    first = environment_key(requirements, "3.11")
    assert environment_key(requirements, "3.12") != first
    requirements.write_text("a==2\n")
    assert environment_key(requirements, "3.11") != first


def test_a_half_made_environment_is_made_anew_and_a_whole_one_is_kept(pinned):
    pinned.folder.mkdir(parents=True)
    (pinned.folder / "leftover").touch()
    pinned.make(PYTHON)
    assert pinned.is_complete
    assert not (pinned.folder / "leftover").exists()
    prefix = subprocess.run([pinned.python, "-c", "import sys; print(sys.prefix)"], capture_output=True, check=True)
    assert prefix.stdout.decode().strip() == str(pinned.folder)
    (pinned.folder / "kept").touch()
    pinned.make(PYTHON)
    assert (pinned.folder / "kept").exists()


def test_two_who_want_it_at_once_make_it_once(pinned, tmp_path):
    counting = program(tmp_path / "python", f'echo made >> {tmp_path}/calls; exec {PYTHON} "$@"')
    both = [threading.Thread(target=pinned.make, args=(counting,)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert pinned.is_complete
    assert (tmp_path / "calls").read_text().splitlines() == ["made"]


# Builds a wheel, if what builds it is there.
BACKEND = """
import pathlib, zipfile
from its_builder import text

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "only_source-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.writestr("only_source.py", text)
        for file, content in (("METADATA", META), ("WHEEL", WHEEL), ("RECORD", "")):
            wheel.writestr(f"only_source-1.0.dist-info/{file}", content)
    return name

WHEEL = "Wheel-Version: 1.0\\nTag: py3-none-any\\n"
META = "Metadata-Version: 2.1\\nName: only-source\\nVersion: 1.0\\n"
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def write_wheel(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", text)
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path


def write_source(folder: Path) -> Path:
    path = folder / "only_source-1.0.tar.gz"
    files = {"backend.py": BACKEND, "pyproject.toml": PROJECT, "PKG-INFO": "Metadata-Version: 2.1\nName: only-source\n"}
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"only_source-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def pin(path: Path, requirement: str) -> str:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"--no-index\n--find-links {path.parent}\n{requirement}==1.0 --hash=sha256:{digest}\n"


def test_what_comes_as_source_alone_is_built_by_what_is_pinned_and_only_when_it_is_named(pinned, tmp_path):
    pinned.requirements.write_text(pin(write_source(tmp_path), "only-source"))
    builder = tmp_path / "builder.txt"
    builder.write_text(pin(write_wheel(tmp_path, "its_builder", "text = 'built = True'"), "its-builder"))
    named = replace(pinned, from_source=("only-source",), timeout_s=None)
    with pytest.raises(CannotBeMadeError, match="could not install"):
        replace(pinned, timeout_s=None).make(PYTHON)
    with pytest.raises(CannotBeMadeError, match="could not install"):
        named.make(PYTHON)
    replace(named, builder=builder).make(PYTHON)
    subprocess.run([pinned.python, "-c", "import only_source; assert only_source.built"], check=True)


def test_what_pip_cannot_install_is_told_with_pips_words_and_nothing_is_kept(pinned):
    pinned.requirements.write_text("this-line-has-no-hash==1.0\n")
    with pytest.raises(CannotBeMadeError, match=r"(?s)could not install the tool; .*no network.*hash"):
        pinned.make(PYTHON)
    assert not pinned.is_complete


def test_without_any_pip_the_error_says_how_to_get_one(pinned, tmp_path, monkeypatch):
    # As on a Debian without python3-pip and python3-venv: an environment can be made, but no pip put into it.
    without = program(
        tmp_path / "python",
        '[ "$2" = venv ] && mkdir -p "$4/bin" && cp "$0" "$4/bin/python" && exit',
        'echo "No module named $2"; exit 1',
    )
    monkeypatch.setattr("exporter.pinned_environment.sys.executable", str(without))
    with pytest.raises(CannotBeMadeError, match="has no pip to install with; install pip\nNo module named ensurepip"):
        pinned.make(without)
    assert not pinned.is_complete


def test_a_step_that_does_not_end_in_time_is_ended_and_told(tmp_path, pinned):
    waiting = program(tmp_path / "python", "exec sleep 60")
    hasty = PinnedEnvironment(pinned.folder, pinned.requirements, "the tool", "", CannotBeMadeError, timeout_s=0.2)
    with pytest.raises(CannotBeMadeError, match=r"cannot make an environment \(ended after 0\.2 s\)"):
        hasty.make(waiting)
    assert not pinned.is_complete


def test_requirements_that_are_missing_are_told_and_others_are_another_environment(tmp_path, monkeypatch):
    requirements, variables = tmp_path / "tool.txt", {"XDG_CACHE_HOME": str(tmp_path)}

    def named(builder=None):
        return PinnedEnvironment.of_this_python(
            "tool", requirements, variables, content="the tool", failure=CannotBeMadeError, builder=builder
        )

    with pytest.raises(CannotBeMadeError, match=r"tool\.txt is missing"):
        named()
    requirements.write_text("# nothing\n")
    first = named()
    assert first.folder.parent == tmp_path / "fieldloop"
    with pytest.raises(CannotBeMadeError, match=r"build\.txt is missing"):
        named(tmp_path / "build.txt")
    requirements.write_text("# something\n")
    second = named()
    monkeypatch.setattr(sys, "version", "another")
    assert len({first.folder, second.folder, named().folder}) == 3
