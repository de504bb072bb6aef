"""Labels that are known late: no model learns from what nobody knew then, and the last known label is a baseline."""

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np
import pytest

from tests.unit.trainer.pipeline.lessons import make_project, make_table
from trainer.errors import DataError
from trainer.features.table import RowTimes
from trainer.pipeline.baselines import (
    NO_PERSISTENCE,
    constant_answers,
    judge_persistence,
    last_known,
    persistent_answers,
)
from trainer.pipeline.evaluating import evaluate_model
from trainer.pipeline.judging import judge_candidate
from trainer.pipeline.lesson import lesson_of
from trainer.pipeline.preparing import load_splits, prepare_splits
from trainer.pipeline.training import train_model

if TYPE_CHECKING:
    from trainer.pipeline.exporting import Exported

HOUR = 3600.0


def timed(n_rows, *, delay_s=0.0, n_fleet=0, fleet_delay_s=0.0, truth=None, entity=None):
    """A table with a row each hour, whose labels are known so much later."""
    rng = np.random.default_rng(5)
    labels = (np.arange(n_rows) // 7) % 2 if truth is None else truth
    table = make_table(rng.normal(size=(n_rows, 2)), labels, n_fleet=n_fleet, entity=entity)
    at = np.arange(n_rows) * HOUR
    known = at + np.where(table.is_fleet, fleet_delay_s, delay_s)
    series = np.where(table.is_fleet, 1000, np.maximum(table.entity, 0))
    return replace(table, times=RowTimes(at, known, series))


def prepared(table, folder, *, delay_s=0.0, **training):
    project = make_project(training={"candidates": ["logistic"], "trials": 1, "blocks": 2, **training})
    kept = np.ones(len(table.truth), dtype=np.bool_)
    return prepare_splits(table, kept, project.training, folder, label_delay_s=delay_s), project


# --- what may train ---------------------------------------------------------------------------------------------------


def test_a_row_whose_label_was_not_known_when_the_judged_rows_began_does_not_train(tmp_path):
    outcome, _ = prepared(timed(200, delay_s=5 * HOUR), tmp_path, delay_s=5 * HOUR)
    splits = outcome.value
    assert list(np.flatnonzero(splits.is_holdout)) == list(range(160, 200))
    # Of row 155 the label is known as row 160 is there.
    assert list(np.flatnonzero(splits.fitted)) == list(range(156))
    assert ("labels not known by then", "4 rows do not train the model that is judged") in outcome.facts
    first, second = (splits.block_of == block for block in (0, 1))
    # Before the second block as before the rows that judge; behind the first one what its labels reach into.
    assert list(np.flatnonzero(splits.trains_for(second))) == list(range(76))
    assert list(np.flatnonzero(splits.trains_for(first))) == list(range(84, 160))
    loaded = load_splits(tmp_path)
    np.testing.assert_array_equal(loaded.fitted, splits.fitted)


def test_labels_that_are_known_at_once_change_nothing(tmp_path):
    splits = prepared(timed(200), tmp_path)[0].value
    assert splits.late is None
    assert (splits.fitted == ~splits.is_holdout).all()
    assert load_splits(tmp_path).late is None


def test_labels_of_the_fleet_that_came_when_they_were_asked_for_are_not_late(tmp_path):
    splits = prepared(timed(200, n_fleet=100, fleet_delay_s=50 * HOUR), tmp_path)[0].value
    assert splits.fleet_judges
    assert splits.late is None
    table = timed(200, n_fleet=100, fleet_delay_s=50 * HOUR, delay_s=3 * HOUR)
    splits = prepared(table, tmp_path, delay_s=3 * HOUR)[0].value
    second = splits.block_of == 1
    assert list(np.flatnonzero(splits.trains_for(second))) == list(range(148))
    assert (splits.fitted == ~splits.is_holdout).all(), "the rows that judge are answered by others"


def test_blocks_of_entities_and_of_labels_are_no_blocks_of_time(tmp_path):
    table = timed(200, delay_s=5 * HOUR, entity=np.arange(200) % 8)
    for split in ("entity", "stratified"):
        splits = prepared(table, tmp_path, delay_s=5 * HOUR, split=split)[0].value
        for block in splits.search_blocks:
            inside = splits.block_of == block
            assert (splits.trains_for(inside) == ~inside).all()


def test_a_delay_that_leaves_nothing_to_learn_from_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"only 0 rows train a model.*target\.label_delay_s"):
        prepared(timed(200, delay_s=300 * HOUR), tmp_path, delay_s=300 * HOUR)


def test_the_model_is_fitted_without_the_rows_whose_labels_were_not_known(tmp_path, monkeypatch):
    table = timed(200, delay_s=5 * HOUR)
    outcome, project = prepared(table, tmp_path, delay_s=5 * HOUR)
    lesson = lesson_of(project, table, outcome.value)
    fitted = []
    fit = type(lesson).fit

    def noted(self, family, parameters, weight, chosen, class_weight="none"):
        fitted.append(np.flatnonzero(chosen).tolist())
        return fit(self, family, parameters, weight, chosen, class_weight)

    monkeypatch.setattr(type(lesson), "fit", noted)
    train_model(lesson, tmp_path)
    assert fitted == [list(range(84, 160)), list(range(76)), list(range(156))]


# --- the last known label ---------------------------------------------------------------------------------------------


def naive(truth, times, asked):
    """For each asked row look at all others."""
    answers = []
    for row in np.flatnonzero(asked):
        known = [
            other
            for other in range(len(truth))
            if times.series[other] == times.series[row] and times.known[other] < times.at[row]
        ]
        latest = max(known, key=lambda other: (times.at[other], times.known[other], other), default=None)
        answers.append(np.nan if latest is None else truth[latest])
    return np.array(answers)


def test_the_last_known_label_is_what_a_naive_search_finds():
    rng = np.random.default_rng(6)
    for _ in range(200):
        n = int(rng.integers(1, 40))
        at = np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 20, size=n).astype(float))
        known = at + rng.integers(0, 10, size=n).astype(float)
        times = RowTimes(at, known, rng.integers(0, 3, size=n))
        truth, asked = rng.integers(0, 5, size=n).astype(float), rng.random(n) < 0.7
        np.testing.assert_array_equal(last_known(truth, times, asked), naive(truth, times, asked))


def test_a_row_does_not_know_its_own_label_and_none_of_its_moment():
    times = RowTimes(np.array([0.0, 1.0, 1.0]), np.array([0.0, 1.0, 1.0]), np.zeros(3, dtype=np.int64))
    found = last_known(np.array([5.0, 6.0, 7.0]), times, np.ones(3, dtype=np.bool_))
    np.testing.assert_array_equal(found, [np.nan, 5.0, 5.0])


def test_a_known_label_is_an_answer_of_every_task_and_a_constant_stands_where_there_is_none():
    values = np.array([1.0, np.nan])
    constant = constant_answers("accuracy", np.array([0.0, 0.0]), 2)
    assert persistent_answers(values, constant, is_detector=False).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert persistent_answers(values, np.full((2, 1), 9.0), is_detector=False).tolist() == [[1.0], [9.0]]
    assert persistent_answers(values, np.full((2, 1), 1.0), is_detector=True).tolist() == [[-1.0], [1.0]]


def test_the_evaluation_says_how_good_the_last_known_label_is(tmp_path):
    """A state lasts seven rows: the label of the row before is wrong once in seven, that of eight before six times."""
    for delay_s, right in ((0.0, 6 / 7), (7 * HOUR, 1 / 7)):
        table = timed(210, delay_s=delay_s)
        folder = tmp_path / f"{delay_s:g}"
        folder.mkdir()
        outcome, project = prepared(table, folder, delay_s=delay_s)
        lesson = lesson_of(project, table, outcome.value)
        figures = evaluate_model(lesson, train_model(lesson, folder).value, None, folder).value.figures
        assert figures.persistence_rows == figures.judged_rows == 42
        assert figures.persistence_quality == pytest.approx(right)


def test_a_gain_over_the_last_known_label_is_tested_on_the_same_rows():
    """Of 200 rows the last label is right at 100, one model at 104, another at 150."""
    rng = np.random.default_rng(3)
    truth = np.zeros(200)
    values = np.where(np.arange(200) % 2 == 0, 0.0, 1.0)
    others = np.eye(2)[values.astype(int)]
    found = {}
    for right in (104, 150):
        is_right = np.zeros(200, dtype=np.bool_)
        is_right[rng.permutation(200)[:right]] = True
        answers = np.eye(2)[np.where(is_right, 0, 1)]
        found[right] = judge_persistence("accuracy", truth, values, answers, others, np.random.default_rng(0))
    assert [each.quality for each in found.values()] == [0.5, 0.5]
    assert found[104].chance > 0.1
    assert found[150].chance < 0.01
    unknown = judge_persistence("accuracy", truth, np.full(200, np.nan), others, others, np.random.default_rng(0))
    assert unknown == NO_PERSISTENCE


@pytest.mark.parametrize(("shift", "is_refused"), [(0.0, True), (3.0, False)])
def test_a_gain_over_the_last_known_label_that_is_noise_is_refused_by_name(tmp_path, shift, is_refused):
    """Features that say nothing of labels that nothing tells of, and features that say all."""
    rng = np.random.default_rng(11)
    labels = rng.integers(0, 2, 400)
    table = make_table(rng.normal(size=(400, 2)) + shift * labels[:, None], labels)
    at = (np.arange(400) * HOUR).astype(np.float64)
    table = replace(table, times=RowTimes(at, at, np.zeros(400, dtype=np.int64)))
    outcome, project = prepared(table, tmp_path)
    lesson = lesson_of(project, table, outcome.value)
    evaluation = evaluate_model(lesson, train_model(lesson, tmp_path).value, None, tmp_path).value
    said = msgspec.structs.replace(project, target=msgspec.structs.replace(project.target, label_delay_s=0.0))
    nothing_exported = cast("Exported", SimpleNamespace(report=SimpleNamespace(variants=())))
    decision = judge_candidate(said, evaluation, nothing_exported, tmp_path).value
    checks = {check.name: check for check in decision.checks}
    assert checks["persistence chance"].passed is not is_refused
    assert any(text.startswith("persistence chance: ") for text in decision.refusals) is is_refused
    assert decision.evidence.persistence_chance == evaluation.figures.persistence_chance


def test_rows_without_a_time_have_no_last_known_label(tmp_path):
    table = make_table(np.random.default_rng(7).normal(size=(200, 2)), np.arange(200) % 2)
    outcome, project = prepared(table, tmp_path)
    lesson = lesson_of(project, table, outcome.value)
    figures = evaluate_model(lesson, train_model(lesson, tmp_path).value, None, tmp_path).value.figures
    assert figures.persistence_rows == 0
