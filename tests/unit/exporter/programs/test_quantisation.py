import numpy as np
import pytest

from exporter.programs.quantisation import quantisation_of, quantise_columns, quantise_weights, sizes_of

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("values", [[-1.0, 3.0], [2.0, 3.0], [-3.0, -2.0], [0.0, 0.0], [], [np.nan, 1.0, np.inf]])
def test_a_range_holds_all_its_numbers_and_zero_exactly(values):
    scale = quantisation_of(np.array(values, np.float32))
    finite = np.array([*[v for v in values if np.isfinite(v)], 0.0])
    stored = np.round(finite / scale.scales[0]) + scale.zero_point
    assert stored.min() >= -129
    assert stored.max() <= 128
    assert -128 <= scale.zero_point <= 127
    assert stored[-1] == scale.zero_point


def test_weights_are_rounded_by_half_a_step_of_their_output_at_most():
    weights = RNG.normal(size=(5, 40)) * np.array([[1], [100], [1e-3], [0], [7]])
    stored, scales = quantise_weights(weights)
    steps = np.array(scales.scales)[:, np.newaxis]
    assert np.all(np.abs(stored * steps - weights) <= steps * 0.5001)
    assert stored[3].tolist() == [0] * 40


def test_columns_on_a_grid_are_kept_exactly():
    vectors = RNG.integers(0, 17, size=(100, 3)) * np.array([1.0, 0.25, 3.0]) - np.array([5.0, 0.0, 1.0])
    stored, zeros, scales = quantise_columns(vectors)
    np.testing.assert_allclose(stored * scales + zeros, vectors, atol=1e-9)


def test_other_columns_are_rounded_by_half_a_step_of_their_range_at_most():
    vectors = RNG.normal(size=(100, 3)) * np.array([1.0, 50.0, 0.0]) + 2
    stored, zeros, scales = quantise_columns(vectors)
    assert np.all(np.abs(stored * scales + zeros - vectors) <= np.ptp(vectors, axis=0) / 509)


def test_columns_of_one_size_are_left_alone_and_others_brought_to_it():
    even = np.array([[1.0, -1.5], [0.9, 0.2]], np.float32)
    assert sizes_of(even).tolist() == [1.0, 1.0]
    uneven = np.array([[1.0, -1500, 0], [np.nan, 2, 0]], np.float32)
    assert sizes_of(uneven).tolist() == [1.0, 1500.0, 1.0]
