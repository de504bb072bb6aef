import msgspec
import numpy as np
import pytest

from tests.unit.trainer.pipeline.lessons import NAMES, draw_table, make_project, make_table
from trainer.errors import DataError
from trainer.pipeline.anomalies import Anomaly
from trainer.pipeline.validating import load_validation, validate_rows


def project_with(**feature):
    """The first feature has these rules."""
    return make_project(features=[{"name": NAMES[0], **feature}, {"name": NAMES[1]}])


def table_with(first, *, n_fleet=0):
    """The first feature has these values; the second and the truth are usual."""
    n_rows = len(first)
    rows = np.column_stack([first, np.arange(n_rows)])
    return make_table(rows, np.arange(n_rows) % 2, n_fleet=n_fleet)


def written(folder):
    return msgspec.json.decode((folder / "anomalies.json").read_bytes(), type=tuple[Anomaly, ...])


def test_usual_rows_are_kept_without_a_word(tmp_path):
    outcome = validate_rows(make_project(), draw_table(50), tmp_path)
    assert outcome.value.is_kept.all()
    assert outcome.value.anomalies == ()
    assert outcome.metrics == {"anomalies": 0.0, "rows_left_out": 0.0}


@pytest.mark.parametrize(
    ("feature", "values", "check", "words"),
    [
        ({}, [0.0, np.nan, 2.0, 3.0], "not_nullable", "1 rows (25.0%) break not_nullable, first row 1"),
        (
            {"dtype": "category", "categories": ["a", "b"]},
            [0.0, 1.0, 2.0, 0.0],
            "category",
            "1 rows (25.0%) break category, first row 2 with 2.0",
        ),
        ({"valid_min": 0.0}, [-1.0, -2.0, -3.0, 4.0], "valid_min", "3 rows (75.0%) break valid_min, first row 0"),
        ({"valid_max": 2.0}, [1.0, 4.0, 5.0, 6.0], "valid_max", "first row 1 with 4.0; is the unit right?"),
    ],
)
def test_schema_skew_ends_the_run_and_names_feature_check_and_row(feature, values, check, words, tmp_path):
    with pytest.raises(DataError, match="do not follow the schema: 'pressure'") as refusal:
        validate_rows(project_with(**feature), table_with(values), tmp_path)
    assert words in str(refusal.value)
    assert str(tmp_path / "anomalies.json") in str(refusal.value)
    assert [(a.kind, a.feature, a.check) for a in written(tmp_path)] == [("schema", "pressure", check)]
    assert not (tmp_path / "kept.npz").exists()


def test_all_that_is_wrong_is_written_and_the_first_is_told(tmp_path):
    table = make_table([[np.nan, np.nan], [1.0, 2.0], [3.0, np.nan], [4.0, 5.0]], [0, 1, 0, 1])
    with pytest.raises(DataError, match=r"\(all 2: "):
        validate_rows(make_project(), table, tmp_path)
    assert [(a.feature, a.rows, a.first_row) for a in written(tmp_path)] == [("pressure", 1, 0), ("vibration", 2, 0)]


def test_missing_values_pass_where_they_are_flagged(tmp_path):
    project = project_with(on_missing="flag")
    outcome = validate_rows(project, table_with([0.0, np.nan, 2.0, np.nan]), tmp_path)
    assert outcome.value.is_kept.all()
    assert outcome.value.statistics[0].missing == 2


def test_half_of_the_rows_out_of_range_are_bad_readings_and_more_are_a_wrong_unit(tmp_path):
    project = project_with(valid_max=10.0)
    outcome = validate_rows(project, table_with([1.0, 2.0, 11.0, 12.0]), tmp_path)
    (anomaly,) = outcome.value.anomalies
    assert (anomaly.kind, anomaly.check, anomaly.rows, anomaly.first_row) == ("value", "valid_max", 2, 2)
    with pytest.raises(DataError, match="is the unit right"):
        validate_rows(project, table_with([1.0, 11.0, 12.0, 13.0]), tmp_path)


@pytest.mark.parametrize(
    ("rule", "kept"),
    [("flag", [True] * 6), ("refuse", [True, True, False, True, False, True])],
)
def test_rows_that_a_device_would_refuse_are_left_out_of_training(rule, kept, tmp_path):
    project = project_with(valid_min=0.0, valid_max=8.0, on_out_of_range=rule, on_missing="flag")
    values = [0.0, 8.0, -0.5, 4.0, 8.5, np.nan]
    outcome = validate_rows(project, table_with(values), tmp_path)
    assert list(outcome.value.is_kept) == kept
    assert outcome.metrics["rows_left_out"] == kept.count(False)
    assert {anomaly.check for anomaly in outcome.value.anomalies} == {"valid_min", "valid_max"}


def test_one_limit_alone_leaves_out_on_its_side_only(tmp_path):
    low = project_with(valid_min=0.0, on_out_of_range="refuse")
    assert list(validate_rows(low, table_with([-1.0, 1e30, 3.0]), tmp_path).value.is_kept) == [False, True, True]
    high = project_with(valid_max=4.0, on_out_of_range="refuse")
    assert list(validate_rows(high, table_with([-1e30, 5.0, 3.0]), tmp_path).value.is_kept) == [True, False, True]


def test_a_label_that_never_occurs_and_a_constant_truth_end_the_run(tmp_path):
    rows = np.arange(8.0).reshape(4, 2)
    with pytest.raises(DataError, match="label 'lost' occurs in no row"):
        validate_rows(make_project(), make_table(rows, [0, 1, 0, 1], labels=("good", "scrap", "lost")), tmp_path)
    with pytest.raises(DataError, match="all rows have the same truth"):
        validate_rows(make_project("regression"), make_table(rows, [2.5] * 4, labels=()), tmp_path)


def test_a_feature_that_never_varies_is_told(tmp_path):
    outcome = validate_rows(make_project(), table_with([3.0] * 6), tmp_path)
    assert [(a.kind, a.feature, a.check) for a in outcome.value.anomalies] == [("value", "pressure", "constant")]
    assert ("anomaly", "pressure: the same value in every row") in outcome.facts


@pytest.mark.parametrize(("n_unseen", "is_told"), [(2, False), (3, True)])
def test_more_than_a_fifth_of_the_fleets_rows_outside_of_what_was_seen_is_told(n_unseen, is_told, tmp_path):
    own, fleet = np.linspace(0, 10, 20), [5.0] * (10 - n_unseen) + [10.5, -0.5, 11.0][:n_unseen]
    table = table_with([*own, *fleet], n_fleet=10)
    table.rows[:, 1] = np.arange(30) % 20
    outcome = validate_rows(make_project(), table, tmp_path)
    told = [(a.feature, a.check, a.rows, a.first_row) for a in outcome.value.anomalies]
    assert told == ([("pressure", "unseen", n_unseen, 30 - n_unseen)] if is_told else [])
    assert outcome.value.is_kept.all()


def test_statistics_describe_the_projects_own_rows_only(tmp_path):
    values = [*np.arange(101.0), 1000.0, 1000.0]
    table = table_with(values, n_fleet=2)
    first = validate_rows(make_project(), table, tmp_path).value.statistics[0]
    assert (first.name, first.rows, first.missing, first.distinct) == ("pressure", 101, 0, 101)
    assert first.quantiles == (0.0, 1.0, 25.0, 50.0, 75.0, 99.0, 100.0)


def test_a_feature_without_any_value_has_no_quantiles(tmp_path):
    project = project_with(on_missing="flag")
    statistics = validate_rows(project, table_with([np.nan] * 4), tmp_path).value.statistics
    assert statistics[0].quantiles == ()
    assert (statistics[0].missing, statistics[0].distinct) == (4, 0)


def test_the_step_can_be_read_again(tmp_path):
    project = project_with(valid_max=8.0, on_out_of_range="refuse")
    made = validate_rows(project, table_with([1.0, 9.0, 3.0, 4.0]), tmp_path).value
    loaded = load_validation(tmp_path)
    assert list(loaded.is_kept) == list(made.is_kept)
    assert loaded.anomalies == made.anomalies
    assert loaded.statistics == made.statistics
