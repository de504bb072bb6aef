"""Properties of the small numeric decisions: thresholds, quantisation, bins, ranges."""

from bisect import bisect_right
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from exporter.bundles.references import bins_of, edges_of
from exporter.programs.float32 import not_above
from exporter.programs.quantisation import quantisation_of, quantise_weights
from exporter.repository.serving import parse_range

FLOATS32 = st.floats(-(2.0**99), 2.0**99, width=32)
MODERATE = st.floats(-1e6, 1e6, width=32)


@given(threshold=st.floats(-(2.0**99), 2.0**99), value=FLOATS32)
def test_a_threshold_rounded_down_sends_every_float32_the_same_way(threshold, value):
    rounded = not_above(np.array([threshold]))[0]
    assert (value <= rounded) == (value <= threshold)
    assert rounded == np.float32(rounded)


@given(threshold=FLOATS32, steps=st.sampled_from([-1, 0, 1]))
def test_the_float32_numbers_next_to_a_threshold_go_the_same_way_too(threshold, steps):
    between = threshold + abs(threshold) * 1e-9
    value = np.nextafter(np.float32(threshold), np.float32(steps * np.inf)) if steps else np.float32(threshold)
    assert (float(value) <= not_above(np.array([between]))[0]) == (float(value) <= between)


@given(arrays.arrays(np.float32, st.integers(1, 50), elements=MODERATE))
def test_a_quantisation_covers_its_values_and_holds_zero_exactly(values):
    found = quantisation_of(values)
    scale, zero = found.scales[0], found.zero_point
    assert -128 <= zero <= 127
    stored = np.clip(np.round(values.astype(np.float64) / scale) + zero, -128, 127)
    assert np.max(np.abs((stored - zero) * scale - values)) <= scale * 1.01


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=MODERATE))
def test_weights_are_off_by_half_a_step_at_most(weights):
    stored, found = quantise_weights(weights)
    scales = np.array(found.scales)[:, np.newaxis]
    assert (scales > 0).all()
    assert np.max(np.abs(stored * scales - weights) / scales) <= 0.5001


@given(arrays.arrays(np.float32, st.integers(1, 200), elements=MODERATE))
def test_edges_ascend_and_every_value_has_one_bin(values):
    column = values.astype(np.float64)
    edges = edges_of(column)
    assert all(a < b for a, b in pairwise(edges))
    assert bins_of(column, edges).tolist() == [bisect_right(edges, x) for x in column.tolist()]


@given(arrays.arrays(np.float32, st.integers(1, 200), elements=MODERATE))
def test_no_edge_lies_on_a_value(values):
    column = values.astype(np.float64)
    assert not set(edges_of(column)) & set(column.tolist())


@given(st.text(max_size=30) | st.from_regex(r"bytes=\d{0,20}-\d{0,20}", fullmatch=True), st.integers(0, 10**6))
def test_a_range_is_inside_the_file_or_refused(header, size_bytes):
    try:
        found = parse_range(header, size_bytes)
    except ValueError:
        return
    assert found is None or 0 <= found[0] < found[1] <= size_bytes
