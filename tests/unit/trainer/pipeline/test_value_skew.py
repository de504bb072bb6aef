import numpy as np

from edge_agent.bundle import Feature
from tests.unit.trainer.pipeline.lessons import make_project, make_table
from trainer.pipeline.anomalies import (
    FeatureStatistics,
    load_anomalies,
    load_anomalous_rows,
    load_statistics,
    statistics_of,
)
from trainer.pipeline.validating import validate_rows
from trainer.pipeline.value_skew import skew_anomalies

NUMBERS = (Feature(name="pressure", on_missing="flag"), Feature(name="vibration"))
COLOURS = (Feature(name="pressure", dtype="category", categories=("red", "blue", "green")), Feature(name="vibration"))


def table_with(first, n_fleet=0):
    n = len(first)
    rng = np.random.default_rng(7)
    return make_table(np.column_stack([first, rng.normal(size=n)]), np.arange(n) % 2, n_fleet=n_fleet)


def found(first, *, features=NUMBERS, n_fleet=0, learnt=()):
    table = table_with(np.asarray(first, dtype=np.float64), n_fleet)
    own = [statistics_of(feature, table.rows[~table.is_fleet, place]) for place, feature in enumerate(features)]
    return skew_anomalies(features, table, own, learnt)


def checks(anomalies):
    return [(anomaly.feature, anomaly.check) for anomaly, _ in anomalies]


def learnt_from(first, features=NUMBERS):
    return (statistics_of(features[0], np.asarray(first, dtype=np.float32)),)


USUAL = np.random.default_rng(0).normal(size=400)


def test_rows_like_those_that_the_champion_learnt_from_are_usual():
    assert found(np.random.default_rng(1).normal(size=400), learnt=learnt_from(USUAL)) == []


def test_rows_that_moved_since_the_champion_learnt_are_named_and_told_with_the_rows_that_show_it():
    moved = np.random.default_rng(1).normal(size=400) + 1.5
    ((anomaly, rows),) = found(moved, learnt=learnt_from(USUAL))
    assert (anomaly.kind, anomaly.feature, anomaly.check) == ("value", "pressure", "distribution")
    assert "stability index" in anomaly.text
    above = float(np.quantile(USUAL, 0.9, method="inverted_cdf"))
    assert set(rows) == set(np.flatnonzero(moved.astype(np.float32) > np.float32(above)))


def test_without_a_champion_the_fleet_is_compared_with_the_project_and_the_project_with_nothing():
    fleet = np.random.default_rng(1).normal(size=200) + 1.5
    anomalies = found(np.concatenate([USUAL, fleet]), n_fleet=200)
    assert checks(anomalies) == [("pressure", "distribution")]
    assert anomalies[0][1].min() >= 400


def test_many_more_gaps_are_told_and_a_few_more_are_not():
    def with_gaps(share):
        values = np.random.default_rng(2).normal(size=400)
        values[: round(share * 400)] = np.nan
        return values

    learnt = learnt_from(with_gaps(0.02))
    assert checks(found(with_gaps(0.06), learnt=learnt)) == []
    anomalies = found(with_gaps(0.12), learnt=learnt)
    assert ("pressure", "missing") in checks(anomalies)
    assert list(anomalies[0][1]) == list(range(48))


def test_a_category_that_was_never_seen_is_told_by_name_whatever_its_code_was():
    # Then "green" was the first of two, now it is the last of three.
    learnt = learnt_from([0.0, 1.0] * 200, (Feature(name="pressure", dtype="category", categories=("green", "red")),))
    usual = [0.0, 2.0] * 200
    assert found(usual, features=COLOURS, learnt=learnt) == []
    ((anomaly, rows),) = found([*usual[:-1], 1.0], features=COLOURS, learnt=learnt)
    assert anomaly.check == "new category"
    assert "'blue'" in anomaly.text
    assert list(rows) == [399]


def test_statistics_of_before_there_were_counts_are_compared_with_nothing():
    old = FeatureStatistics("pressure", 400, 0, 400, (0.0,) * 7)
    assert found(USUAL + 9, learnt=(old,)) == []


def test_validation_keeps_statistics_for_the_next_champion_and_every_row_of_an_anomaly(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    project = make_project()
    validate_rows(project, table_with(USUAL), first)
    outcome = validate_rows(project, table_with(USUAL + 3), second, usual=load_statistics(first))
    assert [anomaly.check for anomaly in outcome.value.anomalies] == ["distribution"]
    assert load_anomalies(second) == outcome.value.anomalies
    rows = load_anomalous_rows(second, 0)
    assert len(rows) == outcome.value.anomalies[0].rows > 300
    assert outcome.value.is_kept.all(), "skewed values are told, not thrown away"
