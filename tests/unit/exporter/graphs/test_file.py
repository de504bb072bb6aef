import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from exporter.errors import ModelError
from exporter.graphs.file import parse_onnx, read_onnx
from tests.unit.exporter.example_graphs import mlp_graph, model, tensor, value, written


def outside(proto: onnx.ModelProto, **entries: object) -> onnx.ModelProto:
    """Return the model with its first constant in another file."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    first = changed.graph.initializer[0]
    first.ClearField("raw_data")
    first.data_location = TensorProto.EXTERNAL
    for key, entry in entries.items():
        first.external_data.add(key=key, value=str(entry))
    return changed


def test_a_model_is_read_as_it_was_written(tmp_path):
    proto = mlp_graph()
    assert read_onnx(written(proto, tmp_path)) == proto


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"absent\.onnx: cannot be read"):
        read_onnx(tmp_path / "absent.onnx")


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("exporter.graphs.file.MAX_BYTES", 1000)
    with pytest.raises(ModelError, match="larger than the 1000 bytes"):
        read_onnx(written(mlp_graph(), tmp_path))


@pytest.mark.parametrize(
    "data", [b"", b"hello", bytes(range(256)), b"\x08\x08" * 50], ids=["none", "text", "all", "twos"]
)
def test_what_is_no_model_is_refused(data):
    with pytest.raises(ModelError, match="not an ONNX"):
        parse_onnx(data, "m.onnx")


def test_a_file_cut_or_damaged_anywhere_gives_an_error_or_a_model():
    data, rng = mlp_graph().SerializeToString(), np.random.default_rng(0)
    damaged = [data[: int(cut)] for cut in rng.integers(1, len(data), 3)]
    for place in rng.integers(0, 400, 5):
        changed = bytearray(data)
        changed[int(place)] ^= 0xFF
        damaged.append(bytes(changed))
    for bad in damaged:
        try:
            read = parse_onnx(bad, "m.onnx")
        except ModelError:
            continue
        assert read.graph.node


def test_external_data_beside_the_file_is_loaded(tmp_path):
    proto = mlp_graph()
    (tmp_path / "weights.bin").write_bytes(b"skipped" + proto.graph.initializer[0].raw_data)
    length = len(proto.graph.initializer[0].raw_data)
    path = written(outside(proto, location="weights.bin", offset=7, length=length), tmp_path)
    assert read_onnx(path).graph.initializer[0].raw_data == proto.graph.initializer[0].raw_data


def test_external_data_elsewhere_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(256))
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    for location in ("../secret", str(tmp_path / "secret"), "link", "absent", "", "\0"):
        with pytest.raises(ModelError, match=r"no file in the model's folder|cannot be read"):
            read_onnx(written(outside(mlp_graph(), location=location), folder))


def test_external_data_of_bytes_alone_is_refused():
    with pytest.raises(ModelError, match="save the model as one file"):
        parse_onnx(outside(mlp_graph(), location="weights.bin").SerializeToString(), "m.onnx")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": 200, "length": 256}, "ends before its 256 bytes"),
        ({"offset": -1}, "at most"),
        ({"length": 1 << 60}, "at most"),
        ({"offset": "x"}, "cannot be read"),
    ],
)
def test_external_data_that_its_file_does_not_hold_is_refused(entries, message, tmp_path):
    (tmp_path / "weights.bin").write_bytes(bytes(256))
    with pytest.raises(ModelError, match=message):
        read_onnx(written(outside(mlp_graph(), location="weights.bin", **entries), tmp_path))


def test_custom_operators_are_refused_by_name():
    node = helper.make_node("Magic", ["x"], ["y"], domain="acme.ai")
    proto = model([node], [value("x", ["n", 4])], [value("y", ["n", 4])], [])
    with pytest.raises(ModelError, match=r"operator Magic of acme\.ai is custom"):
        parse_onnx(proto.SerializeToString(), "m.onnx")


def test_custom_operators_in_a_branch_are_refused_by_name():
    inner = helper.make_graph(
        [helper.make_node("Magic", ["x"], ["z"], domain="acme.ai")], "inner", [], [value("z", ["n", 4])]
    )
    node = helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner)
    proto = model([node], [value("x", ["n", 4])], [value("y", ["n", 4])], [tensor("yes", True, np.bool_)])
    with pytest.raises(ModelError, match="Magic"):
        parse_onnx(proto.SerializeToString(), "m.onnx")


def test_functions_of_the_file_itself_become_plain_operators():
    function = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    proto = model(
        [helper.make_node("Twice", ["x"], ["y"], domain="local")], [value("x", ["n", 4])], [value("y", ["n", 4])], []
    )
    proto.opset_import.append(helper.make_opsetid("local", 1))
    proto.functions.append(function)
    assert [node.op_type for node in parse_onnx(proto.SerializeToString(), "m.onnx").graph.node] == ["Add"]


def test_what_the_checker_or_the_runtime_refuses_is_refused():
    nodes = [helper.make_node("Relu", ["absent"], ["y"])]
    proto = model(nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], [])
    with pytest.raises(ModelError, match="does not load"):
        parse_onnx(proto.SerializeToString(), "m.onnx")


def test_a_file_that_ends_the_process_or_never_ends_is_refused_by_the_one_that_tried_it(monkeypatch):
    data = mlp_graph().SerializeToString()
    monkeypatch.setattr("exporter.graphs.file.sys.executable", "/bin/false")
    with pytest.raises(ModelError, match="ends the process that loads it"):
        parse_onnx(data, "m.onnx")
    monkeypatch.undo()
    monkeypatch.setattr("exporter.graphs.file._TRIAL_S", 0.0)
    with pytest.raises(ModelError, match="does not load within"):
        parse_onnx(data, "m.onnx")


def test_a_constant_larger_than_memory_ends_nothing_but_the_trial():
    shape = tensor("shape", [1 << 24, 1 << 20], np.int64)
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    proto = model(nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], [shape])
    with pytest.raises(ModelError, match=r"takes more than|ends the process"):
        parse_onnx(proto.SerializeToString(), "m.onnx")
