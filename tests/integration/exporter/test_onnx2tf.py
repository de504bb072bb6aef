"""Convolutions from outside to TFLite, by the real onnx2tf; skipped where its environment cannot be made."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge_agent.bundle import Feature
from edge_agent.scoring.tflite_runtime import TfliteRuntime
from exporter.errors import ConversionError, UnsupportedError
from exporter.graphs.graph import OnnxEstimator, parse_model
from exporter.graphs.normalised import normalised
from exporter.material import Material
from exporter.models.model import FittedModel
from exporter.tflite import outside
from exporter.tflite.outside import convert_with_onnx2tf
from exporter.tflite.outside_environment import onnx2tf_python
from exporter.tflite.target import convert_tflite_fp32, convert_tflite_int8
from tests.unit.exporter.example_graphs import cnn_graph, written
from tests.unit.exporter.families import load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module", autouse=True)
def _environment():
    try:
        onnx2tf_python()
    except (UnsupportedError, ConversionError) as error:
        pytest.skip(f"onnx2tf's environment cannot be made: {error}")


@pytest.fixture(scope="module")
def estimator() -> OnnxEstimator:
    return parse_model(cnn_graph().SerializeToString(), "cnn.onnx")


@pytest.fixture(scope="module")
def material(estimator) -> Material:
    labels = tuple(str(i) for i in range(10))
    model = FittedModel(estimator, "classification", tuple(Feature(f"f{i}") for i in range(64)), labels)
    return Material(model, load("digits")[0][:800])


def scored(data: bytes, folder, rows: np.ndarray) -> np.ndarray:
    path = folder / "model.tflite"
    path.write_bytes(data)
    runtime = TfliteRuntime(path, 64, 10)
    try:
        return np.asarray(runtime.score_batch(rows.tolist()))
    finally:
        runtime.close()


def test_a_convolution_takes_flat_rows_on_a_device_and_answers_as_its_graph(material, estimator, tmp_path):
    rows = load("digits")[0][1200:]
    before = estimator.proto.SerializeToString()
    data = convert_tflite_fp32(material)
    got, expected = scored(data, tmp_path, rows), estimator.predict_proba(rows)
    assert np.max(np.abs(got - expected)) < 1e-5
    assert estimator.proto.SerializeToString() == before
    assert convert_tflite_fp32(material) == data


def test_a_convolution_in_int8_is_smaller_and_keeps_its_accuracy(material, estimator, tmp_path):
    rows, truth = (part[1200:] for part in load("digits"))
    data = convert_tflite_int8(material)
    assert len(data) < len(convert_tflite_fp32(material))
    got = scored(data, tmp_path, rows)
    before = np.mean(estimator.predict(rows) == truth)
    assert before - np.mean(got.argmax(axis=1) == truth) <= 0.01


def test_onnx2tf_is_timed_on_a_copy(tmp_path):
    path = written(cnn_graph(batch=1), tmp_path)
    before = path.read_bytes()
    seconds = convert_with_onnx2tf(path, tmp_path / "out", input_name="image")
    assert seconds > 0
    assert list((tmp_path / "out").glob("*_float32.tflite"))
    assert path.read_bytes() == before


def test_a_model_that_answers_otherwise_than_its_graph_is_refused(estimator, monkeypatch):
    other = onnx.ModelProto()
    other.CopyFrom(estimator.proto)
    bias = next(tensor for tensor in other.graph.initializer if tensor.name == "fc.bias")
    bias.CopyFrom(numpy_helper.from_array(np.linspace(-9, 9, 10, dtype=np.float32), "fc.bias"))
    wrong = normalised(OnnxEstimator(other, estimator.contract, "other.onnx"))
    monkeypatch.setattr(outside, "normalised", lambda _: wrong)
    with pytest.raises(ConversionError, match="answers otherwise than the graph"):
        outside.convert_outside_fp32(estimator, load("digits")[0][:100])


def test_what_onnx2tf_fails_on_is_told(estimator, monkeypatch, tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ConversionError, match="onnx2tf"):
        convert_with_onnx2tf(path, tmp_path / "out")
    monkeypatch.setattr(outside, "_TIMEOUT_S", 0.01)
    with pytest.raises(ConversionError, match="takes longer"):
        outside.convert_outside_fp32(estimator, load("digits")[0][:100])
