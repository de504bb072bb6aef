"""Tensors are what they say, or they are refused by name before they take memory."""

import json
import struct

import pytest

from edge_agent.sensing.tensors import TensorError, decode_bytes, decode_json, encode_bytes


@pytest.mark.parametrize(
    ("datatype", "data", "values"),
    [
        ("FP32", "[1.5, 2, null, -1e30]", [1.5, 2.0, None, -1e30]),
        ("FP64", "[[1, 2], [3, 4]]", [1.0, 2.0, 3.0, 4.0]),
        ("INT8", "[-128, 127, 0, null]", [-128, 127, 0, None]),
        ("UINT64", f"[0, 1, 2, {2**64 - 1}]", [0, 1, 2, 2**64 - 1]),
        ("BOOL", "[true, false, true, null]", ["true", "false", "true", None]),
        ("BYTES", '["a", "b,c", "", null]', ["a", "b,c", "", None]),
    ],
)
def test_json_becomes_values(datatype: str, data: str, values: list[object]):
    assert decode_json("x", datatype, (2, 2), data.encode(), 100).values == values


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("FP32", "[1, 2, 3]"),
        ("FP32", "[1, 2, 3, 4, 5]"),
        ("FP32", "[1, 2, 3, NaN]"),
        ("FP32", "[1, 2, 3, 1e999]"),
        ("FP32", "[1, 2, 3, 1" + "0" * 400 + "]"),
        ("FP32", '[1, 2, 3, "4"]'),
        ("FP32", "[1, 2, 3, true]"),
        ("FP32", "[1, 2, 3, {}]"),
        ("FP32", "[[[[[1]]]], 2, 3, 4]"),
        ("FP32", "{}"),
        ("FP32", "7"),
        ("FP32", "[" * 100_000),
        ("INT8", "[1, 2, 3, 128]"),
        ("UINT8", "[1, 2, 3, -1]"),
        ("INT32", "[1, 2, 3, 1.5]"),
        ("INT64", "[1, 2, 3, true]"),
        ("BOOL", "[1, 0, 1, 0]"),
        ("BYTES", '["a", "b", "c", 1]'),
        ("BYTES", "\xff"),
    ],
)
def test_json_that_is_not_what_it_says_is_refused_by_name(datatype: str, data: str):
    with pytest.raises(TensorError, match="input 'x'"):
        decode_json("x", datatype, (2, 2), data.encode("latin-1"), 100)


@pytest.mark.parametrize("shape", [(), (1, 1, 1, 1), (101,), (-1,), (-1, -1), (2**40, 2**40), (11, 10)])
def test_a_shape_that_is_not_served_is_refused(shape: tuple[int, ...]):
    for decode in (decode_json, decode_bytes):
        with pytest.raises(TensorError, match="input 'x'"):
            decode("x", "FP32", shape, b"[]", 100)


def test_values_are_counted_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch):
    # The decoder would make a list of a million numbers; it is not asked.
    monkeypatch.setattr("edge_agent.sensing.tensors.msgspec.json.decode", lambda _: pytest.fail("it was decoded"))
    with pytest.raises(TensorError, match="more values"):
        decode_json("x", "FP32", (1,), json.dumps([0] * 1000).encode(), 100)


@pytest.mark.parametrize(
    ("datatype", "code", "values"),
    [
        ("FP32", "<2f", [1.5, -2.0]),
        ("FP16", "<2e", [0.5, 1.0]),
        ("INT64", "<2q", [-(2**62), 3]),
        ("UINT8", "<2B", [0, 9]),
    ],
)
def test_bytes_become_values_and_back(datatype: str, code: str, values: list[float]):
    data = struct.pack(code, *values)
    assert decode_bytes("x", datatype, (2,), data, 10).values == values
    assert encode_bytes(datatype, values) == data


def test_texts_become_bytes_and_back():
    texts = ["", "Regen", "雨"]
    assert decode_bytes("x", "BYTES", (3, 1), encode_bytes("BYTES", texts), 10).values == texts


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("FP32", b"\0" * 7),
        ("FP32", b"\0" * 9),
        ("BYTES", b""),
        ("BYTES", b"\x05\0\0\0abc"),
        ("BYTES", b"\xff\xff\xff\xffabc"),
        ("BYTES", b"\x01\0\0\0a\x01\0\0\0\xff"),
        ("BYTES", b"\0\0\0\0" * 3),
    ],
)
def test_bytes_that_are_not_what_they_say_are_refused(datatype: str, data: bytes):
    with pytest.raises(TensorError, match="input 'x'"):
        decode_bytes("x", datatype, (2,), data, 10)
