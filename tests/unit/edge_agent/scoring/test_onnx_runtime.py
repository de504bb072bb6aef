"""What only ONNX models can be: several outputs, labels, other types."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_agent.errors import BundleError
from edge_agent.scoring.onnx_runtime import OnnxRuntime
from tests.unit.edge_agent.examples import write_onnx_classifier, write_onnx_regressor


@pytest.mark.parametrize("flat", [False, True])
def test_a_regressor_may_answer_a_column_or_a_list(tmp_path: Path, flat: bool):  # noqa: FBT001
    runtime = OnnxRuntime(write_onnx_regressor(tmp_path / "m.onnx", flat=flat), 2, 1)
    assert [list(runtime.score(row)) for row in ([1.0, 2.0], [1.0, 3.0])] == [[2.0], [3.0]]
    assert runtime.score_batch([[1.0, 2.0], [1.0, 3.0]]) == [[2.0], [3.0]]


def test_a_declared_width_is_compared_with_the_manifest(tmp_path: Path):
    path = write_onnx_classifier(tmp_path / "m.onnx", open_shape=False)
    with pytest.raises(BundleError, match="takes 2 features, its manifest has 3"):
        OnnxRuntime(path, 3, 2)


def _write_identity(path: Path, kind: int, outputs: int = 1) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["X"], [f"Y{n}"]) for n in range(outputs)],
        "identity",
        [helper.make_tensor_value_info("X", kind, [None, 2])],
        [helper.make_tensor_value_info(f"Y{n}", kind, [None, 2]) for n in range(outputs)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), str(path))
    return path


def test_an_input_that_is_not_float32_is_refused(tmp_path: Path):
    with pytest.raises(BundleError, match="not one input of"):
        OnnxRuntime(_write_identity(tmp_path / "m.onnx", TensorProto.DOUBLE), 2, 2)


def test_two_outputs_that_both_fit_are_refused_rather_than_guessed(tmp_path: Path):
    with pytest.raises(BundleError, match=r"Y0.*Y1.*its manifest has 2 outputs"):
        OnnxRuntime(_write_identity(tmp_path / "m.onnx", TensorProto.FLOAT, outputs=2), 2, 2)


def _write_row_model(path: Path, node: onnx.NodeProto, rows: int | None) -> Path:
    graph = helper.make_graph(
        [node],
        "model",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [rows, 2])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [rows, 2])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), str(path))
    return path


def test_rows_are_scored_together_only_where_that_changes_no_answer(tmp_path: Path):
    by_itself = helper.make_node("Softmax", ["X"], ["Y"], axis=1)
    over_all = helper.make_node("Softmax", ["X"], ["Y"], axis=0)
    for node, rows, is_many in ((by_itself, None, True), (by_itself, 1, False), (over_all, None, False)):
        bound = OnnxRuntime(_write_row_model(tmp_path / "m.onnx", node, rows), 2, 2).bind(8)
        assert (bound.run_many is not None) == is_many
        np.asarray(bound.entry)[:] = [[0.0, 1.0]]
        bound.run(*bound.arguments)
        assert np.asarray(bound.exit).shape == (1, 2)


def test_a_column_that_is_a_list_is_scored_row_by_row(tmp_path: Path):
    bound = OnnxRuntime(write_onnx_regressor(tmp_path / "m.onnx", flat=True), 2, 1).bind(8)
    assert bound.run_many is None
    np.asarray(bound.entry)[:] = [[1.0, 3.0]]
    bound.run(*bound.arguments)
    assert np.asarray(bound.exit).tolist() == [3.0]
