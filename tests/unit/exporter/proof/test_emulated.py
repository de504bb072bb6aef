import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from exporter.proof.debian_root import RECIPES, add_wheels, prepare_root
from exporter.proof.emulated import EmulatedPlace, UnknownArchitectureError, emulated_places, roots_folder
from exporter.proof.places import Job, NotRunError
from exporter.proof.proving import Surroundings
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


@pytest.mark.slow
@pytest.mark.parametrize("architecture", RECIPES)
def test_variants_answer_alike_on_an_emulated_processor(architecture, tmp_path):
    learnt = learn("imputed mlp", "cancer", "flag")
    export(learnt, tmp_path, "onnx-fp32", "tflite-int8")
    rows = np.concatenate([learnt.evaluation, np.full((1, 30), np.nan, np.float32)])
    files = {"onnx": "model.fp32.onnx", "tflite": "model.int8.tflite"}
    for place in emulated_places([architecture], os.environ):
        assert isinstance(place, EmulatedPlace)
        if place.runtime not in files:
            continue
        try:
            answer = place.run(Job(place.runtime, tmp_path / files[place.runtime], rows, 2))
        except NotRunError as reason:
            pytest.skip(f"{place.implementation}: {reason}")
        tolerance = 1e-5 if place.runtime == "onnx" else 0.1
        assert np.abs(answer.outputs - learnt.model.outputs(rows)).max() < tolerance
        assert answer.implementation.endswith(f"({architecture})")
        assert ("aarch64" if architecture == "arm64" else "armv7l") in answer.where
        assert (answer.memory, answer.latency) == (None, None)
