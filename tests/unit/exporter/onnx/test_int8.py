import logging

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from edge_agent.bundle import Feature
from exporter.errors import UnsupportedError
from exporter.graphs.graph import parse_model
from exporter.material import Material
from exporter.models.model import FittedModel
from exporter.onnx.int8 import column_scales, convert_onnx_int8
from exporter.onnx.target import convert_onnx_fp32
from tests.unit.exporter.example_graphs import cnn_graph, mlp_graph, model, tensor, value
from tests.unit.exporter.families import fit, learn, load


def answer(data: bytes, rows: np.ndarray) -> np.ndarray:
    return ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"rows": rows})[0]


def digits_of(proto: onnx.ModelProto) -> tuple[Material, np.ndarray, np.ndarray]:
    rows, truth = load("digits")
    estimator = parse_model(proto.SerializeToString(), "m.onnx")
    labels = tuple(str(i) for i in range(10))
    fitted = FittedModel(estimator, "classification", tuple(Feature(f"f{i}") for i in range(64)), labels)
    return Material(fitted, rows[:800]), rows[1200:], truth[1200:]


def test_a_network_shrinks_to_less_than_half_and_keeps_its_accuracy():
    rows, truth = load("digits")
    learnt = fit(make_pipeline(StandardScaler(), MLPClassifier((64, 32), max_iter=60, random_state=0)), rows, truth)
    material = Material(learnt.model, learnt.training)
    plain, quantised = convert_onnx_fp32(material), convert_onnx_int8(material)
    assert len(quantised) <= 0.45 * len(plain)
    before, after = (np.mean(answer(d, learnt.evaluation).argmax(axis=1) == learnt.truth) for d in (plain, quantised))
    assert before - after <= 0.005
    assert quantised == convert_onnx_int8(material)


def test_every_kind_of_network_keeps_its_answers():
    for family, data in [("tanh mlp", "cancer"), ("logistic mlp", "cancer"), ("logistic", "digits")]:
        learnt = learn(family, data)
        material = Material(learnt.model, learnt.training)
        got, expected = answer(convert_onnx_int8(material), learnt.evaluation), learnt.model.outputs(learnt.evaluation)
        assert np.mean(got.argmax(axis=1) == expected.argmax(axis=1)) > 0.98


def test_a_value_is_near_its_original():
    rows, truth = load("diabetes")
    learnt = fit(
        make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(20,), max_iter=300, random_state=0)),
        rows,
        truth,
        is_value=True,
    )
    got = answer(convert_onnx_int8(Material(learnt.model, learnt.training)), learnt.evaluation)
    expected = learnt.model.outputs(learnt.evaluation)
    assert np.max(np.abs(got - expected)) < 0.05 * np.ptp(expected)


def test_standardising_and_softmax_stay_in_float_and_weights_have_a_scale_a_column():
    learnt = learn("mlp", "digits")
    proto = onnx.load_from_string(convert_onnx_int8(Material(learnt.model, learnt.training)))
    kinds = [node.op_type for node in proto.graph.node]
    assert kinds.index("Div") < kinds.index("QuantizeLinear")
    assert kinds.count("QuantizeLinear") == 2
    assert kinds[-1] == "Softmax"
    tensors = {t.name: t for t in proto.graph.initializer}
    weights = [
        node
        for node in proto.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors and len(tensors[node.input[0]].dims) == 2
    ]
    assert [tuple(tensors[node.input[0]].dims) for node in weights] == [(64, 20), (20, 10)]
    assert [tuple(tensors[node.input[1]].dims) for node in weights] == [(20,), (10,)]


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (lambda: RandomForestClassifier(3, random_state=0), "a tree ensemble has nothing to quantise"),
        (lambda: make_pipeline(StandardScaler(), SVC()), "a kernel over stored vectors has nothing to quantise"),
    ],
)
def test_what_has_nothing_to_quantise_is_refused_by_name(estimator, reason):
    rows, truth = load("cancer")
    learnt = fit(estimator(), rows, truth)
    with pytest.raises(UnsupportedError, match=rf"step `\w+`: \w+ is not supported for onnx-int8: {reason}"):
        convert_onnx_int8(Material(learnt.model, learnt.training))


def test_a_network_from_outside_is_quantised_as_ours_are():
    material, rows, truth = digits_of(mlp_graph())
    data = convert_onnx_int8(material)
    assert len(data) < 0.45 * len(convert_onnx_fp32(material))
    before = np.mean(material.model.outputs(rows).argmax(axis=1) == truth)
    assert before - np.mean(answer(data, rows).argmax(axis=1) == truth) <= 0.005


def test_convolutions_from_outside_are_quantised_and_what_stands_before_them_is_not():
    material, rows, truth = digits_of(cnn_graph())
    level = logging.getLogger().level
    data = convert_onnx_int8(material)
    assert logging.getLogger().level == level
    before = np.mean(material.model.outputs(rows).argmax(axis=1) == truth)
    assert before - np.mean(answer(data, rows).argmax(axis=1) == truth) <= 0.005
    proto = onnx.load_from_string(data)
    kinds = [node.op_type for node in proto.graph.node]
    first = next(i for i, node in enumerate(proto.graph.node) if node.op_type == "QuantizeLinear")
    assert kinds.index("Div") < first
    assert kinds[-1] == "Softmax"
    assert sum(t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4 for t in proto.graph.initializer) == 1
    assert data == convert_onnx_int8(material)


def test_a_graph_without_products_is_refused_by_name():
    nodes = [onnx.helper.make_node("Erf", ["x"], ["y"], name="/erf")]
    proto = model(nodes, [value("x", ["n", 64])], [value("y", ["n", 64])], [tensor("unused", [1.0])])
    estimator = parse_model(proto.SerializeToString(), "m.onnx")
    labels = tuple(str(i) for i in range(64))
    fitted = FittedModel(estimator, "classification", tuple(Feature(f"f{i}") for i in range(64)), labels)
    with pytest.raises(UnsupportedError, match="nothing to quantise"):
        convert_onnx_int8(Material(fitted, load("digits")[0]))


def test_columns_of_other_sizes_are_brought_to_one_size():
    # Without a scaler one column of cancer is 10,000 times another, and one scale cannot hold both.
    rows, truth = load("cancer")
    learnt = fit(LinearDiscriminantAnalysis(), rows, truth)
    got = answer(convert_onnx_int8(Material(learnt.model, learnt.training)), learnt.evaluation)
    before = np.mean(learnt.model.outputs(learnt.evaluation).argmax(axis=1) == learnt.truth)
    assert before > 0.9
    assert before - np.mean(got.argmax(axis=1) == learnt.truth) <= 0.011


def test_a_column_whose_bias_is_great_gets_a_scale_that_holds_it():
    scales = column_scales(np.array([[1.0, 1e-12, 0.0]]), np.array([0.0, 1e6, 0.0]), 0.01)
    assert scales[0] == pytest.approx(1 / 127)
    assert 1e6 / (scales[1] * 0.01) <= 1 << 31
    assert scales[2] > 0
