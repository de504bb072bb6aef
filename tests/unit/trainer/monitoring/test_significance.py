import numpy as np
import pytest
from scipy import stats

from trainer.monitoring.significance import binomial_p, greater_error_p, mean_above_p


@pytest.mark.parametrize(("wrong", "n", "expected"), [(0, 30, 0.2), (6, 30, 0.2), (11, 30, 0.22), (30, 30, 0.9)])
def test_the_binomial_test_agrees_with_scipy(wrong, n, expected):
    reference = stats.binomtest(wrong, n, expected, alternative="greater").pvalue
    assert binomial_p(wrong, n, expected) == pytest.approx(reference)


@pytest.mark.parametrize(("expected", "p"), [(0.0, 0.0), (1.0, 1.0), (1.3, 1.0)])
def test_the_binomial_test_takes_expectations_at_its_ends(expected, p):
    assert binomial_p(3, 10, expected) == p


def test_no_rows_prove_nothing():
    assert binomial_p(0, 0, 0.2) == 1.0
    assert mean_above_p([], 1.0) == 1.0
    assert mean_above_p([5.0], 1.0) == 1.0


def test_the_t_test_agrees_with_scipy():
    values = np.random.default_rng(1).exponential(1.3, 30)
    reference = stats.ttest_1samp(values, 1.0, alternative="greater").pvalue
    assert mean_above_p(values.tolist(), 1.0) == pytest.approx(reference)


def test_errors_without_spread_are_decided_by_their_mean():
    assert mean_above_p([2.0, 2.0], 1.0) == 0.0
    assert mean_above_p([1.0, 1.0], 1.0) == 1.0


def test_the_task_chooses_the_test():
    assert greater_error_p("classification", [1, 0, 1], 0.1) == binomial_p(2, 3, 0.1)
    assert greater_error_p("regression", [1.0, 2.0], 0.5) == mean_above_p([1.0, 2.0], 0.5)
