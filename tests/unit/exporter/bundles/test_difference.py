"""Each part that differs between two bundles is named, and nothing else."""

import msgspec
import pytest
from msgspec.structs import replace

from edge_agent.bundle import Feature, FeatureReference, GoldenRow, Lineage, TrialRules
from edge_agent.raw_signal import Band, SignalChannel
from exporter.bundles.difference import Difference, compare_manifests, compare_materials
from exporter.bundles.materials import parse_sbom
from exporter.bundles.sbom import make_sbom
from tests.unit.edge_agent.examples import classification_manifest, regression_manifest, variant_bytes
from tests.unit.edge_agent.signals import vibration

OLD = classification_manifest()
WIND = OLD.features[1]
ROW = OLD.golden[0]


def parts(after, before=OLD):
    return {each.part: (each.before, each.after) for each in compare_manifests(before, after)}


def test_a_bundle_does_not_differ_from_itself():
    assert compare_manifests(OLD, classification_manifest()) == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "snow"}, {"name": ("rain", "snow")}),
        ({"version": 4}, {"version": ("3", "4")}),
        ({"metric": "f1"}, {"metric": ("accuracy", "f1")}),
        ({"window_rows": 20}, {"window_rows": ("10", "20")}),
        ({"labels": ("dry", "wet")}, {"labels": ("2: [dry, rain]", "2: [dry, wet]")}),
        ({"features": (OLD.features[0], replace(WIND, unit="km/h"))}, {"features.wind.unit": ("m/s", "km/h")}),
        ({"features": (OLD.features[0], replace(WIND, valid_max=None))}, {"features.wind.valid_max": ("80", "–")}),
        (
            {"features": (OLD.features[0], replace(WIND, dtype="category", categories=("a", "b")))},
            {"features.wind.dtype": ("float32", "category"), "features.wind.categories": ("0: []", "2: [a, b]")},
        ),
        (
            {"references": (OLD.references[0], FeatureReference((6.0,), ((5, 5), (6, 4)), 2))},
            {"references.wind.edges": ("1: [5]", "1: [6]"), "references.wind.missing": ("0", "2")},
        ),
        ({"output_blocks": ((1, 2),)}, {"output_blocks": ("2: [2: [10, 20], 2: [12, 18]]", "1: [2: [1, 2]]")}),
        (
            {"estimation": replace(OLD.estimation, expected_quality=0.7)},
            {"estimation.expected_quality": ("0.8", "0.7")},
        ),
        (
            {
                "estimation": replace(
                    OLD.estimation, second_model=replace(OLD.estimation.second_model, means=(1.0, 5.0))
                )
            },
            {"estimation.second_model.means": ("2: [10, 5]", "2: [1, 5]")},
        ),
        ({"trial": TrialRules(rows=9)}, {"trial.rows": ("5", "9")}),
        ({"lineage": Lineage("other", "sha", "1.0", "2026-11-01T00:00:00Z")}, {"lineage.run_id": ("run", "other")}),
        (
            {"variants": (replace(OLD.variants[0], size_bytes=11, quality=0.8, tolerance=1e-4),)},
            {
                "variants.onnx-fp32.size_bytes": ("10", "11"),
                "variants.onnx-fp32.quality": ("0.9", "0.8"),
                "variants.onnx-fp32.tolerance": ("1e-05", "0.0001"),
            },
        ),
        (
            {"variants": (variant_bytes("native", "n.bin", b"table", runtime="native"),)},
            {"variants.onnx-fp32": ("there", "–"), "variants.native": ("–", "there")},
        ),
        ({"golden": OLD.golden[:1]}, {"golden (rows only before)": ("1", "–")}),
        (
            {"golden": (*OLD.golden, GoldenRow((0.0, 0.0), (0.5, 0.5)))},
            {"golden (rows only after)": ("–", "1")},
        ),
        (
            {"golden": (GoldenRow(ROW.features, (ROW.expected[0] + 0.25, ROW.expected[1])), OLD.golden[1])},
            {"golden (answers)": ("2 rows", "1 of 2 others, up to 0.25 apart")},
        ),
    ],
)
def test_what_changed_is_named_and_nothing_else(changes, expected):
    assert parts(classification_manifest(**changes)) == expected


def test_features_that_come_go_or_change_places_are_told():
    assert parts(classification_manifest(features=(OLD.features[0], Feature("rain"))))["features.wind"] == (
        "there",
        "–",
    )
    swapped = classification_manifest(features=OLD.features[::-1], references=OLD.references[::-1])
    assert parts(swapped) == {"features (order)": ("2: [temperature, wind]", "2: [wind, temperature]")}


def test_another_task_is_compared_as_well():
    assert {"task", "labels", "output_edges", "golden (answers)"} <= parts(regression_manifest()).keys()


def test_long_lists_are_shortened():
    shown = parts(classification_manifest(labels=tuple(f"label {n}" for n in range(500))))["labels"][1]
    assert shown.startswith("500: [label 0, ")
    assert len(shown) < 120


def test_libraries_of_other_versions_are_told():
    old = parse_sbom(make_sbom(OLD, "m", ("scikit-learn",)))
    components = tuple(
        replace(each, version="0.1") if each.name == "scikit-learn" else each
        for each in old.components
        if each.name != "numpy"
    )
    differences = compare_materials(old, replace(old, components=components))
    assert [(each.part, each.after) for each in differences] == [
        ("materials.numpy", "–"),
        ("materials.scikit-learn", "0.1"),
    ]
    assert compare_materials(old, old) == compare_materials(None, None) == ()
    assert compare_materials(None, old) == (Difference("materials", "–", "listed"),)


def test_differences_are_data():
    data = msgspec.json.encode(compare_manifests(OLD, classification_manifest(version=4)))
    assert msgspec.json.decode(data) == [{"part": "version", "before": "3", "after": "4"}]


SIGNALLED = replace(OLD, signal=vibration())


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        (vibration(), {}),
        (vibration(size=32, time="t"), {"signal.size": ("16", "32"), "signal.time": ("–", "t")}),
        (vibration(channels=vibration().channels[:1]), {"signal.channels.y": ("there", "–")}),
        (
            vibration(channels=(vibration().channels[0], SignalChannel("y", ("max",), "g"))),
            {"signal.channels.y.statistics": ("2: [max, rms]", "1: [max]"), "signal.channels.y.unit": ("–", "g")},
        ),
        (vibration(bands=(Band(0.0, 9.5),)), {"signal.bands": ("2: [2: [0, 20], 2: [20, 50]]", "1: [2: [0, 9.5]]")}),
    ],
)
def test_what_differs_in_the_windows_is_named(signal, expected):
    assert parts(replace(OLD, signal=signal), SIGNALLED) == expected


def test_that_one_of_two_bundles_takes_readings_is_told():
    assert parts(SIGNALLED) == {"signal": ("–", "there")}
    assert parts(OLD, SIGNALLED) == {"signal": ("there", "–")}
