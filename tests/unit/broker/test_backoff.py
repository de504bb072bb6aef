"""Waits between attempts: longer with each failure, bounded, and not in step."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.backoff import (
    BASE_S,
    CAP_S,
    CUT_SHORT,
    CUT_SHORT_CAP_S,
    STEADY_S,
    backoff_s,
    cap_after,
    cut_short_after,
    failures_after,
    return_s,
)


@pytest.mark.parametrize(
    ("failures", "full_s"), [(0, 0.5), (1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (8, 30.0)]
)
def test_the_wait_doubles_up_to_the_cap(failures, full_s):
    waits = [backoff_s(failures, random.Random(seed)) for seed in range(200)]
    assert full_s / 2 <= min(waits) < full_s * 0.55
    assert full_s * 0.95 < max(waits) <= full_s


@pytest.mark.parametrize(
    ("failures", "spread_s", "least_s", "most_s"),
    [(1, 15.0, 0.0, 15.0), (2, 15.0, 15.0, 30.0), (9, 15.0, 15.0, 30.0), (2, 1.0, 1.0, 2.0), (3, 120.0, 120.0, 240.0)],
)
def test_one_of_a_fleet_comes_back_at_any_time_of_the_spread_and_tries_no_faster_later(
    failures, spread_s, least_s, most_s
):
    waits = [return_s(failures, random.Random(seed), spread_s=spread_s) for seed in range(200)]
    assert least_s <= min(waits) < least_s + (most_s - least_s) * 0.1
    assert most_s - (most_s - least_s) * 0.1 < max(waits) <= most_s


@given(failures=st.integers(0, 10**9), seed=st.integers(0, 2**32))
def test_the_wait_is_never_over_the_cap_nor_under_half_the_base(failures, seed):
    assert BASE_S / 2 <= backoff_s(failures, random.Random(seed)) <= CAP_S


@pytest.mark.parametrize(
    ("failures", "link_s", "expected"),
    [(0, 0.0, 1), (4, 0.0, 5), (4, STEADY_S - 0.1, 5), (4, STEADY_S, 1), (0, 1e6, 1)],
)
def test_only_a_link_that_held_ends_a_row_of_failures(failures, link_s, expected):
    assert failures_after(failures, link_s) == expected


@pytest.mark.parametrize(
    ("row", "link_s", "expected"), [(0, 0.1, 1), (4, STEADY_S - 0.1, 5), (4, STEADY_S, 0), (4, 0.0, 0)]
)
def test_only_links_that_came_up_and_did_not_hold_are_counted_as_cut_short(row, link_s, expected):
    """A broker that is away ends the row: it is none of two that end each other."""
    assert cut_short_after(row, link_s) == expected


def test_who_is_cut_short_again_and_again_waits_for_longer_than_who_finds_no_broker():
    assert [cap_after(row) for row in (0, CUT_SHORT - 1, CUT_SHORT)] == [CAP_S, CAP_S, CUT_SHORT_CAP_S]
    assert backoff_s(12, random.Random(1), cap_s=cap_after(CUT_SHORT)) > CAP_S


def test_the_same_chance_gives_the_same_waits():
    assert [backoff_s(n, random.Random(7)) for n in range(5)] == [backoff_s(n, random.Random(7)) for n in range(5)]


def test_two_devices_do_not_come_back_in_step():
    assert backoff_s(5, random.Random(1)) != backoff_s(5, random.Random(2))
