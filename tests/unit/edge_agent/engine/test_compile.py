"""The engine is compiled with what there is, once, and its absence stops nothing."""

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from broker.codec.loading import load_codec
from edge_agent.engine import compile as engine
from edge_agent.engine.library import FILE_NAME, architecture

ROOT = Path(__file__).parents[4]
ELF_MACHINES = {"x86_64": 62, "aarch64": 183, "armv7": 40, "armv6": 40}


def machine_of(library: bytes) -> int:
    assert library[:4] == b"\x7fELF"
    return int.from_bytes(library[18:20], "little")


def without_zig(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ziglang" else found(name))


def test_cc_compiles_for_this_machine_where_there_is_no_zig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if shutil.which("cc") is None:
        pytest.skip("needs cc")
    without_zig(monkeypatch)
    assert engine.main(["--into", str(tmp_path)]) == 0
    library = tmp_path / architecture() / FILE_NAME
    program = (
        "import sys, pathlib; from edge_agent.engine.loading import load_engine;"
        "load_engine(None, pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", program, str(library)], check=True, timeout=60)
    assert load_codec(tmp_path / "codec" / architecture() / engine.CODEC.file_name) is not None
    # Once more: what is there is left alone, until the sources are others.
    before = library.stat().st_mtime_ns
    assert engine.compile_engine(architecture(), tmp_path).stat().st_mtime_ns == before
    (tmp_path / architecture() / "built-from").write_text("other sources", encoding="ascii")
    assert engine.compile_engine(architecture(), tmp_path).stat().st_mtime_ns != before


def test_without_a_compiler_the_command_says_what_to_install_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    without_zig(monkeypatch)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert engine.main(["--into", str(tmp_path)]) == 1
    assert f"no compiler for {architecture()} here: pip install ziglang, or install gcc" in capsys.readouterr().err


def test_cc_is_not_asked_for_another_machine(monkeypatch: pytest.MonkeyPatch):
    without_zig(monkeypatch)
    other = "armv6" if architecture() != "armv6" else "x86_64"
    with pytest.raises(engine.CompilerError, match=f"no compiler for {other} here: pip install ziglang$"):
        engine.compiler_for(other)


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "compiler_for", lambda _: (sys.executable, "-c", "import sys; sys.exit('out of wax')"))
    with pytest.raises(engine.CompilerError, match="out of wax"):
        engine.compile_engine("x86_64", tmp_path)
    assert not (tmp_path / "x86_64" / FILE_NAME).exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_wheel_carries_the_engine_of_every_architecture(tmp_path: Path):
    for needed in ("ziglang", "hatchling", "editables"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"needs the package {needed}")
    copy = tmp_path / "source"
    # Without what was built before: the hook must build it.
    kept = shutil.ignore_patterns(".*", "lib", "build", "demo", "__pycache__", "tests", "*.so")
    shutil.copytree(ROOT, copy, ignore=kept)
    subprocess.run(["git", "init", "--quiet", str(copy)], check=True, timeout=60)
    shutil.copy(ROOT / ".gitignore", copy)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(copy)], check=True, timeout=800)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        for name, machine in ELF_MACHINES.items():
            assert machine_of(packed.read(f"edge_agent/engine/lib/{name}/{FILE_NAME}")) == machine
            assert machine_of(packed.read(f"broker/codec/lib/{name}/{engine.CODEC.file_name}")) == machine
        packed.extractall(tmp_path / "installed")
    program = "from edge_agent.engine.loading import load_engine, find_library; load_engine(); print(find_library())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        timeout=60,
        cwd=tmp_path / "installed",
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path / "installed")},
    )
    assert done.stdout.startswith(str(tmp_path / "installed"))
