"""A model that exhausts or crashes its process says so in the outcome, and takes nothing else down."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_agent.bundle import encode_manifest
from exporter.bundles.golden_run import GoldenOutcome, run_golden
from tests.unit.edge_agent.examples import classification_manifest, variant_of, write_onnx_classifier


def outcome_of(folder: Path, model: Path, timeout_s: float = 60.0) -> GoldenOutcome:
    manifest = classification_manifest(variants=(variant_of(model),))
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return run_golden(folder, manifest.variants[0], timeout_s)


def save(path: Path, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> Path:
    given = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])
    answer = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])
    graph = helper.make_graph(nodes, "hostile", [given], [answer], constants)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
    )
    return path


def write_endless_model(path: Path) -> Path:
    """Multiply for ever: a loop of 2**60 rounds."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Mul", ["value", "value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    constants = [
        numpy_helper.from_array(np.array(2**60, dtype=np.int64), "rounds"),
        numpy_helper.from_array(np.array(1, dtype=np.bool_), "yes"),
    ]
    return save(path, [helper.make_node("Loop", ["rounds", "yes", "X"], ["probabilities"], body=body)], constants)


def write_greedy_model(path: Path) -> Path:
    """Ask for 6 GiB, which many a machine has."""
    shape = numpy_helper.from_array(np.array([3 << 28, 2], dtype=np.int64), "shape")
    return save(path, [helper.make_node("Expand", ["X", "shape"], ["probabilities"])], [shape])


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have the child find another onnxruntime."""
    (folder / "onnxruntime.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def test_golden_rows_that_come_out_right_are_counted(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, write_onnx_classifier(tmp_path / "model.onnx"))
    assert outcome.verdict == "right"
    assert outcome.detail.startswith("2 golden rows, greatest difference ")


def test_golden_rows_that_differ_are_wrong(tmp_path: Path) -> None:
    model = write_onnx_classifier(tmp_path / "model.onnx", np.array([[1.0, -1.0], [0.5, -0.5]], dtype=np.float32))
    outcome = outcome_of(tmp_path, model)
    assert outcome.verdict == "wrong"
    assert "2 of 2 golden rows differ on this device" in outcome.detail


def test_a_file_that_is_no_model_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    outcome = outcome_of(tmp_path, tmp_path / "model.onnx")
    assert outcome.verdict == "wrong"
    assert "cannot load it" in outcome.detail


def test_a_model_that_never_answers_is_ended(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, write_endless_model(tmp_path / "model.onnx"), timeout_s=3.0)
    assert outcome == GoldenOutcome("wrong", "no answer within 3 s")


def test_a_model_that_asks_for_all_memory_does_not_get_it(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, write_greedy_model(tmp_path / "model.onnx"))
    assert outcome.verdict == "wrong"
    assert "Failed to allocate memory" in outcome.detail


def test_a_runtime_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "import os\nos.write(1, b'noise')\nraise ImportError('not here')")
    outcome = outcome_of(tmp_path, write_onnx_classifier(tmp_path / "model.onnx"))
    assert outcome.verdict == "unproven"
    assert "needs the runtime onnx, which is not installed" in outcome.detail


def test_a_runtime_that_crashes_is_told_by_its_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    outcome = outcome_of(tmp_path, write_onnx_classifier(tmp_path / "model.onnx"))
    assert outcome == GoldenOutcome("wrong", "its runtime was ended by SIGSEGV while it ran the golden rows")


def test_a_runtime_that_fails_is_told_by_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "print('{}')\nraise SystemExit('out of order')")
    outcome = outcome_of(tmp_path, write_onnx_classifier(tmp_path / "model.onnx"))
    assert outcome == GoldenOutcome("wrong", "its runtime failed with code 1: out of order")
