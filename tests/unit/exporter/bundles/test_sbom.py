"""The bill of materials of a bundle is CycloneDX 1.6, tells the truth, and is the same for the same bundle."""

import json
from importlib.metadata import version

import msgspec
import pytest
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from edge_agent.bundle import Lineage
from exporter.bundles.sbom import make_sbom, packages_of
from tests.unit.edge_agent.examples import classification_manifest, regression_manifest, variant_bytes

MANIFEST = classification_manifest(
    variants=(
        variant_bytes("onnx-fp32", "a.onnx", b"a model"),
        variant_bytes("tflite-int8", "b.tflite", b"another", runtime="tflite"),
    )
)


def made(manifest=MANIFEST, learnt_with=("scikit-learn",)):
    return json.loads(make_sbom(manifest, "StandardScaler > MLPClassifier", learnt_with))


def libraries(document):
    return {each["name"]: each for each in document["components"] if each["type"] == "library"}


def properties(component):
    return {each["name"]: each["value"] for each in component["properties"]}


@pytest.mark.parametrize(
    "manifest",
    [
        MANIFEST,
        regression_manifest(),
        classification_manifest(lineage=Lineage("", "", "", "")),
        # A runtime of our own, which no table names, and a task without labels to learn from.
        msgspec.structs.replace(
            regression_manifest(task="anomaly"),
            variants=(variant_bytes("native", "n.bin", b"table", runtime="native"),),
        ),
    ],
)
def test_it_is_valid_by_the_standards_own_schema(manifest):
    validation = pytest.importorskip("cyclonedx.validation.json", reason="no cyclonedx-python-lib: make venv-dev")
    from cyclonedx.schema import SchemaVersion

    validator = validation.JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(make_sbom(manifest, "MLP", ("scikit-learn",)).decode()) is None
    assert validator.validate_str('{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{}]}') is not None


def test_the_same_bundle_has_the_same_bytes_and_another_has_another_number():
    assert make_sbom(MANIFEST, "m", ("scikit-learn",)) == make_sbom(MANIFEST, "m", ("scikit-learn",))
    numbers = {
        made()["serialNumber"],
        made(regression_manifest())["serialNumber"],
        made(learnt_with=())["serialNumber"],
    }
    assert len(numbers) == 3


def test_the_model_is_the_subject_with_its_card():
    document = made()
    subject = document["metadata"]["component"]
    assert (subject["type"], subject["name"], subject["version"]) == ("machine-learning-model", "rain", "3")
    assert subject["modelCard"]["modelParameters"]["task"] == "classification"
    assert subject["modelCard"]["modelParameters"]["approach"] == {"type": "supervised"}
    metrics = subject["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert [(each["slice"], each["type"], each["value"]) for each in metrics] == [
        ("onnx-fp32", "accuracy", "0.9"),
        ("tflite-int8", "accuracy", "0.9"),
    ]
    assert document["metadata"]["timestamp"] == "2026-11-01T00:00:00Z"


def test_no_clock_is_read_for_a_model_whose_time_is_not_known():
    assert "timestamp" not in made(classification_manifest(lineage=Lineage("run", "", "1", "yesterday")))["metadata"]


def test_every_variant_stands_there_with_its_hash():
    files = [each for each in made()["components"] if each["type"] == "file"]
    assert [(each["name"], each["hashes"]) for each in files] == [
        (variant.file, [{"alg": "SHA-256", "content": variant.sha256}]) for variant in MANIFEST.variants
    ]


def test_makers_and_runtimes_are_listed_with_version_licence_and_address():
    found = libraries(made())
    assert found.keys() >= {"scikit-learn", "skl2onnx", "onnx", "numpy", "onnxruntime", "flatbuffers", "ai-edge-litert"}
    sklearn = found["scikit-learn"]
    assert sklearn["version"] == version("scikit-learn")
    assert sklearn["purl"] == f"pkg:pypi/scikit-learn@{version('scikit-learn')}"
    assert sklearn["licenses"] == [{"expression": "BSD-3-Clause"}]
    assert sklearn["scope"] == "excluded"
    assert found["onnxruntime"]["licenses"] == [{"license": {"name": "MIT License"}}]
    assert found["onnxruntime"]["scope"] == "optional"


def test_what_a_device_needs_is_told_also_where_it_is_not_installed():
    runtime = libraries(made())["tflite-runtime"]
    assert properties(runtime)["fieldloop:device-needs"] == "==2.14.*"
    assert properties(runtime)["fieldloop:role"] == "runtime"


def test_only_what_made_these_variants_is_listed():
    one = msgspec.structs.replace(MANIFEST, variants=MANIFEST.variants[:1])
    assert "flatbuffers" not in libraries(made(one))
    assert "no-such-package" not in libraries(made(learnt_with=("no-such-package",)))


def test_every_variant_depends_on_its_runtimes():
    document = made()
    references = {each["bom-ref"] for each in document["components"]} | {document["metadata"]["component"]["bom-ref"]}
    depends = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    assert depends["model:rain/3"] == ["file:a.onnx", "file:b.tflite"]
    assert any("onnxruntime" in each for each in depends["file:a.onnx"])
    assert {each for all_of in depends.values() for each in all_of} | depends.keys() <= references


def test_the_packages_of_a_model_are_those_of_everything_inside():
    pipeline = make_pipeline(StandardScaler(), StackingClassifier([("t", DecisionTreeClassifier())], Outside()))
    assert packages_of(pipeline) == ("scikit-learn", "tests")
    assert packages_of(LogisticRegression()) == ("scikit-learn",)
    assert packages_of(object()) == ("builtins",)


class Outside(LogisticRegression):  # type: ignore[misc]  # scikit-learn ships no types
    """As if of another library."""
