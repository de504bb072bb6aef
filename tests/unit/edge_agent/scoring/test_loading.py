"""A variant's file is opened only if it is the one that its manifest describes."""

import sys
from pathlib import Path

import msgspec
import pytest

from edge_agent.bundle import Variant
from edge_agent.errors import AlteredError, BundleError, RuntimeMissingError, StorageError
from edge_agent.scoring.loading import open_runtime
from tests.unit.edge_agent.examples import (
    classification_manifest,
    softmax,
    variant_of,
    write_onnx_classifier,
    write_tflite_classifier,
)
from tests.unit.edge_agent.update.exhaustion import no_files_left


@pytest.fixture
def onnx(tmp_path: Path) -> Variant:
    return variant_of(write_onnx_classifier(tmp_path / "model.onnx"))


def test_each_runtime_opens_its_variant(tmp_path: Path, onnx: Variant):
    tflite = variant_of(write_tflite_classifier(tmp_path / "model.tflite"), "tflite-fp32", "tflite")
    manifest = classification_manifest(variants=(onnx, tflite))
    for variant in manifest.variants:
        runtime = open_runtime(variant, tmp_path, manifest)
        assert list(runtime.score([1.0, 2.0])) == pytest.approx(softmax([1.0, 2.0]), abs=1e-6)
        runtime.close()


def test_one_altered_byte_is_refused(tmp_path: Path, onnx: Variant):
    path = tmp_path / onnx.file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(AlteredError, match="SHA-256"):
        open_runtime(onnx, tmp_path, classification_manifest())


def test_a_shortened_file_is_refused_by_its_size(tmp_path: Path, onnx: Variant):
    path = tmp_path / onnx.file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AlteredError, match="bytes, its manifest says"):
        open_runtime(onnx, tmp_path, classification_manifest())


def test_an_absent_file_is_refused_by_its_name(tmp_path: Path, onnx: Variant):
    (tmp_path / onnx.file).unlink()
    with pytest.raises(AlteredError, match=r"model\.onnx: cannot be read"):
        open_runtime(onnx, tmp_path, classification_manifest())


def test_a_file_that_cannot_be_read_now_says_nothing_of_its_bundle(tmp_path: Path, onnx: Variant):
    with no_files_left(), pytest.raises(StorageError, match=r"model\.onnx: cannot be read: Too many open files"):
        open_runtime(onnx, tmp_path, classification_manifest())


def test_a_model_that_does_not_fit_its_manifest_is_refused(tmp_path: Path, onnx: Variant):
    manifest = classification_manifest(labels=("a", "b", "c"))
    with pytest.raises(BundleError, match="3 outputs"):
        open_runtime(onnx, tmp_path, manifest)


def test_a_runtime_that_is_not_installed_is_named(tmp_path: Path, onnx: Variant, monkeypatch: pytest.MonkeyPatch):
    # None in sys.modules is how Python itself says that a module cannot be imported.
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "edge_agent.scoring.onnx_runtime", raising=False)
    with pytest.raises(RuntimeMissingError, match="needs the runtime onnx"):
        open_runtime(msgspec.structs.replace(onnx), tmp_path, classification_manifest())
