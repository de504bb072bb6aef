import math

import pytest
from msgspec.structs import replace

from trainer.pipeline.gate import decide
from trainer.pipeline.gate_evidence import GateEvidence, VariantFigures
from trainer.pipeline.slices import SliceFigures
from trainer.project.fleet import ExportSection
from trainer.project.learning import GateSection

# Limits and qualities are sums of powers of two: exactly at a limit is exactly there.
GATE = GateSection(
    min_gain_over_baseline=0.125,
    max_loss_to_previous=0.25,
    max_parity_loss=0.125,
    max_chance=0.05,
    slices={"colour=red": 0.5, "target=*": 0.25},
)
EXPORT = ExportSection(max_size_bytes=1000, max_latency_us=50.0)
FP32 = VariantFigures("onnx-fp32", made=True, refusal="", size_bytes=900, latency_us=40.0, parity_loss=0.0)
INT8 = VariantFigures("onnx-int8", made=True, refusal="", size_bytes=300, latency_us=20.0, parity_loss=0.0625)
EVIDENCE = GateEvidence(
    metric="accuracy",
    judged_rows=200,
    quality=0.75,
    constant_quality=0.5,
    majority_share=0.5,
    champion_version=0,
    champion_answers_alike=True,
    compared_rows=0,
    compared_quality=0.0,
    champion_quality=0.0,
    recent_rows=0,
    recent_quality=0.0,
    recent_constant_quality=0.0,
    recent_majority_share=0.0,
    variants=(FP32,),
)


def with_champion(champion, candidate=0.75):
    return {"champion_version": 7, "compared_rows": 150, "compared_quality": candidate, "champion_quality": champion}


def with_persistence(quality):
    return {"persistence_rows": 150, "persistence_quality": quality, "is_label_delay_known": True}


def with_recent(quality, constant=0.5, share=0.5):
    return {
        "recent_rows": 100,
        "recent_quality": quality,
        "recent_constant_quality": constant,
        "recent_majority_share": share,
    }


def judge(gate=GATE, export=EXPORT, **changes):
    return decide(replace(EVIDENCE, **changes), gate, export)


def refused(decision):
    return [check.name for check in decision.checks if check.decides and not check.passed]


REGRESSION = {"metric": "r2", "constant_quality": 0.0, "majority_share": 0.0}
ERROR = {"metric": "mae", "quality": -1.0, "constant_quality": -2.0, "majority_share": 0.0}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        # baseline: strictly better than the limit
        ({}, []),
        ({"quality": 0.625}, ["baseline"]),
        ({"quality": 0.6251}, []),
        ({"quality": 0.5}, ["baseline"]),
        ({"quality": math.nan}, ["baseline"]),
        ({"quality": 0.5, "majority_share": 0.98}, []),
        ({"quality": 0.5, "majority_share": 0.979}, ["baseline"]),
        # persistence: as the baseline, where the project says when labels are known
        (with_persistence(0.6249), []),
        (with_persistence(0.625), ["persistence"]),
        (with_persistence(math.nan), ["persistence"]),
        ({**with_persistence(1.0), "is_label_delay_known": False}, []),
        ({**with_persistence(1.0), "persistence_rows": 0}, []),
        ({**with_persistence(1.0), "majority_share": 0.98}, []),
        # a gain over it that chance gives
        ({**with_persistence(0.5), "persistence_chance": 0.05}, []),
        ({**with_persistence(0.5), "persistence_chance": 0.0501}, ["persistence chance"]),
        ({**with_persistence(0.5), "persistence_chance": math.nan}, ["persistence chance"]),
        ({**with_persistence(0.5), **with_champion(0.5), "persistence_chance": 0.0501}, ["persistence chance"]),
        ({**with_persistence(0.5), "persistence_chance": 1.0, "is_label_delay_known": False}, []),
        ({**with_persistence(0.5), "persistence_chance": 1.0, "majority_share": 0.98}, []),
        # previous: a loss of exactly what is tolerated is tolerated
        (with_champion(0.5), []),
        (with_champion(1.0), []),
        (with_champion(1.0, candidate=0.7499), ["previous"]),
        (with_champion(math.nan), ["previous"]),
        ({**with_champion(1.0, candidate=0.0), "champion_version": 0}, []),
        ({**with_champion(1.0, candidate=0.0), "champion_answers_alike": False, "compared_rows": 0}, []),
        # a champion that could be compared, and was not, is no reason to pass
        ({**with_champion(0.0), "compared_rows": 0}, ["previous"]),
        # chance: of a gain over the champion; of a first model over a constant answer
        ({"constant_chance": 0.05}, []),
        ({"constant_chance": 0.0501}, ["chance"]),
        ({"constant_chance": math.nan}, ["chance"]),
        ({"constant_chance": 1.0, "majority_share": 0.98}, []),
        ({**with_champion(0.5), "champion_chance": 0.05, "constant_chance": 1.0}, []),
        ({**with_champion(0.5), "champion_chance": 0.0501}, ["chance"]),
        ({**with_champion(0.75), "champion_chance": 1.0}, ["chance"]),
        ({**with_champion(0.5), "champion_chance": 1.0, "champion_answers_alike": False}, []),
        # slices: each at its floor, few rows are not judged
        ({"slices": (SliceFigures("colour=red", 20, 0.5),)}, []),
        ({"slices": (SliceFigures("colour=red", 20, 0.4999),)}, ["slice colour=red"]),
        ({"slices": (SliceFigures("colour=red", 19, 0.0),)}, []),
        (
            {"slices": (SliceFigures("target=bad", 20, 0.25), SliceFigures("target=good", 20, 0.0))},
            ["slice target=good"],
        ),
        # recent: may be a little worse than a constant, not as much as the margin
        (with_recent(0.5), []),
        (with_recent(0.49), []),
        (with_recent(0.47), ["recent"]),
        (with_recent(math.nan), ["recent"]),
        ({**with_recent(0.1), "recent_rows": 0}, []),
        (with_recent(0.1, share=0.98), []),
        (with_recent(0.1, share=0.979), ["recent"]),
        # one-sided judged rows do not excuse mixed recent ones, nor the other way round
        ({**with_recent(0.1), "majority_share": 0.99}, ["recent"]),
        ({**with_recent(0.5, share=0.99), "quality": 0.5}, ["baseline"]),
        # values: r2 has the margin as it is
        ({**REGRESSION, **with_recent(-0.02, constant=0.0, share=0.0)}, ["recent"]),
        ({**REGRESSION, **with_recent(-0.0199, constant=0.0, share=0.0)}, []),
        # errors: the margin is a share of the constant answer's error, in whatever unit that is
        (ERROR, []),
        ({**ERROR, "quality": -1.875}, ["baseline"]),
        ({**ERROR, **with_champion(-0.75, candidate=-1.0)}, []),
        ({**ERROR, **with_champion(-0.75, candidate=-1.01)}, ["previous"]),
        ({**ERROR, **with_recent(-102.0, constant=-100.0, share=0.0)}, ["recent"]),
        ({**ERROR, **with_recent(-101.75, constant=-100.0, share=0.0)}, []),
        ({**ERROR, **with_recent(-0.0011, constant=-0.001, share=0.0)}, ["recent"]),
        ({**ERROR, **with_recent(-0.00101, constant=-0.001, share=0.0)}, []),
        ({**ERROR, **with_recent(-0.5, constant=0.0, share=0.0)}, ["recent"]),
        ({**ERROR, **with_recent(0.0, constant=0.0, share=0.0)}, []),
        # variants: one that fits is enough
        ({"variants": ()}, ["variants"]),
        ({"variants": (replace(FP32, refusal="too large"),)}, ["variants"]),
        ({"variants": (replace(FP32, made=False),)}, ["variants"]),
        ({"variants": (replace(FP32, refusal="too large"), INT8)}, []),
        ({"variants": (replace(FP32, made=False, refusal="no such form"), INT8)}, []),
        # every reason counts
        (
            {"quality": 0.5, **with_champion(1.0, candidate=0.5), **with_recent(0.1), "variants": ()},
            ["baseline", "previous", "recent", "variants"],
        ),
    ],
)
def test_the_decision_follows_its_table(changes, names):
    decision = judge(**changes)
    assert refused(decision) == names
    assert decision.passed == (not names)
    assert len(decision.refusals) == len(names)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"quality": 0.5},
            ["baseline", "accuracy 0.5000 on 200 rows", "0.5000", "gain +0.0000", "must be more than +0.1250"],
        ),
        (
            with_champion(1.0, candidate=0.625),
            ["previous", "0.6250", "champion has 1.0000", "150 rows", "gain -0.3750", "must be at least -0.2500"],
        ),
        ({**with_champion(0.0), "compared_rows": 0}, ["previous", "version 7", "has seen every judged row"]),
        (with_persistence(0.875), ["persistence", "0.7500", "0.8750", "150 of 200 rows", "gain -0.1250"]),
        (with_recent(0.25), ["recent", "latest 100 rows", "gain -0.2500", "must be more than -0.0200"]),
        (
            {"variants": (replace(FP32, refusal="900 bytes are too many"), replace(INT8, refusal="13 labels flip"))},
            ["none fits", "onnx-fp32: 900 bytes are too many", "onnx-int8: 13 labels flip"],
        ),
    ],
)
def test_a_refusal_says_which_check_and_by_how_much(changes, words):
    (text,) = judge(**changes).refusals
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("variant", "export", "failed"),
    [
        (replace(FP32, parity_loss=0.125, size_bytes=1000, latency_us=50.0), EXPORT, []),
        (replace(FP32, parity_loss=0.126), EXPORT, ["onnx-fp32 parity loss 0.126 of the metric, at most 0.125"]),
        (replace(FP32, parity_loss=math.nan), EXPORT, ["onnx-fp32 parity loss nan of the metric, at most 0.125"]),
        (replace(FP32, parity_loss=-0.5), EXPORT, []),
        (replace(FP32, size_bytes=1001), EXPORT, ["onnx-fp32 size 1.001 kB, at most 1 kB"]),
        (
            replace(FP32, size_bytes=5_000_000),
            ExportSection(max_size_bytes=4 * 1024 * 1024),
            ["onnx-fp32 size 5 MB, at most 4.2 MB"],
        ),
        (replace(FP32, latency_us=50.1), EXPORT, ["onnx-fp32 latency 50.1 µs a row, at most 50 µs"]),
        (replace(FP32, latency_us=1e9), ExportSection(max_size_bytes=1000), []),
        (replace(FP32, made=False, size_bytes=1001, latency_us=1e9), EXPORT, []),
    ],
)
def test_a_variant_is_held_to_its_three_limits(variant, export, failed):
    decision = judge(variants=(variant, INT8), export=export)
    texts = [check.text for check in decision.checks if not check.passed]
    assert [text.replace(":", "", 1) for text in texts] == failed
    assert all(check.text.startswith("onnx-fp32: ") for check in decision.checks if not check.passed)
    assert decision.passed, "a variant that fails is only left out of the bundle"


def test_a_variant_that_was_not_made_is_not_measured():
    names = {check.name for check in judge(variants=(replace(FP32, made=False), INT8)).checks}
    assert "onnx-int8 size" in names
    assert "onnx-fp32 size" not in names


def test_every_check_holds_its_value_against_its_limit():
    decision = judge(quality=0.5, **with_champion(1.0, candidate=0.5), **with_recent(0.1), variants=(FP32, INT8))
    for check in decision.checks:
        is_within = check.value <= check.limit if check.is_ceiling else check.value >= check.limit
        assert is_within == check.passed, check.name


def test_the_limits_are_the_projects():
    decision = judge(
        GateSection(min_gain_over_baseline=-0.5, max_loss_to_previous=2.0, max_parity_loss=9.0),
        quality=0.25,
        **with_champion(1.0, candidate=0.0),
        variants=(replace(FP32, parity_loss=8.0),),
    )
    assert decision.passed
    assert all(check.passed for check in decision.checks)
    assert not judge(GateSection(max_loss_to_previous=0.0), **with_champion(1.0)).passed


def test_a_decision_stands_with_the_evidence_it_was_made_on():
    decision = judge(**with_recent(0.1))
    assert decision.evidence == replace(EVIDENCE, **with_recent(0.1))
    assert judge(**with_recent(0.1)) == decision


def test_what_was_not_judged_says_why():
    texts = " ".join(check.text for check in judge(majority_share=0.99).checks)
    assert "nearly all rows are of one class" in texts
    assert "no champion" in texts
    assert "no labelled rows of the fleet" in texts
    changed = judge(champion_version=7, champion_answers_alike=False)
    assert "version 7, has other features or labels" in " ".join(check.text for check in changed.checks)
    recent = next(check for check in judge(**with_recent(0.1, share=0.99)).checks if check.name == "recent")
    assert "not judged" in recent.text


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        (with_champion(0.91, candidate=0.9), []),
        (with_champion(0.9101, candidate=0.9), ["previous"]),
        ({"quality": 0.81, "constant_quality": 0.8}, ["baseline"]),
        (with_recent(0.49, constant=0.51), ["recent"]),
    ],
)
def test_exactly_at_a_limit_does_not_hang_on_the_last_bit(changes, names):
    gate = GateSection(min_gain_over_baseline=0.01, max_loss_to_previous=0.01, max_parity_loss=0.005)
    assert refused(judge(gate, variants=(replace(FP32, parity_loss=0.905 - 0.9),), **changes)) == names
    at_limit = judge(gate, variants=(replace(FP32, parity_loss=0.905 - 0.9),))
    assert all(check.passed for check in at_limit.checks)


def test_a_gain_that_may_be_chance_is_allowed_where_the_project_says_so():
    gate = replace(GATE, max_chance=1.0)
    assert judge(gate, **with_champion(0.75), champion_chance=1.0).passed


def test_a_refusal_by_chance_says_against_whom_and_how_likely():
    (text,) = judge(**with_champion(0.5), champion_chance=0.25).refusals
    assert (
        text
        == "chance: a model no better than the champion gains as much on 150 rows with a chance of 0.250, at most 0.05"
    )


def test_a_baseline_that_nobody_could_use_is_told_and_not_judged():
    decision = judge(**with_persistence(1.0), quality=0.75)
    assert not decision.passed
    told = judge(**{**with_persistence(1.0), "is_label_delay_known": False})
    (check,) = [each for each in told.checks if each.name == "persistence"]
    assert check.passed
    assert "not judged, target.label_delay_s does not say how late labels are known" in check.text
