import pytest

from trainer.demo.outcome import ScoredRow, compare, outcome_of_device, quality_of, rolling_quality, row_at

TRUTH = dict.fromkeys(range(10), "1")


def scored(*versions: int, right: frozenset[int] = frozenset()) -> list[ScoredRow]:
    return [ScoredRow(row, 100.0 + row, version, "1" if row in right else "0") for row, version in enumerate(versions)]


def test_quality_of_labels_is_the_share_of_right_answers():
    assert quality_of(["a", "b", "a", "a"], ["a", "a", "a", "a"], regression=False) == 0.75


def test_quality_of_values_is_r2():
    assert quality_of([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], regression=True) == 1.0
    assert quality_of([2.0, 2.0, 2.0], [1.0, 2.0, 3.0], regression=True) == 0.0


def test_there_is_no_quality_without_rows_or_without_variance():
    assert quality_of([], [], regression=False) is None
    assert quality_of([1.0, 2.0], [5.0, 5.0], regression=True) is None


def test_a_device_is_judged_before_and_from_its_first_switch():
    rows = scored(1, 1, 2, 2, right=frozenset({0, 2, 3}))
    outcome = outcome_of_device("d", rows, TRUTH, regression=False)
    assert (outcome.version, outcome.switched_at_row) == (2, 2)
    assert (outcome.quality_before, outcome.quality_after) == (0.5, 1.0)


def test_a_device_that_never_switched_has_no_quality_after():
    outcome = outcome_of_device("d", scored(1, 1), TRUTH, regression=False)
    assert outcome.quality_after is None
    assert outcome.switched_at_row is None


def test_a_device_that_scored_nothing_runs_version_zero():
    assert outcome_of_device("d", [], TRUTH, regression=False).version == 0


def test_static_and_loop_are_compared_on_the_same_rows_from_the_first_switch_in_time():
    rows = scored(1, 1, 2, 1, right=frozenset({2}))
    result = compare(rows, dict.fromkeys(range(4), "0"), TRUTH, regression=False)
    # Row 3 was still scored by the old version, on another device: it counts all the same.
    assert (result.first_switch_row, result.rows) == (2, 2)
    assert (result.static_quality, result.loop_quality) == (0.0, 0.5)


def test_rows_that_the_first_bundle_refuses_are_left_out_on_both_sides():
    result = compare(scored(1, 2, 2, right=frozenset({1, 2})), {1: "0"}, TRUTH, regression=False)
    assert (result.rows, result.loop_quality) == (1, 1.0)


def test_rows_of_unknown_truth_judge_nothing():
    known = {0: "1", 2: "1"}
    rows = scored(1, 1, 2, 2, right=frozenset({0, 2}))
    assert outcome_of_device("d", rows, known, regression=False).quality_before == 1.0
    assert compare(rows, dict.fromkeys(range(4), "0"), known, regression=False).rows == 1
    assert rolling_quality({0: "1", 1: "1", 2: "0"}, known, span=2, regression=False) == ([2], [0.5])


def test_without_a_switch_there_is_nothing_to_compare():
    result = compare(scored(1, 1), {}, TRUTH, regression=False)
    assert result.static_quality is None
    assert result.loop_quality is None


def test_rolling_quality_stands_at_the_last_row_of_its_span():
    rows, quality = rolling_quality({5: "1", 7: "0", 9: "1"}, TRUTH, span=2, regression=False)
    assert rows == [7, 9]
    assert quality == [0.5, 0.5]


@pytest.mark.parametrize(("at", "row"), [(0.0, 0), (101.5, 2), (999.0, 2)])
def test_a_moment_belongs_to_the_row_that_was_being_scored(at, row):
    assert row_at(scored(1, 1, 1), at) == row


def test_no_rows_have_no_moment():
    assert row_at([], 1.0) is None
