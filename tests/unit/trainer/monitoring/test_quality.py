import numpy as np
import pytest
from msgspec.structs import replace

from broker.messages import BundleRef
from tests.unit.trainer.simulated_fleet import LOSING, RIGHT, USUAL, draw_window, make_manifest
from trainer.monitoring.quality import Expectation, estimate_from_counts, estimate_quality, expectation_of, suits
from trainer.monitoring.signs import decide_ask
from trainer.project.fleet import MonitoringSection

RULES = MonitoringSection()


def asks(windows, manifest):
    estimate = estimate_quality(windows, manifest)
    decision = decide_ask(estimate=estimate, background=None, cooling_down=False, budget=1000, rules=RULES)
    return decision.verdict == "ask"


def test_the_estimate_follows_the_mixture_of_confidence_and_agreement():
    manifest = make_manifest()
    windows = [draw_window(np.random.default_rng(3), manifest, rows=5000, shares=LOSING)]
    estimate = estimate_quality(windows, manifest)
    assert estimate is not None
    assert estimate.estimated == pytest.approx(float(LOSING @ RIGHT), abs=0.05)
    assert estimate.expected == pytest.approx(float(USUAL @ RIGHT), abs=0.02)
    assert estimate.loss == pytest.approx(estimate.expected - estimate.estimated)
    assert estimate.z == pytest.approx(estimate.loss / estimate.standard_error)


def test_windows_like_the_reference_never_ask_in_300_controls():
    manifest, rng = make_manifest(block_sd=0.02), np.random.default_rng(11)
    alarms = sum(asks([draw_window(rng, manifest, rows=200)], manifest) for _ in range(300))
    # FACTS of this rule: no false alarm in 5,265 controls; one in 300 would be 25 times what it may be.
    assert alarms == 0


def test_a_real_loss_of_confidence_is_noticed_nearly_always():
    manifest, rng = make_manifest(), np.random.default_rng(12)
    noticed = sum(asks([draw_window(rng, manifest, rows=200, shares=LOSING)], manifest) for _ in range(100))
    assert noticed >= 99


def test_a_gain_of_confidence_is_no_sign():
    manifest = make_manifest()
    sure = np.zeros(20)
    sure[19] = 1
    estimate = estimate_quality([draw_window(np.random.default_rng(1), manifest, rows=500, shares=sure)], manifest)
    assert estimate is not None
    assert estimate.loss < 0
    assert estimate.z < 0


def test_blocks_that_differ_among_themselves_widen_the_standard_error():
    calm, restless = make_manifest(), make_manifest()
    estimation = replace(restless.estimation, block_quality=(0.5, 0.6, 0.7, 0.8, 0.9))
    counts = draw_window(np.random.default_rng(1), calm, rows=200, shares=LOSING).agreement
    steady = estimate_from_counts(counts, calm.estimation, "classification")
    unsteady = estimate_from_counts(counts, estimation, "classification")
    assert steady is not None
    assert unsteady is not None
    assert unsteady.standard_error > 2 * steady.standard_error
    assert unsteady.loss == steady.loss


def test_more_rows_make_the_estimate_surer():
    manifest = make_manifest()
    few = estimate_quality([draw_window(np.random.default_rng(1), manifest, rows=50, shares=LOSING)], manifest)
    many = estimate_quality([draw_window(np.random.default_rng(1), manifest, rows=2000, shares=LOSING)], manifest)
    assert few is not None
    assert many is not None
    assert many.standard_error < few.standard_error


def test_no_rows_give_no_estimate():
    manifest = make_manifest()
    assert estimate_quality([], manifest) is None
    assert estimate_from_counts((0,) * 20, manifest.estimation, "classification") is None
    empty = replace(manifest.estimation, rows=(0,) * 20)
    assert estimate_from_counts((1,) * 20, empty, "classification") is None


def test_regression_measures_the_loss_as_a_relative_rise_of_the_error():
    manifest = make_manifest("regression")
    usual = manifest.estimation.rows
    same = estimate_from_counts(usual, manifest.estimation, "regression")
    worse = estimate_from_counts((0, 0, 0, 100, 100), manifest.estimation, "regression")
    assert same is not None
    assert worse is not None
    assert same.loss == pytest.approx(0, abs=1e-9)
    assert worse.loss == pytest.approx((worse.estimated - worse.expected) / worse.expected)
    assert worse.z > 3


def test_a_bin_of_few_rows_is_believed_little():
    manifest = make_manifest()
    estimation = replace(manifest.estimation, quality=(0.0, *manifest.estimation.quality[1:]), rows=(1,) + (100,) * 19)
    estimate = estimate_from_counts((10,) + (0,) * 19, estimation, "classification")
    assert estimate is not None
    assert estimate.estimated > 0.4


@pytest.mark.parametrize(
    "spoilt",
    [
        {"bundle": BundleRef("weather", 2)},
        {"predictions": (1, 2, 3)},
        {"agreement": (1,) * 19},
        {"agreement": (50,) + (0,) * 18 + (1,)},
        {"features": ()},
    ],
)
def test_a_window_that_does_not_suit_the_manifest_is_not_added_up(spoilt):
    manifest = make_manifest()
    window = draw_window(np.random.default_rng(1), manifest)
    assert suits(window, manifest)
    assert not suits(replace(window, **spoilt), manifest)


def test_a_window_with_another_number_of_bins_does_not_suit():
    manifest = make_manifest()
    window = draw_window(np.random.default_rng(1), manifest)
    short = replace(window.features[0], counts=(1, 2))
    assert not suits(replace(window, features=(short, window.features[1])), manifest)


def test_expectations_are_errors_for_both_tasks():
    manifest = make_manifest()
    assert expectation_of(manifest).error == pytest.approx(1 - manifest.estimation.expected_quality)
    assert expectation_of(make_manifest("regression")).error == make_manifest("regression").estimation.expected_quality
    assert Expectation("classification", 0.2).tolerated(0.02) == pytest.approx(0.22)
    assert Expectation("regression", 2.0).tolerated(0.02) == pytest.approx(2.04)
    assert Expectation("classification", 0.2).loss_of(0.5) == pytest.approx(0.3)
    assert Expectation("regression", 2.0).loss_of(3.0) == pytest.approx(0.5)
