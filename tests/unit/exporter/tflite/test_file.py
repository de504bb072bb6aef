import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from exporter.material import Material
from exporter.programs.quantisation import Quantisation
from exporter.tflite.file import TfliteFile
from exporter.tflite.operators import Graph
from exporter.tflite.target import convert_tflite_fp32, convert_tflite_int8
from tests.unit.exporter.families import learn
from tests.unit.exporter.tflite_files import NAMES


@pytest.mark.parametrize("convert", [convert_tflite_fp32, convert_tflite_int8])
def test_constants_lie_at_multiples_of_16_bytes(convert):
    learnt = learn("imputed mlp", "cancer")
    data = convert(Material(learnt.model, learnt.training))
    assert data[4:8] == b"TFL3"
    model = schema.Model.GetRootAs(data, 0)
    origin = np.frombuffer(data, np.uint8).ctypes.data
    buffers = [model.Buffers(index) for index in range(1, model.BuffersLength())]
    starts = [buffer.DataAsNumpy().ctypes.data - origin for buffer in buffers]
    assert len(starts) >= 7
    assert all(start % 16 == 0 for start in starts)


def test_operators_have_the_lowest_versions_that_know_their_types():
    learnt = learn("imputed mlp", "cancer")
    model = schema.Model.GetRootAs(convert_tflite_int8(Material(learnt.model, learnt.training)), 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    assert {NAMES[code.BuiltinCode()]: code.Version() for code in codes} == {
        "NOT_EQUAL": 1,
        "SELECT_V2": 1,
        "SUB": 1,
        "DIV": 1,
        "QUANTIZE": 1,
        "FULLY_CONNECTED": 4,
        "DEQUANTIZE": 2,
        "LOGISTIC": 1,
        "CONCATENATION": 1,
    }


def test_input_and_output_have_names_and_nothing_else():
    learnt = learn("mlp", "cancer")
    graph = schema.Model.GetRootAs(convert_tflite_fp32(Material(learnt.model, learnt.training)), 0).Subgraphs(0)
    names = {graph.Tensors(i).Name() for i in range(graph.TensorsLength())}
    assert names == {b"rows", b"outputs", None}


def test_equal_bytes_are_one_buffer_and_equal_constants_one_tensor():
    graph = Graph(TfliteFile("test"))
    first, again = graph.floats([1.0, 2.0]), graph.floats([1.0, 2.0])
    column = graph.floats(np.array([[1.0], [2.0]]))
    assert first == again
    assert column != first
    row = graph.tensor((1, 2), name="rows")
    data = graph.file.encode(graph, row, graph.answer(graph.arithmetic("ADD", row, first)))
    assert schema.Model.GetRootAs(data, 0).BuffersLength() == 2


def test_a_number_and_a_vector_of_one_number_are_two_constants():
    graph = Graph(TfliteFile("test"))
    shapes = [graph.constant(np.ones(shape, np.float32)).shape for shape in ((), (1,), (1, 1))]
    assert shapes == [(), (1,), (1, 1)]


def test_the_same_bytes_with_another_scale_are_another_tensor():
    graph = Graph(TfliteFile("test"))
    stored = np.array([1, 2], np.int8)
    tensors = {graph.constant(stored, Quantisation((scale,))).place for scale in (0.5, 0.25)}
    assert len(tensors) == 2
