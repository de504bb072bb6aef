import pytest
from msgspec.structs import replace

from edge_agent.bundle import Lineage, TrialRules, parse_manifest
from edge_agent.scoring.golden import verify_golden
from edge_agent.scoring.loading import open_runtime
from edge_agent.scoring.scorer import Scorer
from exporter.bundles.pack import pack_bundle
from exporter.errors import ConversionError, NothingToPackError
from tests.unit.exporter.families import evidence_of, export, learn
from tests.unit.exporter.repositories import SetClock


def pack(learnt, report, tmp_path, folder="bundle", **changes):
    arguments = {
        "export_folder": tmp_path / "variants",
        "model": learnt.model,
        "report": report,
        "evidence": evidence_of(learnt),
        "name": "digits",
        "version": 3,
        "trial": TrialRules(),
        "lineage": Lineage("run", "0" * 64, "1", "2026-11-24T00:00:00Z"),
        **changes,
    }
    return pack_bundle(tmp_path / folder, **arguments)


@pytest.mark.parametrize(
    ("family", "data"),
    [("imputed mlp", "digits"), ("boosting", "cancer"), ("rescaled mlp", "diabetes"), ("columns", "cancer")],
)
def test_a_bundle_passes_its_golden_rows_and_scores_like_the_original(family, data, tmp_path):
    learnt = learn(family, data)
    pack(learnt, export(learnt, tmp_path / "variants", "auto"), tmp_path)
    manifest = parse_manifest((tmp_path / "bundle" / "manifest.json").read_bytes())
    expected = learnt.model.outputs(learnt.evaluation[:5])
    for variant in manifest.variants:
        runtime = open_runtime(variant, tmp_path / "bundle", manifest)
        assert verify_golden(manifest, variant, runtime).rows == len(manifest.golden)
        scorer = Scorer(manifest, runtime)
        for row, outputs in zip(learnt.evaluation[:5], expected, strict=True):
            assert scorer.score_indexed(row.tolist()).outputs == pytest.approx(outputs, abs=variant.tolerance)


def test_refused_variants_are_left_out(tmp_path):
    learnt = learn("logistic", "digits")
    report = export(learnt, tmp_path / "variants", "auto", max_size_bytes=3500)
    manifest = pack(learnt, report, tmp_path)
    # The header fits no bundle, whatever its size.
    assert [v.name for v in manifest.variants] == ["onnx-int8", "tflite-int8", "native-int8"]
    assert sorted(p.name for p in (tmp_path / "bundle").iterdir()) == [
        "manifest.json",
        "model.int8.native",
        "model.int8.onnx",
        "model.int8.tflite",
        "sbom.cdx.json",
    ]


def test_variants_keep_the_order_in_which_they_were_asked_for(tmp_path):
    learnt = learn("ridge", "diabetes")
    report = export(learnt, tmp_path / "variants", "tflite-int8", "onnx-fp32")
    assert [v.name for v in pack(learnt, report, tmp_path).variants] == ["tflite-int8", "onnx-fp32"]


def test_the_same_export_gives_the_same_bundle(tmp_path):
    learnt = learn("logistic", "cancer")
    report = export(learnt, tmp_path / "variants", "auto", clock=SetClock())
    for folder in ("first", "second"):
        pack(learnt, report, tmp_path, folder)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_without_an_accepted_variant_there_is_no_bundle_and_the_reasons_are_told(tmp_path):
    learnt = learn("forest", "digits")
    report = export(learnt, tmp_path / "variants", "auto", max_size_bytes=10)
    with pytest.raises(NothingToPackError, match=r"onnx-fp32: its file has .* bytes.*nothing to quantise"):
        pack(learnt, report, tmp_path)
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_whose_golden_rows_fail_at_home_gets_no_manifest(tmp_path):
    # The report is of one model, the evidence and golden rows of another.
    learnt, other = learn("logistic", "digits"), learn("mlp", "digits")
    report = export(learnt, tmp_path / "variants", "onnx-fp32")
    with pytest.raises(ConversionError, match="differ by more than their tolerance on"):
        pack(other, report, tmp_path)
    assert not (tmp_path / "bundle" / "manifest.json").exists()


def test_a_file_that_changed_after_it_was_proved_gets_no_manifest(tmp_path):
    learnt, other = learn("logistic", "digits"), learn("mlp", "digits")
    report = export(learnt, tmp_path / "variants", "onnx-fp32")
    export(other, tmp_path / "variants", "onnx-fp32")
    with pytest.raises(ConversionError, match="differ by more than their tolerance on"):
        pack(learnt, report, tmp_path)
    assert not (tmp_path / "bundle" / "manifest.json").exists()


def test_a_row_on_which_a_variant_happens_to_be_off_is_no_golden_row(tmp_path):
    learnt = learn("mlp", "digits")
    report = export(learnt, tmp_path / "variants", "tflite-int8")
    # As if parity had been measured on rows where int8 is closer than it is on most.
    narrow = replace(report, variants=tuple(replace(v, tolerance=v.tolerance / 2.2) for v in report.variants))
    manifest = pack(learnt, narrow, tmp_path)
    assert len(manifest.golden) > 8


def test_tolerances_follow_the_stated_rule(tmp_path):
    learnt = learn("mlp", "digits")
    report = export(learnt, tmp_path / "variants", "onnx-fp32", "tflite-int8")
    exact, quantised = report.accepted
    assert exact.tolerance == 1e-5
    assert quantised.parity is not None
    assert quantised.tolerance == pytest.approx(2 * quantised.parity.max_abs_difference)
