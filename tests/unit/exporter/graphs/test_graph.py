import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from edge_agent.bundle import Feature
from exporter.errors import ConversionError, ModelError
from exporter.graphs.graph import load_model_file, parse_model
from exporter.graphs.normalised import normalised
from exporter.models.model import FittedModel
from tests.unit.exporter.example_graphs import cnn_graph, mlp_graph, model, tensor, value, written
from tests.unit.exporter.families import load

ROWS = load("digits")[0]


def answer(proto: onnx.ModelProto, rows: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["outputs"], {"rows": rows})[0]


def opened(proto: onnx.ModelProto, **options):
    return parse_model(proto.SerializeToString(), "m.onnx", **options)


GRAPHS = {
    "scores": (mlp_graph, "logits"),
    "probabilities": (lambda: mlp_graph(ends_in="probabilities"), "probabilities"),
    "logarithms": (lambda: mlp_graph(ends_in="logarithms"), "logarithms"),
    "names like ours": (lambda: mlp_graph(names=("rows", "outputs")), "logits"),
    "old operators": (lambda: mlp_graph(opset=11), "logits"),
    "new operators": (lambda: mlp_graph(opset=23), "logits"),
    "one row": (lambda: mlp_graph(batch=1), "logits"),
    "images": (cnn_graph, "logits"),
    "one image": (lambda: cnn_graph(batch=1), "logits"),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_is_brought_into_form_and_answers_as_before(name):
    make, meaning = GRAPHS[name]
    proto = make()
    before = proto.SerializeToString()
    estimator = opened(proto)
    assert estimator.contract.meaning == meaning
    assert estimator.n_features_in_ == 64
    copy = normalised(estimator)
    assert [(i.name, i.type.tensor_type.shape.dim[1].dim_value) for i in copy.graph.input] == [("rows", 64)]
    assert [(o.name, o.type.tensor_type.shape.dim[1].dim_value) for o in copy.graph.output] == [("outputs", 10)]
    assert 13 <= copy.opset_import[0].version <= 21
    np.testing.assert_allclose(answer(copy, ROWS[:50]), estimator.predict_proba(ROWS[:50]), rtol=0, atol=1e-6)
    assert estimator.proto.SerializeToString() == before
    assert normalised(estimator).SerializeToString(deterministic=True) == copy.SerializeToString(deterministic=True)


def test_an_estimator_from_a_file_is_a_model(tmp_path):
    path = written(cnn_graph(), tmp_path)
    before = path.read_bytes()
    estimator = load_model_file(path)
    labels = tuple(str(i) for i in range(10))
    fitted = FittedModel(estimator, "classification", tuple(Feature(f"f{i}") for i in range(64)), labels)
    truth = load("digits")[1]
    outputs = fitted.outputs(ROWS[1200:])
    np.testing.assert_allclose(outputs.sum(axis=1), 1)
    assert np.mean(outputs.argmax(axis=1) == truth[1200:]) > 0.9
    assert np.array_equal(estimator.predict(ROWS[:20]), estimator.predict_proba(ROWS[:20]).argmax(axis=1))
    assert path.read_bytes() == before


def sklearn_graph(estimator, rows, *, zipmap):
    options = {id(estimator): {"zipmap": zipmap}}
    return to_onnx(estimator, rows[:1], options=options, target_opset={"": 21, "ai.onnx.ml": 3})


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("texts", [True, False])
def test_scikit_learns_outputs_are_read_with_their_labels(zipmap, texts):
    rows, truth = load("cancer")
    names = np.array(["benign", "malign"])[truth] if texts else truth + 3
    forest = RandomForestClassifier(5, random_state=0).fit(rows, names)
    estimator = opened(sklearn_graph(forest, rows, zipmap=zipmap))
    assert estimator.contract.meaning == "probabilities"
    assert estimator.classes_.tolist() == forest.classes_.tolist()
    np.testing.assert_allclose(estimator.predict_proba(rows), forest.predict_proba(rows), atol=1e-6)
    np.testing.assert_allclose(answer(normalised(estimator), rows), forest.predict_proba(rows), atol=1e-6)
    assert np.array_equal(estimator.predict(rows), forest.predict(rows))


def test_a_regressor_answers_a_value():
    rows, truth = load("diabetes")
    regressor = LinearRegression().fit(rows, truth)
    estimator = opened(to_onnx(regressor, rows[:1], target_opset={"": 21, "ai.onnx.ml": 3}))
    assert estimator.contract.meaning == "value"
    assert not hasattr(estimator, "classes_")
    np.testing.assert_allclose(estimator.predict(rows), regressor.predict(rows), rtol=1e-5)
    np.testing.assert_allclose(answer(normalised(estimator), rows)[:, 0], regressor.predict(rows), rtol=1e-5)
    with pytest.raises(ModelError, match="answers a value"):
        estimator.predict_proba(rows)


def one_column(last: str | None, elem_type=TensorProto.FLOAT):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["s"])]
    nodes += [helper.make_node(last, ["s"], ["p"])] if last else []
    dtype = np.float64 if elem_type == TensorProto.DOUBLE else np.float32
    weights = tensor("w", [[1.0], [-2.0], [0.5]], dtype)
    return model(
        nodes, [value("x", ["n", 3], elem_type)], [value("p" if last else "s", ["n", 1], elem_type)], [weights]
    )


SMALL = np.sin(np.arange(60, dtype=np.float32)).reshape(20, 3)


@pytest.mark.parametrize(
    ("last", "asked", "meaning"),
    [
        ("Sigmoid", None, "probability"),
        (None, None, "value"),
        (None, "logits", "logit"),
        (None, "probabilities", "probability"),
    ],
)
def test_one_number_is_a_probability_of_two_classes_after_a_sigmoid_or_where_that_is_said(last, asked, meaning):
    estimator = opened(one_column(last), outputs=asked)
    assert estimator.contract.meaning == meaning
    score = SMALL.astype(np.float64) @ [1.0, -2.0, 0.5]
    if meaning != "value":
        second = score if asked == "probabilities" else 1 / (1 + np.exp(-score))
        np.testing.assert_allclose(estimator.predict_proba(SMALL), np.stack([1 - second, second], axis=1), atol=1e-6)
        assert estimator.classes_.tolist() == [0, 1]
    expected = estimator.answers(SMALL)
    np.testing.assert_allclose(answer(normalised(estimator), SMALL), expected, atol=1e-6)


def test_what_is_said_of_the_outputs_holds_over_what_is_found():
    assert opened(mlp_graph(), outputs="probabilities").contract.meaning == "probabilities"
    assert opened(mlp_graph(ends_in="probabilities"), outputs="logits").contract.meaning == "logits"


def test_rows_settle_whether_answers_are_probabilities():
    # x / sum(x) is a distribution on positive rows, and none on others.
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=1),
        helper.make_node("Div", ["x", "total"], ["y"]),
    ]
    proto = model(nodes, [value("x", ["n", 3])], [value("y", ["n", 3])], [])
    proto.graph.node[0].input.append("axes")
    proto.graph.initializer.append(tensor("axes", [1], np.int64))
    estimator = opened(proto)
    assert estimator.contract.meaning == "logits"
    assert estimator.settled(np.abs(SMALL) + 1, None).contract.meaning == "probabilities"


def test_float64_inputs_and_answers_are_cast():
    estimator = opened(one_column("Sigmoid", TensorProto.DOUBLE))
    got = answer(normalised(estimator), SMALL)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, estimator.predict_proba(SMALL), atol=1e-7)


def test_several_inputs_take_a_row_piece_by_piece():
    nodes = [
        helper.make_node("Cast", ["b"], ["bf"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["a", "bf", "c"], ["y"], axis=1),
    ]
    inputs = [value("a", ["n", 1]), value("b", ["n", 2], TensorProto.INT64), value("c", ["n", 1])]
    estimator = opened(model(nodes, inputs, [value("y", ["n", 4])], []), outputs="probabilities")
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert np.array_equal(estimator.answers(rows), rows)
    assert np.array_equal(answer(normalised(estimator), rows), rows)


def test_an_axis_left_open_is_settled_by_rows():
    proto = mlp_graph()
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "features"
    with pytest.raises(ModelError, match=r"shape \(batch, features\): export it with every axis but the first fixed"):
        opened(proto)
    assert opened(proto, rows=ROWS[:5]).n_features_in_ == 64


def relu(shape):
    return model([helper.make_node("Relu", ["x"], ["y"])], [value("x", shape)], [value("y", shape)], [])


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (lambda: relu([4]), "not \\(rows, …\\)"),
        (lambda: relu([7, 4]), "takes 7 rows at a time"),
        (lambda: relu(["n", "a", "b"]), "every axis but the first fixed"),
        (lambda: relu(["n", 1 << 21]), "at most"),
        (
            lambda: model(
                [helper.make_node("Identity", ["x"], ["y"])],
                [value("x", ["n", 3], TensorProto.STRING)],
                [value("y", ["n", 3], TensorProto.STRING)],
                [],
            ),
            "takes no numbers",
        ),
        (
            lambda: model(
                [helper.make_node("Split", ["x"], ["y", "z"], axis=1, num_outputs=2)],
                [value("x", ["n", 4])],
                [value("y", ["n", 2]), value("z", ["n", 2])],
                [],
                opset=18,
            ),
            "exactly one answer",
        ),
        (
            lambda: model(
                [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], [value("x", ["n", 4])], [value("y", [])], []
            ),
            "first axis must be that of rows",
        ),
        (
            lambda: model([helper.make_node("Identity", ["c"], ["y"])], [], [value("y", [1])], [tensor("c", [1.0])]),
            "takes no input",
        ),
    ],
)
def test_what_rows_cannot_feed_or_nobody_can_read_is_refused(proto, message):
    with pytest.raises(ModelError, match=message):
        opened(proto())


def test_rows_of_another_width_are_refused():
    with pytest.raises(ModelError, match="takes 64 numbers a row, the rows have 3 columns"):
        opened(mlp_graph(), rows=SMALL)


def test_rows_that_the_graph_fails_on_are_an_error_of_the_model():
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    proto = model(nodes, [value("x", ["n", 3])], [value("y", [16, 3])], [tensor("shape", [16, 3], np.int64)])
    estimator = opened(proto, outputs="logits")
    with pytest.raises(ModelError, match="fails on 20 rows"):
        estimator.predict(SMALL)


def test_a_graph_that_mixes_the_rows_of_a_batch_is_refused_for_devices():
    # Written for one row: the mean over all numbers is that of the row only then.
    nodes = [helper.make_node("ReduceMean", ["x"], ["m"], keepdims=1), helper.make_node("Mul", ["x", "m"], ["y"])]
    estimator = opened(model(nodes, [value("x", [1, 3])], [value("y", [1, 3])], []))
    with pytest.raises(ConversionError, match="one row at a time"):
        normalised(estimator)


def test_operators_newer_than_devices_run_are_refused():
    proto = mlp_graph()
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 4))
    estimator = opened(proto)
    estimator.proto.opset_import[-1].version = 9
    with pytest.raises(ConversionError, match=r"version 9 of ai\.onnx\.ml"):
        normalised(estimator)


def test_labels_of_a_linear_classifier_come_from_its_attributes():
    rows, truth = load("cancer")
    logistic = LogisticRegression(max_iter=50).fit(rows / 100, np.array(["no", "yes"])[truth])
    assert opened(sklearn_graph(logistic, rows, zipmap=False)).classes_.tolist() == ["no", "yes"]
