import numpy as np

from edge_agent.bundle import Feature
from tests.unit.trainer.experiment.test_leakage import table_of
from trainer.experiment.data_analysis import TIME_BLOCKS, analyse_data

FEATURES = (
    Feature(name="f0", unit="°C"),
    Feature(name="f1", on_missing="flag"),
    Feature(name="f2", dtype="category", categories=("red", "blue")),
)


def analysed(n=1200, *, shift=0.0, labels=("no", "yes")):
    rng = np.random.default_rng(5)
    rows = np.column_stack([rng.normal(size=n), rng.normal(size=n), rng.integers(0, 2, n)])
    rows[n // 2 :, 0] += shift
    rows[: n // 10, 1] = np.nan
    truth = (rows[:, 0] > 0) if labels else rows[:, 0] * 2
    return analyse_data(table_of(rows, truth, labels), FEATURES, "goal")


def test_a_summary_tells_range_gaps_and_counts_of_each_input():
    data = analysed()
    first, second, third = data.features
    assert first.minimum < first.lower_quartile < first.median < first.upper_quartile < first.maximum
    assert (first.missing, second.missing, third.missing) == (0, 120, 0)
    assert second.missing_by_block == (0.6, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert sum(third.histogram) == 1200
    assert third.categories == ("red", "blue")
    assert data.block_rows == (200,) * TIME_BLOCKS


def test_an_input_that_moves_with_time_drifts_and_those_that_do_not_stay():
    drifting = {item.name for item in analysed(shift=2.0).drift if item.drifts}
    assert "f0" in drifting
    assert "f2" not in drifting
    # Its gaps all lie in the first block.
    assert {item.name for item in analysed().drift if item.drifts} == {"f1"}


def test_a_target_that_follows_an_input_correlates_with_it_and_three_labels_have_no_order():
    data = analysed(labels=())
    assert data.names == ("f0", "f1", "f2", "goal")
    assert data.correlations[-1][0] > 0.99
    rows = np.arange(600, dtype=np.float64).reshape(-1, 1)
    three = analyse_data(table_of(rows, np.arange(600) % 3, ("a", "b", "c")), FEATURES[:1], "goal")
    assert np.isnan(three.correlations[0][1])


def test_rows_that_repeat_an_earlier_one_are_counted_gaps_included():
    rows = np.array([[1.0], [1.0], [np.nan], [np.nan], [2.0], [1.0]])
    truth = np.array([0, 0, 1, 1, 1, 1])
    assert analyse_data(table_of(rows, truth, ("no", "yes")), FEATURES[1:2], "goal").doubles == 2


def test_a_value_far_from_all_others_is_told_in_interquartile_ranges():
    rows = np.concatenate([np.linspace(0, 1, 599), [100.0]]).reshape(-1, 1)
    data = analyse_data(table_of(rows, np.arange(600) % 2, ("no", "yes")), FEATURES[:1], "goal")
    assert 150 < data.features[0].farthest < 250
    assert max(data.features[0].histogram) < 60, "and it does not leave all others in one bin"


def test_three_categories_have_no_order_either_and_two_have():
    codes = np.arange(600) % 3
    rows = np.column_stack([codes * 2.0, codes, codes == 2])
    features = (
        Feature(name="f0"),
        Feature(name="f1", dtype="category", categories=("a", "b", "c")),
        Feature(name="f2", dtype="category", categories=("no", "yes")),
    )
    data = analyse_data(table_of(rows, codes == 2, ("good", "bad")), features, "goal")
    known = ~np.isnan(np.array(data.correlations))
    assert known.tolist() == [
        [True, False, True, True],
        [False, True, False, False],
        [True, False, True, True],
        [True, False, True, True],
    ]
    assert {(pair.first, pair.second) for pair in data.notable_pairs} == {("f2", "f0")}
