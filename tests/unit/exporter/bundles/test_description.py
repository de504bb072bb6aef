"""A description is short, whatever the bundle holds."""

import io

from msgspec.structs import replace

from edge_agent.bundle import Feature, encode_manifest
from edge_agent.bundle_file import PackedBundle
from exporter.bundles.description import describe, description_text, printable
from tests.packed import Part, archive
from tests.unit.edge_agent.examples import classification_manifest, regression_manifest, variant_bytes
from tests.unit.edge_agent.test_bundle import MAX_AND_RMS, OF_A_SIGNAL


def text_of(**changes: object) -> str:
    variants = (variant_bytes("onnx-fp32", "a.onnx", b"a model"),)
    make = regression_manifest if changes.get("task") == "regression" else classification_manifest
    data = encode_manifest(make(variants=variants, **changes))
    packed = archive([Part("manifest.json", data), Part("a.onnx", b"a model")])
    return description_text(describe(PackedBundle(io.BytesIO(packed))))


def test_units_ranges_and_categories_are_shown() -> None:
    wide = Feature("kind", dtype="category", categories=tuple(f"c{n}" for n in range(20)))
    text = text_of(features=(Feature("temperature", unit="degC", valid_min=-40.0), wide))
    assert "-40 to … degC" in text
    assert "c0, c1, c2, c3, c4, c5, c6, c7, … (20)" in text


def test_a_value_has_no_labels() -> None:
    assert "labels       –" in text_of(task="regression")


def test_more_rows_than_anybody_reads_are_counted() -> None:
    n = 100
    base = classification_manifest()
    from edge_agent.bundle import GoldenRow, LinearModel

    zeros = (0.0,) * n
    text = text_of(
        features=tuple(Feature(f"f{i}") for i in range(n)),
        references=base.references[:1] * n,
        golden=(GoldenRow(zeros, (0.5, 0.5)),),
        estimation=replace(base.estimation, second_model=LinearModel(zeros, (1.0,) * n, (zeros, zeros), (0.0, 0.0))),
    )
    assert text.count("… and 36 more: --json tells all") == 2
    assert "f63" in text
    assert "f64" not in text


def test_what_is_not_plainly_shown_is_written_out() -> None:
    assert printable("a\x1b[0m\x07\u202eb\u200b ü\n") == "a\\x1b[0m\\x07\\u202eb\\u200b ü\\n"


def test_the_windows_of_a_signal_are_shown() -> None:
    text = text_of(features=(Feature("x_max"), Feature("x_rms")), signal=OF_A_SIGNAL.signal)
    assert (
        "signal       100 Hz, windows of 16 readings every 8, evenly, up to 0 missing\nchannels     x    max, rms\n"
        in text
    )
    timed = replace(MAX_AND_RMS, time="t")
    assert "by their time 't', gaps over 0.015 s" in text_of(features=OF_A_SIGNAL.features, signal=timed)
    assert "signal" not in text_of()
