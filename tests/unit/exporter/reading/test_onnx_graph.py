import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler

from edge_agent.bundle import Feature
from exporter.errors import UnsupportedError
from exporter.graphs.graph import parse_model
from exporter.material import Material
from exporter.models.model import FittedModel
from exporter.onnx.target import convert_onnx_fp32
from exporter.programs.interpreter import run_program
from exporter.programs.program import Linear, Scale
from tests.unit.exporter.example_graphs import cnn_graph, mlp_graph, model, tensor, value
from tests.unit.exporter.families import learn, load

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(40, 6)).astype(np.float32)
HOLES = np.where(RNG.random(ROWS.shape) < 0.3, np.nan, ROWS).astype(np.float32)
W = RNG.normal(size=(6, 4))
C = RNG.normal(size=6)


@pytest.fixture(autouse=True)
def no_trial(monkeypatch):
    """These graphs are our own: that they load need not be tried in a process of its own."""
    monkeypatch.setattr("exporter.graphs.file._try_elsewhere", lambda *_: None)


def fitted(proto: onnx.ModelProto, *, asked="probabilities") -> FittedModel:
    estimator = parse_model(proto.SerializeToString(), "m.onnx", outputs=asked)
    labels = tuple(str(label) for label in getattr(estimator, "classes_", ()))
    features = tuple(Feature(f"f{i}") for i in range(estimator.n_features_in_))
    return FittedModel(estimator, "classification" if labels else "regression", features, labels)


def graph_of(nodes, n_out, *tensors, n_in=6, opset=18, ml=3) -> onnx.ModelProto:
    """Return a model of nodes from ``x (n, n_in)`` to ``y (n, n_out)``."""
    return model(nodes, [value("x", ["n", n_in])], [value("y", ["n", n_out])], list(tensors), opset=opset, ml=ml)


def node(kind, inputs, output="y", **attributes):
    return helper.make_node(kind, inputs, [output], name=f"/{kind}/{output}", **attributes)


def ints(name, *values):
    return tensor(name, values, np.int64)


IMAGE = [node("Reshape", ["x", "s"], "i")]
SHAPE = ints("s", -1, 2, 3)
BACK = node("Flatten", ["t"])

GRAPHS = {
    "gemm": lambda: graph_of(
        [node("Gemm", ["x", "w", "b"], alpha=0.5, beta=2.0)], 4, tensor("w", W), tensor("b", C[:4])
    ),
    "gemm transposed": lambda: graph_of([node("Gemm", ["x", "w"], transB=1)], 4, tensor("w", W.T)),
    "matmul and add": lambda: graph_of(
        [node("MatMul", ["x", "w"], "p"), node("Add", ["p", "b"])], 4, tensor("w", W), tensor("b", C[:4])
    ),
    "constants before": lambda: graph_of([node("Sub", ["c", "x"], "p"), node("Mul", ["c", "p"])], 6, tensor("c", C)),
    "constants behind": lambda: graph_of(
        [
            node("Sub", ["x", "c"], "p"),
            node("Div", ["p", "c"], "q"),
            node("Mul", ["q", "c"], "r"),
            node("Add", ["r", "c"]),
        ],
        6,
        tensor("c", C),
    ),
    "constant by row": lambda: graph_of([node("Div", ["c", "x"])], 6, tensor("c", C)),
    "constant of one number": lambda: graph_of([node("Mul", ["x", "c"])], 6, tensor("c", 3.0)),
    "vectors": lambda: graph_of(
        [
            node("Abs", ["x"], "a"),
            node("Add", ["x", "a"], "b"),
            node("Mul", ["b", "x"], "c"),
            node("Sub", ["c", "a"], "d"),
            node("Div", ["d", "a"]),
        ],
        6,
    ),
    "columns against a column": lambda: graph_of(
        [node("Gather", ["x", "i"], "a", axis=1), node("Sub", ["x", "a"])], 6, ints("i", 2)
    ),
    "curves": lambda: graph_of(
        [
            node("Relu", ["x"], "a"),
            node("Tanh", ["a"], "b"),
            node("Sigmoid", ["b"], "c"),
            node("Exp", ["c"], "d"),
            node("Log", ["d"], "e"),
            node("Sqrt", ["e"], "f"),
            node("Neg", ["f"], "g"),
            node("Reciprocal", ["g"]),
        ],
        6,
    ),
    "powers": lambda: graph_of([node("Pow", ["x", "two"])], 6, tensor("two", 2.0)),
    "leaky": lambda: graph_of([node("LeakyRelu", ["x"], alpha=0.2)], 6),
    "elu": lambda: graph_of([node("Elu", ["x"], alpha=0.7)], 6),
    "hard": lambda: graph_of([node("HardSigmoid", ["x"])], 6),
    "clip": lambda: graph_of([node("Clip", ["x", "l", "h"])], 6, tensor("l", -0.5), tensor("h", 0.7)),
    "clip from below": lambda: graph_of([node("Clip", ["x", "l"])], 6, tensor("l", -0.5)),
    "softmax": lambda: graph_of([node("Softmax", ["x"], axis=-1)], 6),
    "logarithms": lambda: graph_of([node("LogSoftmax", ["x"], axis=1)], 6),
    "batch normalisation": lambda: graph_of(
        [node("BatchNormalization", ["x", "a", "b", "m", "v"])],
        6,
        *(tensor(name, part) for name, part in zip("abmv", (C, C + 1, C - 1, C**2), strict=True)),
    ),
    "batch normalisation of channels": lambda: graph_of(
        [*IMAGE, node("BatchNormalization", ["i", "a", "b", "m", "v"], "t"), BACK],
        6,
        SHAPE,
        *(tensor(name, part[:2]) for name, part in zip("abmv", (C, C + 1, C - 1, C**2), strict=True)),
    ),
    "transposed": lambda: graph_of([*IMAGE, node("Transpose", ["i"], "t", perm=[0, 2, 1]), BACK], 6, SHAPE),
    "sliced": lambda: graph_of(
        [*IMAGE, node("Slice", ["i", "b", "e", "a", "d"], "t"), BACK],
        4,
        SHAPE,
        ints("b", 2),
        ints("e", 0),
        ints("a", 2),
        ints("d", -1),
    ),
    "split": lambda: graph_of(
        [
            helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1),
            node("Concat", ["b", "a", "b"], axis=1),
        ],
        10,
        ints("sizes", 2, 4),
    ),
    "stacked": lambda: graph_of(
        [
            node("Unsqueeze", ["x", "one"], "a"),
            node("Concat", ["a", "a"], "b", axis=1),
            node("Transpose", ["b"], "t", perm=[0, 2, 1]),
            BACK,
        ],
        12,
        ints("one", 1),
    ),
    "squeezed": lambda: graph_of(
        [node("Unsqueeze", ["x", "one"], "a"), node("Squeeze", ["a", "one"])], 6, ints("one", 1)
    ),
    "reshaped as PyTorch computes it": lambda: graph_of(
        [
            *IMAGE,
            node("Shape", ["i"], "shape"),
            node("Gather", ["shape", "zero"], "rows", axis=0),
            node("Unsqueeze", ["rows", "axis"], "first"),
            node("Concat", ["first", "rest"], "whole", axis=0),
            node("Reshape", ["i", "whole"]),
        ],
        6,
        SHAPE,
        tensor("zero", 0, np.int64),
        ints("axis", 0),
        ints("rest", -1),
    ),
    "reduced": lambda: graph_of([node("ReduceMean", ["x", "axes"], keepdims=1)], 1, ints("axes", 1)),
    "summed": lambda: graph_of([node("Sum", ["x", "x", "x"], "s"), node("Mean", ["s", "x"])], 6),
    "missing filled": lambda: graph_of([node("IsNaN", ["x"], "m"), node("Where", ["m", "c", "x"])], 6, tensor("c", C)),
    "cast to double": lambda: graph_of(
        [node("Cast", ["x"], "d", to=TensorProto.DOUBLE), node("Cast", ["d"], to=TensorProto.FLOAT)], 6
    ),
    "dropout": lambda: graph_of([node("Dropout", ["x"], "d"), node("Identity", ["d"])], 6),
    "features extracted": lambda: graph_of(
        [helper.make_node("ArrayFeatureExtractor", ["x", "i"], ["y"], domain="ai.onnx.ml")], 2, ints("i", 4, 1)
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_reads_as_it_runs(name):
    model_ = fitted(GRAPHS[name]())
    rows = HOLES if "missing" in name else ROWS
    with np.errstate(all="ignore"):
        expected = model_.outputs(rows)
    got = run_program(Material(model_, rows).program, rows)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def ml(kind, inputs, output="y", **attributes):
    return helper.make_node(kind, inputs, [output], name=f"/{kind}/{output}", domain="ai.onnx.ml", **attributes)


LEARNERS = {
    "scaler": lambda: graph_of([ml("Scaler", ["x"], offset=C.tolist(), scale=(C**2).tolist())], 6),
    "scaler of one number": lambda: graph_of([ml("Scaler", ["x"], offset=[1.0], scale=[0.5])], 6),
    "imputer": lambda: graph_of(
        [ml("Imputer", ["x"], imputed_value_floats=C.tolist(), replaced_value_float=float("nan"))], 6
    ),
    "normalizer": lambda: graph_of([ml("Normalizer", ["x"], norm="L2")], 6),
    "linear regressor": lambda: graph_of(
        [ml("LinearRegressor", ["x"], coefficients=W.T.reshape(-1).tolist(), intercepts=C[:4].tolist(), targets=4)], 4
    ),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_operators_of_machine_learning_read_as_they_run(name):
    model_ = fitted(LEARNERS[name]())
    rows = HOLES if name == "imputer" else ROWS
    np.testing.assert_allclose(
        run_program(Material(model_, rows).program, rows), model_.outputs(rows), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("post_transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_a_linear_classifier_reads_as_it_runs(post_transform):
    classifier = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "y"],
        domain="ai.onnx.ml",
        coefficients=W.T.reshape(-1).tolist(),
        intercepts=C[:4].tolist(),
        classlabels_ints=[0, 1, 2, 3],
        post_transform=post_transform,
    )
    model_ = fitted(graph_of([classifier], 4))
    np.testing.assert_allclose(
        run_program(Material(model_, ROWS).program, ROWS), model_.outputs(ROWS), rtol=1e-5, atol=1e-5
    )


def test_codes_are_encoded_one_hot():
    nodes = [
        node("Cast", ["x"], "i", to=TensorProto.INT64),
        ml("OneHotEncoder", ["i"], "t", cats_int64s=[0, 2, 5], zeros=1),
        BACK,
    ]
    rows = np.array([[0, 2], [5, 1], [2, 2.9], [7, -0.5], [5.5, -1], [6, 3]], np.float32)
    model_ = fitted(graph_of(nodes, 6, n_in=2))
    assert np.array_equal(run_program(Material(model_, rows).program, rows), model_.outputs(rows))


PIPELINES = {
    "mlp": lambda: make_pipeline(StandardScaler(), MLPClassifier((10,), max_iter=20, random_state=0)),
    "imputed logistic": lambda: make_pipeline(SimpleImputer(), MinMaxScaler(), LogisticRegression(max_iter=30)),
    "normalised logistic": lambda: make_pipeline(Normalizer(), LogisticRegression(max_iter=30)),
}


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_scikit_learns_converter_writes_reads_as_it_runs(name):
    rows, truth = load("digits")
    pipeline = PIPELINES[name]().fit(rows[:600], truth[:600])
    proto = to_onnx(
        pipeline, rows[:1], options={id(pipeline): {"zipmap": False}}, target_opset={"": 18, "ai.onnx.ml": 3}
    )
    model_ = fitted(proto, asked=None)
    np.testing.assert_allclose(
        run_program(Material(model_, rows).program, rows), pipeline.predict_proba(rows), rtol=0, atol=1e-5
    )


def test_a_value_reads_as_it_runs():
    rows, truth = load("diabetes")
    ridge = make_pipeline(StandardScaler(), Ridge()).fit(rows, truth)
    model_ = fitted(to_onnx(ridge, rows[:1], target_opset={"": 18, "ai.onnx.ml": 3}), asked=None)
    got = run_program(Material(model_, rows).program, rows)
    np.testing.assert_allclose(got[:, 0], ridge.predict(rows), rtol=1e-5)


@pytest.mark.parametrize("family", ["mlp", "imputed mlp"])
def test_what_we_write_ourselves_can_be_read_again(family):
    learnt = learn(family, "cancer")
    written = convert_onnx_fp32(Material(learnt.model, learnt.training))
    estimator = parse_model(written, "m.onnx")
    model_ = FittedModel(estimator, "classification", learnt.model.features, ("0", "1"))
    got = run_program(Material(model_, learnt.training).program, learnt.evaluation)
    np.testing.assert_allclose(got, learnt.model.outputs(learnt.evaluation), rtol=0, atol=1e-6)


def test_standardising_is_one_operation_and_products_keep_their_bias():
    program = Material(fitted(mlp_graph(), asked=None), load("digits")[0]).program
    kinds = [type(each.operation) for each in program.nodes]
    assert kinds.count(Scale) == 1
    assert kinds.count(Linear) == 2
    assert [each.step for each in program.nodes if each.kind == "Gemm"] == ["/fc0/Gemm", "/fc1/Gemm"]


CONSTANT_WEIGHTS = tensor("w", W)
REFUSED = {
    "an operator": (lambda: graph_of([node("Erf", ["x"])], 6), r"node `/Erf/y`: Erf is an operator that"),
    "whole numbers": (
        lambda: graph_of(
            [node("Cast", ["x"], "i", to=TensorProto.INT32), node("Cast", ["i"], to=TensorProto.FLOAT)], 6
        ),
        "Cast of whole numbers",
    ),
    "a power": (lambda: graph_of([node("Pow", ["x", "p"])], 6, tensor("p", 3.0)), "Pow to the power"),
    "a choice": (
        lambda: graph_of([node("IsNaN", ["x"], "m"), node("Where", ["m", "x", "x"])], 6),
        "Where other than one that fills",
    ),
    "weights that are computed": (
        lambda: graph_of([node("Transpose", ["x"], "t"), node("MatMul", ["x", "t"])], 6),
        "Transpose of rows with other axes",
    ),
    "rows mixed by a reshape": (
        lambda: graph_of(
            [node("Reshape", ["x", "s"], "r"), node("Reshape", ["r", "t"])], 6, ints("s", -1), ints("t", -1, 6)
        ),
        "Reshape of rows",
    ),
    "a mean over rows": (
        lambda: graph_of([node("ReduceMean", ["x", "a"], "m"), node("Sub", ["x", "m"])], 6, ints("a", 0)),
        "ReduceMean along axis 0",
    ),
    "texts encoded": (
        lambda: graph_of(
            [
                node("Cast", ["x"], "i", to=TensorProto.STRING),
                ml("OneHotEncoder", ["i"], "t", cats_strings=["a"], zeros=1),
                BACK,
            ],
            6,
        ),
        "Cast to another type",
    ),
    "convolutions": (cnn_graph, "node `/conv/Conv`: Conv is an operator that has no form that devices run"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_is_refused_by_its_name(name):
    make, message = REFUSED[name]
    with pytest.raises(UnsupportedError, match=message):
        _ = Material(fitted(make()), ROWS).program
