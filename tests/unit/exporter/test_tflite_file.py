import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from exporter.material import Material
from exporter.tflite_target import convert_tflite_fp32, convert_tflite_int8
from tests.unit.exporter.families import learn


@pytest.mark.parametrize("convert", [convert_tflite_fp32, convert_tflite_int8])
def test_constants_lie_at_multiples_of_16_bytes(convert):
    learnt = learn("imputed mlp", "cancer")
    data = convert(Material(learnt.model, learnt.training))
    assert data[4:8] == b"TFL3"
    model = schema.Model.GetRootAs(data, 0)
    origin = np.frombuffer(data, np.uint8).ctypes.data
    buffers = [model.Buffers(index) for index in range(1, model.BuffersLength())]
    starts = [buffer.DataAsNumpy().ctypes.data - origin for buffer in buffers]
    assert len(starts) == 7
    assert all(start % 16 == 0 for start in starts)


def test_operators_have_the_lowest_versions_that_know_their_types():
    learnt = learn("imputed mlp", "cancer")
    model = schema.Model.GetRootAs(convert_tflite_int8(Material(learnt.model, learnt.training)), 0)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    assert {names[code.BuiltinCode()]: code.Version() for code in codes} == {
        "NOT_EQUAL": 1,
        "SELECT_V2": 1,
        "SUB": 1,
        "DIV": 1,
        "QUANTIZE": 1,
        "FULLY_CONNECTED": 4,
        "DEQUANTIZE": 2,
        "SOFTMAX": 1,
    }
