import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from exporter.programs.float32 import LAST_ORDINAL, at_ordinals, below, not_above, ordinals_of

float32s = st.floats(width=32, allow_nan=False)
ordinals = st.integers(-LAST_ORDINAL, LAST_ORDINAL)


def single(value) -> np.ndarray:
    return np.array([value], dtype=np.float32)


@given(ordinals, ordinals)
def test_ordinals_stand_in_the_order_of_their_numbers(first, second):
    numbers = at_ordinals(np.array([first, second]))
    assert (first < second) == (numbers[0] < numbers[1])
    assert ordinals_of(numbers).tolist() == [first, second]


@given(float32s)
def test_neighbours_differ_by_one(value):
    ordinal = int(ordinals_of(single(value))[0])
    if ordinal < LAST_ORDINAL:
        following = np.nextafter(np.float32(value), np.float32(np.inf))
        assert at_ordinals(np.array([ordinal + 1]))[0] == following


def test_both_zeros_have_one_ordinal():
    assert ordinals_of(np.array([0.0, -0.0], dtype=np.float32)).tolist() == [0, 0]
    assert ordinals_of(single(np.inf)).tolist() == [LAST_ORDINAL]


@given(st.floats(allow_nan=False), float32s)
def test_a_float32_is_compared_with_a_rounded_threshold_as_with_the_threshold_itself(threshold, value):
    exact = float(np.float32(value)) <= threshold
    assert (np.float32(value) <= not_above(np.array([threshold]))[0]) == exact


@given(float32s, st.integers(-3, 3))
def test_neighbours_of_a_threshold_decide_exactly(threshold, steps):
    ordinal = int(ordinals_of(single(threshold))[0]) + steps
    value = at_ordinals(np.array([max(-LAST_ORDINAL, min(LAST_ORDINAL, ordinal))]))[0]
    middle = float(np.float32(threshold)) + 1e-12
    assert (value <= not_above(np.array([middle]))[0]) == (float(value) <= middle)


@given(float32s, float32s)
def test_less_than_is_not_above_the_number_before(threshold, value):
    if threshold == -np.inf:
        return  # nothing is less; and nothing stands before
    assert (np.float32(value) <= below(single(threshold))[0]) == (np.float32(value) < np.float32(threshold))


def test_numbers_beyond_float32_stay_thresholds():
    greatest = np.finfo(np.float32).max
    assert not_above(np.array([1e300, -1e300, np.inf])).tolist() == [greatest, -np.inf, np.inf]
