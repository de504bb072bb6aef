"""docs/manifest.schema.json is made from the types, and says of a manifest what they say."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from edge_agent.bundle import TrialRules, encode_manifest, parse_manifest
from edge_agent.errors import BundleError
from exporter.bundles.schema import build_schema, render
from tests.bundles import make_bundle
from tests.conftest import REPOSITORY
from tests.unit.edge_agent.examples import classification_manifest, regression_manifest
from tests.unit.edge_agent.test_bundle import OF_A_SIGNAL
from tests.unit.exporter.repositories import write_bundle

SCHEMA = build_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
GOOD = encode_manifest(classification_manifest())
OTHERS: tuple[Any, ...] = (None, True, -1, 0, 2**60, 0.5, 1e308, "", "a/b", "x" * 300, [], {}, [[1]])


def test_the_published_schema_is_up_to_date():
    published = (REPOSITORY / "docs" / "manifest.schema.json").read_bytes()
    assert published == render(SCHEMA), "python -m exporter.bundles.schema docs/manifest.schema.json"


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


def test_every_part_and_every_limit_is_described():
    for name, part in SCHEMA["$defs"].items():
        assert part["description"], name
    text = render(SCHEMA).decode()
    assert '"description": "what the bundle is made of, as CycloneDX; None in a bundle that was made without."' in text
    assert '"maximum": 268435456' in text


def test_manifests_of_all_kinds_are_valid(tmp_path):
    manifests = [GOOD, encode_manifest(regression_manifest()), encode_manifest(OF_A_SIGNAL)]
    manifests += [(make_bundle(tmp_path / "toy") / "manifest.json").read_bytes()]
    manifests += [(write_bundle(tmp_path / "small") / "manifest.json").read_bytes()]
    for data in manifests:
        VALIDATOR.validate(msgspec.json.decode(data))


@pytest.mark.parametrize(
    "part", [("task",), ("features", 0, "dtype"), ("variants", 0, "runtime"), ("golden", 0, "expected"), ("format",)]
)
def test_what_is_out_of_the_schema_is_refused_by_both(part):
    content = msgspec.json.decode(GOOD)
    place = content
    for key in part[:-1]:
        place = place[key]
    place[part[-1]] = "something else"
    assert not VALIDATOR.is_valid(content)
    with pytest.raises(BundleError):
        parse_manifest(msgspec.json.encode(content))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../x"},
        {"name": "x\n"},
        {"version": 0},
        {"window_rows": 10**9},
        {"features": ()},
        {"trial": TrialRules(rows=0)},
        {"trial": TrialRules(timeout_s=-1.0)},
        {"golden": ()},
        {"output_blocks": ((-1, 1),)},
        {"output_blocks": ((2**54, 1),)},
    ],
)
def test_values_beyond_a_limit_are_refused_by_both(changes):
    data = encode_manifest(classification_manifest(**changes))
    assert not VALIDATOR.is_valid(msgspec.json.decode(data))
    with pytest.raises(BundleError):
        parse_manifest(data)


@pytest.mark.parametrize("number", [b"1e999", b"-1e999"])
def test_a_number_that_is_not_finite_is_refused_by_both(number):
    data = GOOD.replace(b'"expected_quality": 0.8', b'"expected_quality": ' + number)
    assert data != GOOD
    assert not VALIDATOR.is_valid(json.loads(data))
    with pytest.raises(BundleError):
        parse_manifest(data)


@settings(deadline=None)
@given(st.sampled_from((GOOD, encode_manifest(regression_manifest()), encode_manifest(OF_A_SIGNAL))), st.data())
def test_what_the_reader_takes_is_valid_whatever_is_changed(good: bytes, data: st.DataObject):
    content = msgspec.json.decode(good)
    part, key = content, data.draw(st.sampled_from(sorted(content)))
    while isinstance(part[key], dict | list) and part[key] and data.draw(st.booleans()):
        part = part[key]
        key = data.draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
    part[key] = data.draw(st.sampled_from(OTHERS))
    with suppress(BundleError):
        parse_manifest(msgspec.json.encode(content))
        VALIDATOR.validate(content)
