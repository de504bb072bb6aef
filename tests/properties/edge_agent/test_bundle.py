"""A manifest survives its file, and nothing that is not a manifest gets past `parse_manifest`."""

from contextlib import suppress

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_agent.bundle import encode_manifest, parse_manifest
from edge_agent.errors import BundleError
from tests.unit.edge_agent.examples import classification_manifest, regression_manifest

GOOD = (encode_manifest(classification_manifest()), encode_manifest(regression_manifest()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=300))
@example(b"")
@example(b"[" * 200_000)
@example(b'{"a":' * 100_000)
@example(b"\xff\xfe{}")
def test_arbitrary_bytes_raise_nothing_but_a_bundle_error(data: bytes):
    with suppress(BundleError):
        parse_manifest(data)


@given(st.sampled_from(GOOD), st.data())
def test_a_manifest_with_altered_bytes_raises_nothing_but_a_bundle_error(good: bytes, data: st.DataObject):
    altered = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BundleError):
        parse_manifest(bytes(altered))


@settings(deadline=None)
@given(st.sampled_from(GOOD), st.data(), JSON)
def test_a_manifest_with_any_part_replaced_is_consistent_or_refused(good: bytes, data: st.DataObject, other: object):
    content = msgspec.json.decode(good)
    part = content
    key: str | int = data.draw(st.sampled_from(sorted(content)))
    while isinstance(part[key], dict | list) and part[key] and data.draw(st.booleans()):
        part = part[key]
        keys = sorted(part) if isinstance(part, dict) else range(len(part))
        key = data.draw(st.sampled_from(keys))
    part[key] = other
    with suppress(BundleError):
        manifest = parse_manifest(msgspec.json.encode(content))
        # What was accepted can be written and read again, and its parts still fit.
        assert parse_manifest(encode_manifest(manifest)) == manifest
        assert len(manifest.references) == len(manifest.features)
        assert all(len(row.expected) == manifest.n_outputs for row in manifest.golden)
