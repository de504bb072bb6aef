import numpy as np
import pytest

from edge_agent.bundle import Feature
from exporter.bundles.references import bins_of, edges_of, output_reference, references_of
from exporter.errors import ModelError
from exporter.models.model import Evidence


def evidence(rows, predictions=None, blocks=None):
    rows = np.asarray(rows, dtype=np.float32)
    n = len(rows)
    predictions = np.zeros((n, 1)) if predictions is None else np.asarray(predictions, dtype=np.float64)
    return Evidence(rows, np.zeros(n), predictions, np.asarray(blocks or [0] * n))


def test_a_continuous_feature_gets_ten_bins_of_equal_size():
    edges = edges_of(np.random.default_rng(0).normal(size=1000))
    assert len(edges) == 9
    assert np.ptp(np.bincount(bins_of(np.random.default_rng(0).normal(size=1000), edges))) <= 2


def test_a_value_that_fills_a_bin_gets_one_to_itself():
    values = np.concatenate([np.zeros(500), np.linspace(1, 2, 500)])
    edges = edges_of(values)
    assert np.bincount(bins_of(values, edges))[0] == 500
    assert bins_of(np.array([0.001]), edges) == 0
    assert edges[0] == 0.5


def test_few_values_get_a_bin_each_with_edges_between_them():
    assert edges_of(np.array([1.0, 1, 2, 2, 5, 5])) == (1.5, 3.5)


def test_a_constant_feature_tells_below_and_above_from_the_value():
    edges = edges_of(np.full(50, np.float64(np.float32(0.1))))
    assert bins_of(np.array([0.0, 0.1, np.float32(0.1), 0.2]), edges).tolist() == [0, 1, 1, 2]


def test_a_feature_without_any_value_has_one_bin_and_all_missing():
    (reference,) = references_of(evidence([[np.nan]] * 3), (Feature("x", on_missing="flag"),))
    assert (reference.edges, reference.blocks, reference.missing) == ((), ((0,),), 3)


def test_counts_are_by_block_and_leave_out_missing_values():
    (reference,) = references_of(evidence([[1], [2], [np.nan], [2]], blocks=[0, 0, 1, 1]), (Feature("x"),))
    assert reference.blocks == ((1, 1), (0, 1))
    assert reference.missing == 1


def test_categories_are_counted_by_index():
    feature = Feature("x", "category", categories=("a", "b", "c"))
    (reference,) = references_of(evidence([[0], [2], [2]]), (feature,))
    assert (reference.edges, reference.blocks) == ((0.5, 1.5), ((1, 0, 2),))


def test_predicted_labels_are_counted_by_block():
    predictions = [[0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.7, 0]]
    assert output_reference(evidence([[0]] * 3, predictions, [0, 0, 1]), 3) == ((), ((1, 1, 0), (0, 1, 0)))


def test_predicted_values_have_edges_of_their_own():
    edges, blocks = output_reference(evidence([[0]] * 100, np.arange(100.0)[:, np.newaxis]), 0)
    assert len(edges) == 9
    assert blocks == ((10,) * 10,)


def test_evidence_of_different_lengths_is_refused():
    with pytest.raises(ModelError, match=r"\[3, 4\]"):
        Evidence(np.zeros((3, 1), np.float32), np.zeros(3), np.zeros((4, 1)), np.zeros(3, np.int64))
