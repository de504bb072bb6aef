"""A bill of materials that is hostile, or of another bundle, is refused."""

import json

import pytest

from edge_agent.bundle import MAX_SBOM_BYTES
from edge_agent.errors import BundleError
from exporter.bundles.materials import parse_sbom, verify_sbom
from exporter.bundles.sbom import make_sbom
from tests.unit.edge_agent.examples import classification_manifest, variant_bytes

MANIFEST = classification_manifest()
GOOD = make_sbom(MANIFEST, "MLP", ("scikit-learn",))


def changed(path, value):
    document = json.loads(GOOD)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(document).encode()


def test_what_we_make_is_read_and_agrees():
    sbom = parse_sbom(GOOD)
    verify_sbom(MANIFEST, sbom)
    assert [each.name for each in sbom.components_of("file")] == ["model.onnx"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        GOOD + b" " * MAX_SBOM_BYTES,
        GOOD.replace(b'"version": 1,', b'"version": 1, "version": 2,'),
        GOOD.replace(b'"version": 1,', b'"version": 1e999,'),
        GOOD.replace(b'"version": 1,', b'"version": 1, "x": "\xff",'),
        b"\xef\xbb\xbf" + GOOD,
        changed(("specVersion",), "1.5"),
        changed(("bomFormat",), "SPDX"),
        changed(("components",), [{"type": "library", "name": "x"}] * 1025),
        changed(("components", 0, "hashes"), "none"),
    ],
)
def test_what_is_no_bill_of_materials_is_refused(data):
    with pytest.raises(BundleError, match=r"sbom\.cdx\.json"):
        parse_sbom(data)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("metadata", "component", "name"), "snow", "is of machine-learning-model snow 3"),
        (("metadata", "component", "version"), "4", "is of machine-learning-model rain 4"),
        (("metadata", "component", "type"), "library", "is of library rain 3"),
        (("components", 0, "name"), "other.onnx", "does not list model.onnx as the manifest does"),
        (("components", 0, "hashes", 0, "content"), "1" * 64, "does not list model.onnx as the manifest does"),
        (("components", 0, "hashes"), [], "does not list model.onnx as the manifest does"),
        (("components", 1, "type"), "file", "does not list fieldloop as the manifest does"),
    ],
)
def test_one_of_another_bundle_is_refused_and_the_difference_named(path, value, problem):
    with pytest.raises(BundleError, match=problem):
        verify_sbom(MANIFEST, parse_sbom(changed(path, value)))


def test_a_variant_that_is_not_listed_is_named():
    more = classification_manifest(variants=(*MANIFEST.variants, variant_bytes("b", "b.onnx", b"b")))
    with pytest.raises(BundleError, match=r"does not list b\.onnx"):
        verify_sbom(more, parse_sbom(GOOD))
