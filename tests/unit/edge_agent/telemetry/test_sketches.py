"""Sketches count, bound their error, and add up."""

import math

import pytest

from edge_agent.telemetry.sketches import (
    MAX_US,
    MIN_US,
    RELATIVE_ERROR,
    Histogram,
    LatencySketch,
    add_counts,
    add_named,
    bucket_of,
    value_of,
)


def sketch_of(*numbers: float) -> LatencySketch:
    sketch = LatencySketch()
    for number in numbers:
        sketch.add(number)
    return sketch


def test_quantiles_are_those_of_the_numbers_within_the_stated_error():
    numbers = [1.5**n for n in range(21)]
    sketch = sketch_of(*numbers)
    assert sketch.count == 21
    for q, expected in ((0.0, numbers[0]), (0.5, numbers[10]), (0.9, numbers[18]), (1.0, numbers[20])):
        assert sketch.quantile(q) == pytest.approx(expected, rel=RELATIVE_ERROR)
    assert RELATIVE_ERROR < 0.01


def test_an_empty_sketch_has_no_quantile():
    assert math.isnan(LatencySketch().quantile(0.5))


@pytest.mark.parametrize("number", [0.0, -5.0, 1e-9, 1e30])
def test_numbers_outside_count_as_the_nearer_limit(number: float):
    limit = MAX_US if number > 1 else MIN_US
    assert sketch_of(number).quantile(0.5) == pytest.approx(limit, rel=RELATIVE_ERROR)


def test_buckets_fit_the_wire_and_are_few():
    assert -4096 <= bucket_of(MIN_US) < bucket_of(MAX_US) <= 4096
    assert bucket_of(MAX_US) - bucket_of(MIN_US) < 2048


def test_a_bucket_s_value_lies_in_its_bucket():
    assert all(bucket_of(value_of(bucket)) == bucket for bucket in range(-340, 1390, 7))


def test_pairs_carry_a_sketch_whole():
    sketch = sketch_of(1.0, 5.0, 5.0, 900.0)
    assert LatencySketch(sketch.as_pairs()).as_pairs() == sketch.as_pairs()
    assert sketch.as_pairs() == tuple(sorted(sketch.as_pairs()))


def test_a_histogram_counts_an_edge_into_the_bin_above():
    histogram = Histogram((0.0, 1.0))
    for number in (-1.0, 0.0, 0.5, 1.0, 7.0):
        histogram.add(number)
    assert histogram.counts == [1, 2, 2]
    histogram.clear()
    assert histogram.counts == [0, 0, 0]


def test_counts_over_other_bins_do_not_add():
    assert add_counts((1, 2), (3, 4)) == (4, 6)
    with pytest.raises(ValueError, match="zip"):
        add_counts((1, 2), (3,))


def test_named_counts_add_by_name():
    assert add_named((("b", 1), ("a", 2)), (("b", 3),)) == (("a", 2), ("b", 4))
