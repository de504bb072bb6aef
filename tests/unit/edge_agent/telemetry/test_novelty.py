"""A row is as novel as its values were rare in training."""

import math

import pytest

from edge_agent.bundle import FeatureReference
from edge_agent.telemetry.novelty import Novelty

# 60 rows of two blocks below 1, 30 between 1 and 2, 5 above, 1 missing.
SKEWED = FeatureReference((1.0, 2.0), ((40, 10, 5), (20, 20, 0)), 1)
EVEN = FeatureReference((0.5,), ((48, 48),))


def bits(count: int, total: int, places: int) -> float:
    return math.log2((total + places) / (count + 1))


def test_a_value_surprises_by_how_rare_its_bin_was_over_all_blocks():
    novelty = Novelty((SKEWED,))
    for value, count in ((0.0, 60), (1.0, 30), (9.0, 5), (math.nan, 1)):
        assert novelty.of((value,)) == pytest.approx(bits(count, 96, 4))


def test_a_row_is_as_novel_as_its_features_in_the_mean():
    row = Novelty((SKEWED, EVEN)).of((9.0, 0.0))
    assert row == pytest.approx((bits(5, 96, 4) + bits(48, 96, 3)) / 2)


def test_what_never_occurred_in_training_is_most_novel_and_finite():
    novelty = Novelty((FeatureReference((0.0,), ((1000, 0),)),))
    assert novelty.of((-1.0,)) < novelty.of((1.0,)) == novelty.of((math.nan,)) < 11
