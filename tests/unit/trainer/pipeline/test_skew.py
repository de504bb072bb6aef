import numpy as np
import pytest

from trainer.pipeline import skew


def index_and_limit(usual, found, n_compared=1):
    edges = skew.edges_of(usual)
    before, now = skew.counts_of(usual, edges), skew.counts_of(found, edges)
    return skew.stability_index(before, now), skew.limit_of(before, now, n_compared)


def test_values_of_the_same_kind_are_hardly_ever_skewed_however_few_there_are():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        n = int(rng.integers(20, 300))
        index, limit = index_and_limit(rng.normal(size=n), rng.normal(size=n))
        wrong += index > limit
    assert wrong <= 400 * 3 * skew.CHANCE


@pytest.mark.parametrize("found", [{"loc": 1.0}, {"scale": 3.0}])
def test_values_that_moved_or_spread_are_skewed(found):
    rng = np.random.default_rng(0)
    index, limit = index_and_limit(rng.normal(size=500), rng.normal(size=500, **found))
    assert index > limit


def test_a_small_shift_of_many_rows_is_certain_and_still_not_worth_acting_on():
    rng = np.random.default_rng(0)
    index, limit = index_and_limit(rng.normal(size=100_000), rng.normal(loc=0.1, size=100_000))
    assert index < limit == skew.WORTH_ACTING


def test_more_comparisons_at_once_demand_more_of_each():
    usual, found = (5, 5, 5, 0), (6, 5, 4, 0)
    assert skew.limit_of(usual, found, 100) > skew.limit_of(usual, found, 1)


def test_missing_values_have_a_bin_of_their_own_and_repeated_values_fewer_bins():
    values = np.array([1.0, 1.0, 1.0, 1.0, 2.0, np.nan])
    edges = skew.edges_of(values)
    assert edges == (1.0, 2.0)
    assert skew.counts_of(values, edges) == (4, 1, 0, 1)
    assert skew.edges_of(np.array([np.nan])) == ()


def test_a_feature_that_never_varies_is_never_skewed():
    assert skew.limit_of((7, 0), (9, 0), 1) == float("inf")
