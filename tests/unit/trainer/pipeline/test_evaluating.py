from dataclasses import replace

import numpy as np
import pytest

from tests.unit.trainer.pipeline.lessons import draw_table, make_lesson, make_project, make_table
from trainer.features.table import row_keys
from trainer.pipeline.artefacts import load_arrays
from trainer.pipeline.evaluating import KEYS_NAME, Champion, evaluate_model, load_champion, load_evaluation
from trainer.pipeline.training import Chosen, Trained

CHOSEN = Chosen("logistic", {"c": 1.0}, 1.0, 0.9, ())


class SaysItsInput:
    """A classifier whose answer is the first feature of a row: what a test writes there is what it says."""

    classes_ = np.array([0, 1])

    def predict_proba(self, rows):
        says_one = rows[:, 0] > 0.5
        return np.column_stack([~says_one, says_one]).astype(np.float64)


class SaysTheOpposite(SaysItsInput):
    def predict_proba(self, rows):
        return super().predict_proba(rows)[:, ::-1]


class Says:
    """A regressor that knows one value."""

    def __init__(self, value):
        self.value = value

    def predict(self, rows):
        return np.full(len(rows), self.value)


def numbered(first, truth, **how):
    """Rows that differ: the first feature is what `SaysItsInput` answers, the second the row's place."""
    return make_table(np.column_stack([first, np.arange(len(truth))]), truth, **how)


def trained_on(lesson, says_of_block=None, estimator=None):
    """A search whose answers for its blocks are those of the models that are given."""
    estimator = estimator or SaysItsInput()
    answers = np.full((len(lesson.rows), lesson.n_labels or 1), np.nan)
    inside = np.isin(lesson.splits.block_of, lesson.splits.search_blocks)
    if lesson.n_labels:
        answers[inside] = (says_of_block or SaysItsInput()).predict_proba(lesson.rows[inside])
    else:
        answers[inside, 0] = estimator.predict(lesson.rows[inside])
    return Trained(estimator, CHOSEN, answers)


def champion_trained_on(lesson, which, estimator=None):
    keys = row_keys(lesson.rows[which], lesson.truth[which])
    return champion_of(keys, estimator)


def champion_of(keys, estimator=None, *, honest_rows=(), honest_answers=(), answers_alike=True):
    order = np.argsort(np.asarray(honest_rows, dtype=np.uint64))
    return Champion(
        7,
        estimator or SaysItsInput(),
        answers_alike,
        keys,
        np.asarray(honest_rows, dtype=np.uint64)[order],
        np.asarray(honest_answers, dtype=np.float64).reshape(-1, 2)[order],
    )


TRUTH = np.arange(100) % 2


def test_the_held_out_rows_judge_by_the_final_models_answers(tmp_path):
    first = TRUTH.copy()
    first[80:85] = 1 - first[80:85]
    lesson = make_lesson(make_project(), numbered(first, TRUTH))
    # The out-of-fold answers are all wrong: they must not count.
    figures = evaluate_model(lesson, trained_on(lesson, SaysTheOpposite()), None, tmp_path).value.figures
    assert figures.judged_rows == 20
    assert figures.quality == 0.75
    assert figures.train_quality == 1.0
    assert figures.constant_quality == 0.5
    assert figures.majority_share == 0.5
    assert (figures.champion_version, figures.compared_rows, figures.recent_rows) == (0, 0, 0)
    assert figures.blocks == (0.0, 0.0, 0.75)


def test_the_figures_on_training_rows_are_no_part_of_the_judgement(tmp_path):
    first = np.concatenate([1 - TRUTH[:80], TRUTH[80:]])
    lesson = make_lesson(make_project(), numbered(first, TRUTH))
    figures = evaluate_model(lesson, trained_on(lesson), None, tmp_path).value.figures
    assert (figures.quality, figures.train_quality) == (1.0, 0.0)


def test_no_row_that_the_champion_was_trained_on_is_compared(tmp_path):
    lesson = make_lesson(make_project(), numbered(TRUTH, TRUTH))
    # It knows the rows that it was trained on, and is wrong on those it did not see.
    first = lesson.rows[:, 0].copy()
    lesson.rows[90:, 0] = 1 - first[90:]
    champion = champion_trained_on(lesson, np.arange(100) < 90)
    outcome = evaluate_model(lesson, trained_on(lesson, estimator=SaysTheOpposite()), champion, tmp_path)
    figures = outcome.value.figures
    assert figures.champion_version == 7
    assert (figures.judged_rows, figures.compared_rows) == (20, 10)
    assert figures.champion_quality == 0.0
    assert figures.compared_quality == 1.0
    assert figures.quality == 0.5
    assert outcome.metrics["champion"] == 0.0
    assert dict(outcome.facts)["champion"].startswith("0.0000 on 10 of them, a gain like that by chance: 0.00")


def test_a_champion_that_was_trained_on_every_judged_row_is_not_compared(tmp_path):
    lesson = make_lesson(make_project(), numbered(TRUTH, TRUTH))
    champion = champion_trained_on(lesson, np.arange(100) >= 80)
    outcome = evaluate_model(lesson, trained_on(lesson), champion, tmp_path)
    assert outcome.value.figures.compared_rows == 0
    assert "champion" not in outcome.metrics


def test_on_rows_that_it_was_fitted_on_models_of_its_kind_that_were_not_stand_for_the_champion(tmp_path):
    lesson = make_lesson(make_project(), numbered(TRUTH, TRUTH))
    keys = row_keys(lesson.rows, lesson.truth)
    # It was fitted on all rows, on which it says the truth; but the answers out of fold of rows 84 to 99 were wrong.
    wrong = SaysTheOpposite().predict_proba(lesson.rows[84:])
    champion = champion_of(keys, honest_rows=keys[84:], honest_answers=wrong)
    figures = evaluate_model(lesson, trained_on(lesson), champion, tmp_path).value.figures
    assert (figures.judged_rows, figures.compared_rows) == (20, 16)
    assert (figures.champion_quality, figures.compared_quality) == (0.0, 1.0)


def test_a_champion_of_other_features_or_labels_is_not_even_asked(tmp_path):
    lesson = make_lesson(make_project(), numbered(TRUTH, TRUTH))
    keys = row_keys(lesson.rows, lesson.truth)
    champion = champion_of(keys[:0], honest_rows=keys, honest_answers=np.ones((100, 2)), answers_alike=False)
    figures = evaluate_model(lesson, trained_on(lesson), champion, tmp_path).value.figures
    assert (figures.champion_version, figures.champion_answers_alike, figures.compared_rows) == (7, False, 0)


def test_a_champion_is_joined_from_what_its_own_evaluation_left(tmp_path):
    lesson = make_lesson(make_project(), numbered(TRUTH, TRUTH))
    evaluate_model(lesson, trained_on(lesson, SaysTheOpposite()), None, tmp_path)
    champion = load_champion(3, SaysItsInput(), tmp_path, answers_alike=True)
    answers = champion.answer(lesson.rows, row_keys(lesson.rows, lesson.truth), 2)
    assert np.mean(answers[:80].argmax(axis=1) == TRUTH[:80]) == 0.0, "out of fold"
    assert np.mean(answers[80:].argmax(axis=1) == TRUTH[80:]) == 1.0, "held out"
    strangers = np.array([[0.0, 1e6], [1.0, 1e6]], dtype=np.float32)
    assert list(champion.answer(strangers, row_keys(strangers, np.zeros(2)), 2).argmax(axis=1)) == [0, 1]


def test_the_names_of_the_rows_it_was_fitted_on_are_kept_for_the_next_run(tmp_path):
    lesson = make_lesson(make_project(), numbered(TRUTH, TRUTH))
    evaluate_model(lesson, trained_on(lesson), None, tmp_path)
    keys = load_arrays(tmp_path / KEYS_NAME)["keys"]
    names = row_keys(lesson.rows, lesson.truth)
    assert set(keys) == set(names[:80])
    again = evaluate_model(lesson, trained_on(lesson), champion_of(keys), tmp_path)
    assert again.value.figures.compared_rows == 20


def test_rows_chosen_for_being_hard_train_but_do_not_judge(tmp_path):
    hard = tuple(range(170, 200))
    truth = np.arange(200) % 2
    first = truth.copy()
    first[list(hard)] = 1 - first[list(hard)]
    lesson = make_lesson(make_project(), numbered(first, truth, n_fleet=100, chosen=hard))
    champion = champion_trained_on(lesson, np.zeros(200, dtype=bool))
    evaluation = evaluate_model(lesson, trained_on(lesson), champion, tmp_path).value
    assert list(np.flatnonzero(evaluation.judged)) == list(range(100, 170))
    figures = evaluation.figures
    assert (figures.judged_rows, figures.compared_rows, figures.recent_rows) == (70, 70, 70)
    assert (figures.quality, figures.champion_quality, figures.recent_quality) == (1.0, 1.0, 1.0)
    assert len(evaluation.evidence.rows) == 70
    assert set(load_arrays(tmp_path / KEYS_NAME)["keys"]) == set(row_keys(lesson.rows, lesson.truth))


def test_the_fleet_is_judged_out_of_fold_and_not_by_the_model_that_was_fitted_on_it(tmp_path):
    truth = np.arange(200) % 2
    lesson = make_lesson(make_project(), numbered(truth, truth, n_fleet=100))
    figures = evaluate_model(lesson, trained_on(lesson, SaysTheOpposite()), None, tmp_path).value.figures
    assert (figures.judged_rows, figures.quality, figures.train_quality) == (100, 0.0, 1.0)


def test_the_recent_rows_are_the_latest_hundred_of_the_fleet(tmp_path):
    truth = np.arange(400) % 2
    first = truth.copy()
    first[375:] = 1 - first[375:]
    truth[300:390] = 1
    first[300:375] = 1
    lesson = make_lesson(make_project(), numbered(first, truth, n_fleet=250))
    figures = evaluate_model(lesson, trained_on(lesson), None, tmp_path).value.figures
    assert (figures.judged_rows, figures.recent_rows) == (250, 100)
    recent = np.arange(300, 400)
    assert figures.recent_quality == np.mean(first[recent] == truth[recent])
    assert figures.recent_majority_share == np.mean(truth[recent])
    assert figures.recent_constant_quality == np.mean(truth[recent])


def test_the_constant_answer_is_the_most_frequent_label_of_the_judged_rows(tmp_path):
    truth = np.zeros(100, dtype=np.int64)
    truth[:60], truth[80:96] = 1, 2
    lesson = make_lesson(make_project(), numbered(np.zeros(100), truth, labels=("a", "b", "c")))
    answers = Trained(ThreeLabels(), CHOSEN, np.zeros((100, 3)))
    figures = evaluate_model(lesson, answers, None, tmp_path).value.figures
    assert figures.constant_quality == 0.8
    assert figures.majority_share == 0.8


class ThreeLabels:
    classes_ = np.array([0, 1, 2])

    def predict_proba(self, rows):
        return np.full((len(rows), 3), 1 / 3)


@pytest.mark.parametrize(("metric", "constant"), [("r2", 0.0), ("mae", -25.0)])
def test_the_constant_answer_of_a_regression_is_the_mean_or_for_errors_the_median(metric, constant, tmp_path):
    project = make_project("regression", target={"column": "y", "task": "regression", "metric": metric})
    truth = np.zeros(100)
    # Its mean is 25 and its median 0: the mean's absolute error would be 37.5.
    truth[80:85] = 100.0
    lesson = make_lesson(project, numbered(np.zeros(100), truth, labels=()))
    figures = evaluate_model(lesson, trained_on(lesson, estimator=Says(25.0)), None, tmp_path).value.figures
    assert figures.constant_quality == pytest.approx(constant)
    assert figures.majority_share == 0.0
    assert figures.quality == pytest.approx(0.0 if metric == "r2" else -37.5)


def test_entities_judge_out_of_fold_where_the_project_splits_by_them(tmp_path):
    project = make_project(
        data={"path": ["rows.csv"], "entity": "unit"},
        training={"candidates": ["logistic"], "blocks": 2, "split": "entity"},
    )
    lesson = make_lesson(project, numbered(TRUTH, TRUTH, entity=np.repeat([0, 1], 50)))
    evaluation = evaluate_model(lesson, trained_on(lesson), None, tmp_path).value
    assert evaluation.judged.all()
    assert evaluation.figures.blocks == (1.0, 1.0)
    assert evaluation.figures.recent_rows == 0


def test_evidence_is_of_answers_that_did_not_see_the_row_and_can_be_read_again(tmp_path):
    table = draw_table(200, n_fleet=30)
    lesson = make_lesson(make_project(), table)
    made = evaluate_model(lesson, trained_on(lesson), None, tmp_path).value
    # The fleet's 30 rows always train: no answer of them is fair.
    assert len(made.evidence.rows) == 170
    assert made.evidence.blocks == (0, 1, 2)
    loaded = load_evaluation(tmp_path)
    assert loaded.figures == made.figures
    np.testing.assert_array_equal(loaded.judged, made.judged)
    for name in ("rows", "truth", "predictions", "block_of"):
        np.testing.assert_array_equal(getattr(loaded.evidence, name), getattr(made.evidence, name))


def test_the_answers_of_the_search_are_left_as_they_were(tmp_path):
    lesson = make_lesson(make_project(), draw_table(100))
    trained = trained_on(lesson)
    before = replace(trained, out_of_fold=trained.out_of_fold.copy())
    evaluate_model(lesson, trained, None, tmp_path)
    np.testing.assert_array_equal(trained.out_of_fold, before.out_of_fold)


def test_each_slice_that_the_gate_names_is_judged_by_its_rows_among_those_that_judge(tmp_path):
    # The second feature is a category here: red and blue in turn by tens, and some rows of neither.
    colour = np.arange(100) // 10 % 2 * 1.0
    colour[95:] = np.nan
    first = TRUTH.copy()
    # Five wrong answers among the ten red rows that judge, all of them scrap; and many that do not judge.
    first[81:90:2] = 0
    first[:60] = 1 - first[:60]
    project = make_project(
        features=[
            {"name": "pressure"},
            {"name": "colour", "dtype": "category", "categories": ["red", "blue", "green"], "on_missing": "flag"},
        ],
        gate={"slices": {"colour=*": 0.5, "target=scrap": 0.5}},
    )
    table = make_table(np.column_stack([first, colour]), TRUTH, names=("pressure", "colour"))
    lesson = make_lesson(project, table)
    figures = evaluate_model(lesson, trained_on(lesson), None, tmp_path).value.figures
    assert [(part.name, part.rows, part.quality) for part in figures.slices] == [
        ("colour=red", 10, 0.5),
        ("colour=blue", 5, 1.0),
        ("colour=green", 0, 0.0),
        ("target=scrap", 10, 0.5),
    ]


def test_without_slices_in_the_gate_none_is_judged(tmp_path):
    lesson = make_lesson(make_project(), numbered(TRUTH, TRUTH))
    assert evaluate_model(lesson, trained_on(lesson), None, tmp_path).value.figures.slices == ()


def test_the_quality_has_an_interval_that_is_told_with_it(tmp_path):
    truth = np.arange(1000) % 2
    first = np.where(np.arange(1000) % 5 == 0, 1 - truth, truth)
    lesson = make_lesson(make_project(), numbered(first, truth))
    outcome = evaluate_model(lesson, trained_on(lesson), None, tmp_path)
    figures = outcome.value.figures
    assert figures.quality == 0.8
    # 200 rows of which a fifth is wrong, in turn: 50 blocks of 4 resampled.
    assert 0.7 < figures.quality_low < 0.8 < figures.quality_high < 0.9
    assert outcome.metrics["test_accuracy_low"] == figures.quality_low
    assert outcome.metrics["test_accuracy_high"] == figures.quality_high
    assert f"({figures.quality_low:.4f} to {figures.quality_high:.4f})" in dict(outcome.facts)["accuracy"]


def test_what_chance_does_is_asked_of_the_rows_that_judge(tmp_path):
    lesson = make_lesson(make_project(), numbered(TRUTH, TRUTH))
    no_better = champion_of(np.array([], dtype=np.uint64))
    worse = champion_of(np.array([], dtype=np.uint64), SaysTheOpposite())
    figures = [
        evaluate_model(lesson, trained_on(lesson), champion, tmp_path).value.figures for champion in (no_better, worse)
    ]
    # A model that answers alike has gained nothing; one that is right where the other never was, has.
    assert [each.champion_chance > 0.99 for each in figures] == [True, False]
    assert figures[1].champion_chance < 0.01
    assert 0 < figures[0].constant_chance < 0.05
    constant = evaluate_model(lesson, trained_on(lesson, estimator=SaysTheOpposite()), None, tmp_path).value.figures
    assert constant.constant_chance > 0.9
