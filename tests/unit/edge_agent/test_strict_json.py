"""Each thing that one reader would take and another would not is refused, and so is what would cost too much."""

import tracemalloc
from contextlib import suppress

import pytest

from edge_agent.errors import BundleError
from edge_agent.strict_json import verify_json

DEPTH, VALUES = 8, 1000


def verify(data: bytes) -> None:
    verify_json(data, "it", max_depth=DEPTH, max_values=VALUES)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"[" * DEPTH + b"]" * DEPTH,
        b'"' + b"[" * 100 + b'"',
        rb'{"a\"[[[[[[[[[[": "\\", "b": 1}',
        rb'["\\\"[[[[[[[[[["]',
        '{"ä": "ö", "a": -1.5e3}'.encode(),
        b"[" + b"1," * (VALUES - 1) + b"1]",
        b'[{"a": 1}, {"a": 2}]',
    ],
)
def test_plain_json_is_taken(data: bytes):
    verify(data)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        ("{}".encode("utf-16"), "byte 0 is not UTF-8"),
        (b'{"a": 1, "a": 2}', "the key 'a' twice"),
        (rb'[{"b": {"a": 1, "\u0061": 2}}]', "the key 'a' twice"),
        (b"[NaN]", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"[1e999]", "the number 1e999 is too large"),
        (b"[-1e999]", "the number -1e999 is too large"),
        (b"[" + b"9" * 5000 + b"]", "is too large"),
        (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), "nested more than 8 deep at character 8"),
        (b'{"a":' * (DEPTH + 1) + b"1" + b"}" * (DEPTH + 1), "nested more than 8 deep"),
        (b'["]",' + b"[" * DEPTH, "nested more than 8 deep"),
        (b"[" * 1_000_000, "nested more than 8 deep"),
        (b"[" + b"1," * VALUES + b"1]", "1000 commas; at most 1000 values"),
        (b"", "Expecting value"),
        (b"{} {}", "Extra data"),
        (b"{'a': 1}", "double quotes"),
    ],
)
def test_what_is_ambiguous_or_too_much_is_refused_and_named(data: bytes, problem: str):
    with pytest.raises(BundleError, match=r"^it: ") as caught:
        verify(data)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"[" * 1_000_000, b"[" + b"[]," * 300_000 + b"[]]", rb'"' + rb"\\" * 500_000 + b'"', b'"' * 1_000_001]
)
def test_refusing_costs_little_more_than_the_text_itself(data: bytes):
    tracemalloc.start()
    with suppress(BundleError):
        verify(data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 8 * len(data)


def test_many_equal_keys_are_found_in_one_pass():
    with pytest.raises(BundleError, match="twice"):
        verify_json(
            b"{" + b",".join(b'"%d":1' % n for n in range(200_000)) + b',"5":1}', "it", max_depth=8, max_values=1 << 20
        )
