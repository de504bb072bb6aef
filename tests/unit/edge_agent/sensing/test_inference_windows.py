"""Windows of raw readings in the Open Inference Protocol: taken in one shape, and refused in words otherwise."""

import json
import struct
from typing import Any

import msgspec
import pytest

from edge_agent.sensing.http_message import HttpError
from edge_agent.sensing.inference_protocol import (
    WHOLE_WINDOW,
    Inference,
    model_metadata,
    parse_inference,
    parse_payload,
)
from tests.unit.edge_agent.examples import classification_manifest
from tests.unit.edge_agent.signals import vibration

SIGNAL = vibration(size=3, step=1, bands=())
COLUMNS = ("x", "y")
ONE = [[1.0, 2.0], [3.0, None], [5.0, 6.0]]


def parse(*inputs: dict[str, Any], max_rows: int = 4) -> Inference:
    return parse_inference(json.dumps({"inputs": inputs}).encode(), None, COLUMNS, max_rows, SIGNAL)


def tensor(*windows: Any, **changes: Any) -> dict[str, Any]:
    shape = [len(windows), SIGNAL.size, 2]
    return {"name": "windows", "datatype": "FP32", "shape": shape, "data": list(windows)} | changes


def test_each_window_is_a_row_of_its_readings_and_a_missing_one_is_none():
    payloads = parse(tensor(ONE, ONE)).payloads
    assert [parse_payload(payload, WHOLE_WINDOW) for payload in payloads] == [[1.0, 2.0, 3.0, None, 5.0, 6.0]] * 2


def test_windows_come_as_bytes_too():
    readings = struct.pack("<6f", 1, 2, 3, 4, 5, 6)
    asked = {"name": "windows", "datatype": "FP32", "shape": [1, 3, 2], "parameters": {"binary_data_size": 24}}
    head = json.dumps({"inputs": [asked]}).encode()
    (payload,) = parse_inference(head + readings, str(len(head)), COLUMNS, 4, SIGNAL).payloads
    assert parse_payload(payload, WHOLE_WINDOW) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ([tensor(ONE, name="rows")], "send one input 'windows' of numbers"),
        ([tensor(ONE), tensor(ONE)], "send one input 'windows' of numbers"),
        ([tensor(ONE, datatype="BYTES", data=["a"] * 6)], "send one input 'windows' of numbers"),
        ([tensor(ONE, shape=[1, 6])], r"a window has 3 readings of 2 channels: \[n, 3, 2\]"),
        ([tensor(ONE, shape=[1, 2, 3])], r"a window has 3 readings of 2 channels"),
        ([tensor(ONE, shape=[2, 3, 2])], "6 values, its shape"),
        ([tensor(shape=[0, 3, 2])], "0 windows; 1 to 4"),
        ([tensor(*[ONE] * 5)], "at most 24 are taken"),
        ([tensor(ONE, shape=[10**12, 3, 2])], "at most 24 are taken"),
        ([], "send one input"),
    ],
)
def test_what_is_no_window_is_refused_with_the_shape_that_is_wanted(inputs: list[dict[str, Any]], told: str):
    with pytest.raises(HttpError, match=told):
        parse(*inputs)


def test_the_metadata_names_the_shape_of_a_window():
    manifest = msgspec.structs.replace(classification_manifest(), signal=SIGNAL)
    assert model_metadata(manifest, COLUMNS)["inputs"] == [{"name": "windows", "datatype": "FP32", "shape": [-1, 3, 2]}]
