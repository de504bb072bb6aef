import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)

from exporter.errors import UnsupportedError
from exporter.programs.folding import fold_into_thresholds
from exporter.programs.interpreter import run_program
from exporter.programs.program import ProgramBuilder
from exporter.reading.onnx_trees import OPERATORS
from exporter.reading.onnx_values import GraphReading, Vector

from .reference import around, data, with_gaps

SPECIAL = np.array([0.0, -0.0, 1.0, 2.0, 3.0, 0.5, np.nan, -1.0, 1e-45, -1e-45, 2.5], dtype=np.float32)


def program_of(node: onnx.NodeProto, n_features: int):
    reading = GraphReading(ProgramBuilder(n_features))
    reading.node = node
    reading.values[node.input[0]] = Vector(0, (n_features,))
    found = OPERATORS[node.op_type](reading)
    assert isinstance(found, Vector)
    return reading.builder.build(found.place)


def answers_of(node: onnx.NodeProto, rows: np.ndarray, version: int, *, doubles: bool = False) -> np.ndarray:
    """Return what ONNX Runtime answers; float64 rows where the node compares float64 numbers."""
    kind = TensorProto.DOUBLE if doubles else TensorProto.FLOAT
    answer = node.output[-1]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(node.input[0], kind, [None, rows.shape[1]])],
        [onnx.ValueInfoProto(name=answer)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", version)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    given = rows.astype(np.float64) if doubles else rows
    return np.asarray(session.run(None, {node.input[0]: given})[0]).reshape(len(rows), -1)


def assert_same(node: onnx.NodeProto, rows: np.ndarray, version: int, *, doubles: bool = False) -> None:
    program = program_of(node, rows.shape[1])
    rows = around(program, rows, 2000, missing=True)
    expected = answers_of(node, rows, version, doubles=doubles)
    got = run_program(program, rows)
    assert np.max(np.abs(got - expected) / np.maximum(1, np.abs(expected))) <= 1e-6
    assert np.array_equal(run_program(fold_into_thresholds(program), rows), got)


def random_rows(n: int = 500) -> np.ndarray:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, 3)).astype(np.float32)
    special = rng.random(rows.shape) < 0.5
    rows[special] = rng.choice(SPECIAL, size=int(special.sum()))
    return rows


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(10, random_state=0),
        GradientBoostingClassifier(n_estimators=5, random_state=0),
        RandomForestRegressor(10, random_state=0),
        HistGradientBoostingRegressor(max_iter=10),
        IsolationForest(n_estimators=10, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("name", ["wine", "cancer"])
def test_what_scikit_learns_converter_writes_answers_as_in_onnx_runtime(estimator, name):
    from skl2onnx import to_onnx

    rows, truth = data(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proto = to_onnx(estimator.fit(rows, truth), rows[:1], target_opset={"": 18, "ai.onnx.ml": 3})
    nodes = [node for node in proto.graph.node if node.op_type.startswith("TreeEnsemble")]
    assert nodes
    for node in nodes[:3]:
        if node.input[0] == proto.graph.input[0].name:
            assert_same(node, with_gaps(rows), 3)


def old_node(op_type: str, weights, ids, mode="BRANCH_LEQ", splits=(0.5, 1.0, 2.0), **attributes) -> onnx.NodeProto:
    """Return stumps, one a pair of weights, each with its own column and threshold."""
    kind = "class" if op_type.endswith("Classifier") else "target"
    parts: dict[str, list[object]] = {}

    def put(**values):
        for name, value in values.items():
            parts.setdefault(name, []).append(value)

    for tree, (true, false) in enumerate(weights):
        for number, (asked, up, down) in enumerate([(mode, 1, 2), ("LEAF", 0, 0), ("LEAF", 0, 0)]):
            put(nodes_treeids=tree, nodes_nodeids=number, nodes_featureids=tree % 3, nodes_modes=asked)
            put(nodes_truenodeids=up, nodes_falsenodeids=down, nodes_values=float(splits[tree % len(splits)]))
        for number, weight in ((1, true), (2, false)):
            put(**{f"{kind}_treeids": tree, f"{kind}_nodeids": number})
            put(**{f"{kind}_ids": ids[tree % len(ids)], f"{kind}_weights": float(weight)})
    outputs = ["label", "answer"] if kind == "class" else ["answer"]
    return helper.make_node(op_type, ["x"], outputs, domain="ai.onnx.ml", **{**parts, **attributes})


WEIGHTS = [(0.2, 0.9), (0.1, 0.3), (0.05, 0.4)]
SIGNED = [(-0.2, 0.9), (0.1, -0.3), (0.05, 0.4)]


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"])
@pytest.mark.parametrize("tracks", [None, [0, 0, 0] * 3, [1, 0, 0] * 3])
def test_every_comparison_decides_as_in_onnx_runtime(mode, tracks):
    options = {} if tracks is None else {"nodes_missing_value_tracks_true": tracks}
    node = old_node("TreeEnsembleRegressor", WEIGHTS, [0], mode, n_targets=1, **options)
    assert_same(node, random_rows(), 3)


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"])
def test_float64_thresholds_between_float32_numbers_decide_as_in_onnx_runtime(mode):
    splits = [0.1, 1.0, 1.0 + 1e-9]
    node = old_node("TreeEnsembleRegressor", WEIGHTS, [0], mode, n_targets=1)
    for attribute in [a for a in node.attribute if a.name in ("nodes_values", "target_weights")]:
        node.attribute.remove(attribute)
        numbers = np.repeat(splits, 3).tolist() if attribute.name == "nodes_values" else list(attribute.floats)
        tensor = helper.make_tensor(attribute.name, TensorProto.DOUBLE, [len(numbers)], numbers)
        node.attribute.append(helper.make_attribute(f"{attribute.name}_as_tensor", tensor))
    rows = random_rows()
    rows[::3, 0] = np.nextafter(np.float32(0.1), np.float32(1))
    rows[1::3, 0] = np.float32(0.1)
    assert_same(node, rows, 3, doubles=True)


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE"])
@pytest.mark.parametrize("base", [None, [0.5, -1.0]])
def test_regressors_of_two_targets_are_summed_or_averaged(aggregate, base):
    options = {} if base is None else {"base_values": base}
    node = old_node("TreeEnsembleRegressor", WEIGHTS, [0, 1], n_targets=2, aggregate_function=aggregate, **options)
    assert_same(node, random_rows(), 3)


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("weights", [WEIGHTS, SIGNED])
@pytest.mark.parametrize(
    ("ids", "labels", "base"),
    [
        ([0], 2, None),
        ([0], 2, [0.25]),
        ([1], 2, None),
        ([0, 1], 2, None),
        ([0, 1, 2], 3, None),
        ([0, 1, 2], 3, [0.5, 0.1, -0.2]),
        ([2], 3, None),
    ],
)
def test_classifiers_answer_as_in_onnx_runtime(post, weights, ids, labels, base):
    options = {} if base is None else {"base_values": base}
    node = old_node(
        "TreeEnsembleClassifier", weights, ids, classlabels_int64s=list(range(labels)), post_transform=post, **options
    )
    assert_same(node, random_rows(), 3)


def new_node(modes=(0, 1, 2, 3, 4, 5, 6), splits=(0.5, 1.0, 1.0, 2.0, 2.0, 3.0, 0.0), **attributes) -> onnx.NodeProto:
    """Return one tree: a chain of all comparisons, whose true children are leaves."""
    n = len(modes)
    parts = {
        "nodes_featureids": [i % 3 for i in range(n)],
        "nodes_modes": helper.make_tensor("m", TensorProto.UINT8, [n], modes),
        "nodes_splits": helper.make_tensor("s", TensorProto.FLOAT, [n], splits),
        "nodes_truenodeids": list(range(n)),
        "nodes_trueleafs": [1] * n,
        "nodes_falsenodeids": [*range(1, n), n],
        "nodes_falseleafs": [0] * (n - 1) + [1],
        "leaf_targetids": [0] * (n + 1),
        "leaf_weights": helper.make_tensor("w", TensorProto.FLOAT, [n + 1], [2.0**i for i in range(n + 1)]),
        "tree_roots": [0],
        "n_targets": 1,
        "membership_values": helper.make_tensor("v", TensorProto.FLOAT, [4], [1.0, 3.0, 2.5, float("nan")]),
    }
    return helper.make_node("TreeEnsemble", ["x"], ["answer"], domain="ai.onnx.ml", **{**parts, **attributes})


@pytest.mark.parametrize("tracks", [None, [0] * 7, [0, 0, 0, 0, 0, 0, 1], [1] * 7])
@pytest.mark.parametrize("first", range(7))
def test_the_newest_operator_decides_as_in_onnx_runtime(tracks, first):
    modes = [*range(first, 7), *range(first)]
    options = {} if tracks is None else {"nodes_missing_value_tracks_true": tracks}
    assert_same(new_node(modes, **options), random_rows(2000), 5)


@pytest.mark.parametrize("aggregate", [0, 1, 2, 3])
def test_the_newest_operator_aggregates_one_tree_in_every_way(aggregate):
    assert_same(new_node(aggregate_function=aggregate), random_rows(), 5)


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX"])
def test_two_targets_may_be_transformed(post):
    node = old_node("TreeEnsembleRegressor", WEIGHTS, [0, 1], n_targets=2, post_transform=post)
    assert_same(node, random_rows(), 3)


def test_a_leaf_that_two_nodes_share_is_read():
    node = new_node((0,), (0.5,), nodes_truenodeids=[0], nodes_falsenodeids=[0], nodes_falseleafs=[1])
    assert run_program(program_of(node, 3), random_rows(5)).tolist() == [[1.0]] * 5


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        (new_node(tree_roots=[0, 0]), "two parents"),
        (new_node(tree_roots=[9]), "a root outside of 7"),
        (new_node(tree_roots=[0, 1], aggregate_function=3), "MAX over 2 trees"),
        (new_node(post_transform=1), "not read alike everywhere"),
        (new_node(aggregate_function=4), "the number 4 for one of"),
        (new_node(nodes_featureids=[0, 1, 2, 3, 0, 0, 0]), "outside of 3"),
        (new_node(nodes_featureids=[0]), "with 7 nodes_modes where 1"),
        (new_node(nodes_truenodeids=[8] * 7), "a child outside"),
        (new_node(nodes_falsenodeids=[0] * 7), "two parents"),
        (new_node(leaf_targetids=[1] * 8), "an answer outside of 1"),
        (new_node(modes=(6,) * 7), "sets for 7 nodes"),
        (new_node(modes=(7,) * 7), "of 7 nodes, 8 leaves"),
        (old_node("TreeEnsembleRegressor", WEIGHTS, [1], n_targets=1), "answers that are not there"),
        (old_node("TreeEnsembleRegressor", WEIGHTS, [0], n_targets=1, target_treeids=[9] * 6), "not there"),
        (old_node("TreeEnsembleRegressor", WEIGHTS, [0], n_targets=1, base_values=[1.0, 2.0]), "2 base values"),
        (old_node("TreeEnsembleRegressor", WEIGHTS, [0], n_targets=1, aggregate_function="MIN"), "MIN over 3 trees"),
        (old_node("TreeEnsembleRegressor", WEIGHTS, [0], "BRANCH_X", n_targets=1), "modes"),
        (old_node("TreeEnsembleRegressor", WEIGHTS, [0], n_targets=1, nodes_truenodeids=[7, 0, 0] * 3), "one root"),
        (old_node("TreeEnsembleRegressor", WEIGHTS, [0], n_targets=1, post_transform="LOGISTIC"), "of 1 scores"),
        (old_node("TreeEnsembleRegressor", WEIGHTS, [0], n_targets=1, nodes_truenodeids=[0] * 9), "no root leads to"),
        (
            old_node("TreeEnsembleClassifier", WEIGHTS, [0, 1], classlabels_int64s=[0, 1], base_values=[1.0, 2.0]),
            "two classes with base values",
        ),
        (
            old_node("TreeEnsembleClassifier", WEIGHTS, [0], classlabels_int64s=[0, 1], post_transform="PROBIT"),
            "one score for two classes",
        ),
    ],
)
def test_nodes_that_contradict_themselves_or_have_no_form_are_refused(node, problem):
    with pytest.raises(UnsupportedError, match=problem):
        program_of(node, 3)
