import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.proof.debian_root import add_wheels, prepare_root
from exporter.proof.emulated import UnknownArchitectureError, emulated_places, roots_folder
from exporter.proof.places import NotRunError
from exporter.proof.proving import Surroundings
from tests.conftest import REPOSITORY
from tests.unit.exporter.families import export, learn

LIBRARIES = {
    "arm64": {"onnxruntime (arm64)", "ai-edge-litert (arm64)", "tflite-runtime (arm64)", "native (arm64)"},
    "armhf": {"tflite-runtime (armhf)", "native (armhf)"},
}


@pytest.mark.parametrize("architecture", LIBRARIES)
def test_an_architecture_has_every_library_that_there_is_for_it(architecture):
    places = emulated_places([architecture, architecture], {"HOME": "/home/x"})
    assert {place.implementation for place in places} == LIBRARIES[architecture]


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(UnknownArchitectureError, match=r"'riscv64' cannot be emulated; known: arm64, armhf"):
        emulated_places(["riscv64"], {})


def test_roots_lie_in_the_users_cache():
    assert roots_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/fieldloop/roots")


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ((), "qemu-aarch64-static is missing: apt-get install qemu-user-static"),
        (("qemu-aarch64-static",), "apt-get is missing: apt-get install apt"),
    ],
)
def test_what_is_missing_is_named_with_its_package(tools, message, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path=None: f"/usr/bin/{name}" if name in tools else None)  # noqa: ARG005
    with pytest.raises(NotRunError, match=message):
        prepare_root("arm64", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_apt_that_fails_leaves_no_half_of_a_root(tmp_path, monkeypatch):
    for name, program in (
        ("apt-get", "#!/bin/sh\ncase $1 in indextargets) echo Debian main http://localhost:1/;; *) exit 100;; esac\n"),
        ("dpkg-deb", "#!/bin/sh\n"),
        ("qemu-arm-static", "#!/bin/sh\n"),
    ):
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(NotRunError, match=r"apt-get -qq -o .* failed: no word"):
        prepare_root("armhf", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_wheels_that_do_not_exist_are_a_reason_and_leave_nothing(tmp_path):
    with pytest.raises(NotRunError, match="pip install"):
        add_wheels("arm64", tmp_path, ["./no-such-wheel-0-py3-none-any.whl"])
    assert list((tmp_path / "opt").iterdir()) == []


def test_a_report_names_what_could_not_be_emulated(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)  # noqa: ARG005
    places = tuple(p for p in emulated_places(["arm64"], {"HOME": str(tmp_path)}) if p.runtime == "onnx")
    learnt = learn("logistic", "cancer")
    (variant,) = export(learnt, tmp_path, "onnx-fp32", surroundings=Surroundings(places, weighs=False)).variants
    assert variant.accepted
    missing = variant.runs[1]
    assert (missing.implementation, missing.parity) == ("onnxruntime (arm64)", None)
    assert missing.not_run == "qemu-aarch64-static is missing: apt-get install qemu-user-static"


@pytest.mark.parametrize("adapter", ["onnx_runtime", "tflite_runtime", "native_runtime"])
def test_what_runs_in_a_root_needs_nothing_but_python_and_the_library_of_its_runtime(adapter):
    # There is no wheel of msgspec for 32-bit ARM, and the roots have none.
    code = f"import sys; sys.modules['msgspec'] = None; import exporter.proof.child, edge_agent.scoring.{adapter}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
