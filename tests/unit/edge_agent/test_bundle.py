"""A manifest that contradicts itself is refused, whoever signed it."""

import tracemalloc

import msgspec
import pytest

from edge_agent.bundle import (
    MAX_MANIFEST_BYTES,
    MAX_VARIANT_BYTES,
    Attachment,
    BundleFile,
    Feature,
    FeatureReference,
    GoldenRow,
    Inputs,
    LibraryTolerance,
    LinearModel,
    Manifest,
    TrialRules,
    Variant,
    bundle_files,
    encode_manifest,
    is_file_name,
    n_agreement_bins,
    parse_manifest,
)
from edge_agent.errors import BundleError
from edge_agent.raw_signal import SignalChannel
from tests.unit.edge_agent.examples import classification_manifest, regression_manifest
from tests.unit.edge_agent.signals import vibration

RAIN = classification_manifest()
ESTIMATION, SECOND = RAIN.estimation, RAIN.estimation.second_model
VALUE = regression_manifest()
REFERENCE = RAIN.references[0]


def estimation(base: Manifest = RAIN, **changes: object) -> Manifest:
    return msgspec.structs.replace(base, estimation=msgspec.structs.replace(base.estimation, **changes))


def second(**changes: object) -> Manifest:
    return estimation(second_model=msgspec.structs.replace(SECOND, **changes))


def references(edges: tuple[float, ...], *blocks: tuple[int, ...]) -> Manifest:
    return classification_manifest(references=(REFERENCE, FeatureReference(edges, blocks)))


def variant(name: str, file: str) -> Variant:
    return Variant(name, "onnx", file, 10, "0" * 64, 1e-5, 0.9, 5.0)


def wide(n_features: int, n_edges: int) -> Manifest:
    """A manifest of many features with fine histograms; only its windows are too large."""
    edges = tuple(float(edge) for edge in range(n_edges))
    means = (0.0,) * n_features
    return classification_manifest(
        features=tuple(Feature(f"f{n}") for n in range(n_features)),
        references=(FeatureReference(edges, ((0,) * (n_edges + 1),)),) * n_features,
        golden=(GoldenRow(means, (0.5, 0.5)),),
        estimation=msgspec.structs.replace(
            ESTIMATION, second_model=LinearModel(means, (1.0,) * n_features, (means, means), (0.0, 0.0))
        ),
    )


@pytest.mark.parametrize("manifest", [RAIN, VALUE, wide(200, 20), regression_manifest(task="anomaly")])
def test_a_manifest_comes_back_from_its_file_as_it_was(manifest: Manifest):
    assert parse_manifest(encode_manifest(manifest)) == manifest
    assert encode_manifest(parse_manifest(encode_manifest(manifest))) == encode_manifest(manifest)


def test_an_anomaly_detector_has_one_output_with_edges():
    with pytest.raises(BundleError, match="anomaly with 2 labels"):
        parse_manifest(encode_manifest(classification_manifest(task="anomaly")))
    with pytest.raises(BundleError, match="output reference: edges do not ascend"):
        parse_manifest(encode_manifest(regression_manifest(task="anomaly", output_edges=(2.0, 1.0))))


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (classification_manifest(features=(Feature("a"), Feature("a"))), "two features have the same name"),
        (
            classification_manifest(features=(Feature("a"), Feature("b", dtype="category"))),
            "feature 'b' has no categories",
        ),
        (
            classification_manifest(features=(Feature("a"), Feature("b", dtype="category", categories=("x", "x")))),
            "feature 'b' names a category twice",
        ),
        (
            classification_manifest(features=(Feature("a"), Feature("b", valid_min=2.0, valid_max=1.0))),
            "feature 'b' is valid from 2 to 1",
        ),
        (classification_manifest(labels=("only",)), "classification with 1 labels"),
        (classification_manifest(labels=()), "classification with 0 labels"),
        (regression_manifest(labels=("a", "b")), "regression with 2 labels"),
        (classification_manifest(references=RAIN.references[:1]), "1 references for 2 features"),
        (references((2.0, 1.0), (1, 1, 1)), "reference of 'wind': edges do not ascend"),
        (references((1.0, 1.0), (1, 1, 1)), "reference of 'wind': edges do not ascend"),
        (references((1.0,), (1, 1, 1)), "reference of 'wind': blocks of counts do not fit 1 edges"),
        (references((1.0,)), "reference of 'wind': blocks of counts do not fit"),
        (regression_manifest(output_edges=(1.0, 0.0)), "output reference: edges do not ascend"),
        (regression_manifest(output_blocks=((1, 2),)), "output reference: blocks of counts do not fit 2 edges"),
        (classification_manifest(output_blocks=((1, 2, 3),)), "output reference does not have one count a label"),
        (second(means=(0.0,)), "second model does not fit 2 features"),
        (second(scales=(1.0, 1.0, 1.0)), "second model does not fit 2 features"),
        (second(coefficients=((1.0,), (1.0,))), "second model does not fit 2 features"),
        (second(intercepts=(1.0,)), "second model does not fit 2 features"),
        (second(coefficients=((1.0, 1.0),), intercepts=(1.0,)), "second model does not have 2 outputs"),
        (second(scales=(1.0, 0.0)), "second model has a scale that is not positive"),
        (estimation(quality=(0.5,) * 19), "estimation does not have 20 agreement bins"),
        (estimation(rows=(5,) * 21), "estimation does not have 20 agreement bins"),
        (estimation(VALUE, quality=(0.5,) * 3), "estimation does not have 4 agreement bins"),
        (estimation(VALUE, disagreement_edges=(2.0, 1.0, 3.0)), "disagreement edges do not ascend"),
        (estimation(disagreement_edges=(1.0,)), "disagreement edges in a classification"),
        (
            classification_manifest(golden=(*RAIN.golden, GoldenRow((1.0,), (0.5, 0.5)))),
            "golden row 2 does not have 2 features and 2 outputs",
        ),
        (classification_manifest(golden=(GoldenRow((1.0, 1.0), (1.0,)),)), "golden row 0 does not have"),
        (
            classification_manifest(variants=(variant("a", "x"), variant("b", "x"))),
            "two variants share a name or a file",
        ),
        (
            classification_manifest(variants=(variant("a", "x"), variant("a", "y"))),
            "two variants share a name or a file",
        ),
        (classification_manifest(variants=(variant("a", "manifest.json"),)), "is not allowed"),
        (
            classification_manifest(sbom=Attachment("model.onnx", 5, "0" * 64)),
            "two variants share a name or a file",
        ),
        (classification_manifest(sbom=Attachment("manifest.json", 5, "0" * 64)), "is not allowed"),
        (
            classification_manifest(
                variants=tuple(
                    msgspec.structs.replace(variant(f"v{n}", f"f{n}"), size_bytes=MAX_VARIANT_BYTES) for n in range(5)
                )
            ),
            "its files have 1342177280 bytes; a bundle takes",
        ),
        (wide(2, 1024), "a histogram of 1025 bins; a telemetry window takes 1024"),
        (wide(3000, 40), "a telemetry window may have"),
    ],
)
def test_a_contradiction_is_refused_and_named(manifest: Manifest, problem: str):
    with pytest.raises(BundleError, match=r"manifest\.json of rain/3: ") as caught:
        parse_manifest(encode_manifest(manifest))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"version": 0},
        {"window_rows": 0},
        {"features": ()},
        {"golden": ()},
        {"variants": ()},
        {"task": "clustering"},
        {"variants": (msgspec.structs.replace(RAIN.variants[0], sha256="0" * 63),)},
        {"variants": (msgspec.structs.replace(RAIN.variants[0], runtime="exec"),)},
        {"variants": (msgspec.structs.replace(RAIN.variants[0], size_bytes=1 << 40),)},
        {"variants": (msgspec.structs.replace(RAIN.variants[0], tolerance=-1.0),)},
        {"references": (REFERENCE, FeatureReference((1.0,), ((1, -1),)))},
        {"references": (REFERENCE, FeatureReference((1.0,), ((1, 2**53 + 1),)))},
        {"variants": (variant("a", "../x"),)},
        {"variants": (variant("a", "x\n"),)},
        {"name": "../../etc"},
        {"name": "a/b"},
        {"name": ".hidden"},
        {"name": "a\n"},
        {"trial": TrialRules(rows=2**40)},
        {"trial": TrialRules(max_starts=2**40)},
        {"trial": TrialRules(timeout_s=-1.0)},
        {"sbom": Attachment("sbom.cdx.json", 1 << 30, "0" * 64)},
        {"sbom": Attachment("sbom.cdx.json", 5, "0" * 64 + "\n")},
        {"variants": (msgspec.structs.replace(RAIN.variants[0], tolerances=(LibraryTolerance("x", -1.0),)),)},
    ],
)
def test_a_value_that_its_type_forbids_is_refused(changes: dict[str, object]):
    with pytest.raises(BundleError, match=r"manifest\.json"):
        parse_manifest(encode_manifest(classification_manifest(**changes)))


def test_a_manifest_too_large_is_refused_unread():
    with pytest.raises(BundleError, match="refused unread"):
        parse_manifest(b" " * (MAX_MANIFEST_BYTES + 1))


def test_a_manifest_without_tolerances_by_library_is_still_read():
    content = msgspec.json.decode(encode_manifest(RAIN))
    del content["variants"][0]["tolerances"]
    (variant,) = parse_manifest(msgspec.json.encode(content)).variants
    assert variant.tolerance_on("onnxruntime") == variant.tolerance


def test_a_tolerance_by_library_is_looked_up_by_its_name_and_stands_once():
    own = msgspec.structs.replace(RAIN.variants[0], tolerances=(LibraryTolerance("onnxruntime", 0.5),))
    assert (own.tolerance_on("onnxruntime"), own.tolerance_on("native")) == (0.5, own.tolerance)
    twice = msgspec.structs.replace(own, tolerances=own.tolerances * 2)
    with pytest.raises(BundleError, match="two tolerances for one library"):
        parse_manifest(encode_manifest(classification_manifest(variants=(twice,))))


def test_fields_of_a_newer_writer_are_ignored():
    content = msgspec.json.decode(encode_manifest(RAIN)) | {"colour": "blue"}
    content["variants"][0]["weight_g"] = 3
    assert parse_manifest(msgspec.json.encode(content)) == RAIN


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "A.onnx", "manifest.json", "x" * 65, "a\n", "a b", "-x"])
def test_names_that_leave_the_bundle_or_hide_are_no_file_names(name: str):
    assert not is_file_name(name)


@pytest.mark.parametrize("name", ["model.onnx", "onnx-int8.onnx", "0", "a_b-c.tflite"])
def test_plain_names_are_file_names(name: str):
    assert is_file_name(name)


def test_agreement_has_twenty_bins_for_labels_and_the_disagreement_bins_for_values():
    assert n_agreement_bins(RAIN) == 20
    assert n_agreement_bins(VALUE) == 4
    assert (RAIN.n_outputs, VALUE.n_outputs) == (2, 1)
    assert str(RAIN.ref) == "rain/3"


def test_the_files_of_a_bundle_are_its_variants_and_then_its_bill_of_materials():
    assert [file.name for file in bundle_files(RAIN)] == ["model.onnx"]
    assert bundle_files(classification_manifest(sbom=Attachment("sbom.cdx.json", 5, "1" * 64)))[1:] == (
        BundleFile("sbom.cdx.json", 5, "1" * 64),
    )


def test_a_manifest_that_names_no_bill_of_materials_is_still_read():
    content = msgspec.json.decode(encode_manifest(RAIN))
    del content["sbom"]
    assert parse_manifest(msgspec.json.encode(content)) == RAIN


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"NaN", b"Infinity", b"-Infinity", b"9" * 400])
@pytest.mark.parametrize("place", [b'"tolerance": 1e-5', b'"quality": 0.9', b'"newer": 0'])
def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(place: bytes, number: bytes):
    good = msgspec.json.format(encode_manifest(RAIN), indent=1).replace(b"0.00001", b"1e-5")
    good = good.replace(b'"format": 1', b'"newer": 0,\n "format": 1')
    assert parse_manifest(good) == RAIN
    assert place in good
    with pytest.raises(BundleError, match=r"manifest\.json: "):
        parse_manifest(good.replace(place, place.partition(b" ")[0] + b" " + number, 1))


def test_shapes_that_would_explode_are_refused_without_being_built():
    content = msgspec.json.decode(encode_manifest(RAIN))
    content["features"] = [{"name": f"f{n}"} for n in range(4096)]
    content["labels"] = [str(n) for n in range(4096)]
    data = msgspec.json.encode(content)
    tracemalloc.start()
    with pytest.raises(BundleError, match="2 references for 4096 features"):
        parse_manifest(data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 100 * len(data)


MAX_AND_RMS = vibration(channels=(SignalChannel("x", ("max", "rms")),), bands=())
OF_A_SIGNAL = classification_manifest(features=(Feature("x_max"), Feature("x_rms")), signal=MAX_AND_RMS)


def test_a_manifest_may_say_how_readings_become_its_features():
    manifest = parse_manifest(encode_manifest(OF_A_SIGNAL))
    assert manifest.signal == MAX_AND_RMS
    assert manifest.inputs == Inputs(("x_max", "x_rms"), MAX_AND_RMS)
    assert manifest.inputs.columns == ("x",)


def test_a_manifest_without_a_signal_does_not_mention_it():
    assert b"signal" not in encode_manifest(RAIN)
    assert parse_manifest(encode_manifest(RAIN)).inputs.columns == ("temperature", "wind")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"features": (Feature("x_rms"), Feature("x_max"))}, "not those of the manifest"),
        ({"signal": vibration()}, "not those of the manifest"),
        ({"signal": msgspec.structs.replace(MAX_AND_RMS, step=17)}, "signal: a step of 17"),
        (
            {"features": (Feature("x_max"), Feature("x_rms", dtype="category", categories=("a",)))},
            "'x_rms' is a category",
        ),
    ],
)
def test_a_signal_that_does_not_fit_its_manifest_is_refused(changes: dict[str, object], problem: str):
    with pytest.raises(BundleError, match=problem):
        parse_manifest(encode_manifest(msgspec.structs.replace(OF_A_SIGNAL, **changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 1},
        {"size": 65537},
        {"step": 0},
        {"rate_hz": 0.0},
        {"rate_hz": 2e6},
        {"channels": ()},
        {"channels": (SignalChannel("x", ()),)},
        {"channels": (SignalChannel("x", ("median",)),)},  # type: ignore[arg-type]
        {"max_missing": -1},
        {"max_gap_s": 0.0},
    ],
)
def test_a_signal_beyond_its_limits_is_refused(changes: dict[str, object]):
    signal = msgspec.structs.replace(MAX_AND_RMS, **changes)
    with pytest.raises(BundleError, match=r"\$.signal"):
        parse_manifest(encode_manifest(msgspec.structs.replace(OF_A_SIGNAL, signal=signal)))
