import numpy as np
import optuna
import pytest
from msgspec.structs import replace as changed

from tests.unit.trainer.pipeline.lessons import draw_table, make_lesson, make_project, make_table
from trainer.errors import ProjectError
from trainer.pipeline.candidates import FAMILIES
from trainer.pipeline.training import MODEL_NAME, choose_by_other_blocks, load_trained, train_model


def searching(project, **training):
    return changed(project, training=changed(project.training, **training))


def trials_of(folder):
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'search.db'}")
    return [(trial.number, trial.value, trial.datetime_complete) for trial in study.trials]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of two families: the lesson, what came of it, and its folder."""
    folder = tmp_path_factory.mktemp("searched")
    project = searching(make_project(), candidates=("logistic", "mlp"), trials=3)
    lesson = make_lesson(project, draw_table(120))
    return lesson, train_model(lesson, folder), folder


def test_the_best_trial_is_chosen_and_every_familys_start_is_tried(searched):
    _, outcome, _ = searched
    chosen = outcome.value.chosen
    assert [number for number, _, _ in chosen.trials] == [0, 1, 2]
    assert [family for _, family, _ in chosen.trials[:2]] == ["logistic", "mlp"]
    assert chosen.quality == max(quality for _, _, quality in chosen.trials)
    assert chosen.family in {family for _, family, quality in chosen.trials if quality == chosen.quality}
    assert outcome.params["family"] == chosen.family
    assert outcome.metrics == {"search_accuracy": chosen.quality}


def test_out_of_fold_answers_are_of_the_searchs_blocks_and_the_model_is_fitted_on_all_of_them(searched):
    lesson, outcome, _ = searched
    has_answer = ~np.isnan(outcome.value.out_of_fold).any(axis=1)
    np.testing.assert_array_equal(has_answer, ~lesson.splits.is_holdout)
    family = FAMILIES[outcome.value.chosen.family]
    again = lesson.fit(family, outcome.value.chosen.parameters, 1.0, ~lesson.splits.is_holdout)
    np.testing.assert_array_equal(again.predict_proba(lesson.rows), outcome.value.estimator.predict_proba(lesson.rows))


def test_what_was_written_is_read_again(searched):
    lesson, outcome, folder = searched
    loaded = load_trained(folder)
    assert loaded.chosen == outcome.value.chosen
    np.testing.assert_array_equal(loaded.out_of_fold, outcome.value.out_of_fold)
    np.testing.assert_allclose(
        loaded.estimator.predict_proba(lesson.rows), outcome.value.estimator.predict_proba(lesson.rows)
    )


def test_the_same_seed_makes_the_same_model_to_the_byte_and_another_seed_another(tmp_path):
    (tmp_path / "same").mkdir()
    (tmp_path / "other").mkdir()
    project = searching(make_project(), candidates=("mlp",), trials=1)
    same = make_lesson(project, draw_table(120))
    other = make_lesson(changed(project, seed=5), draw_table(120))
    train_model(same, tmp_path)
    train_model(same, tmp_path / "same")
    train_model(other, tmp_path / "other")
    model = (tmp_path / MODEL_NAME).read_bytes()
    assert (tmp_path / "same" / MODEL_NAME).read_bytes() == model
    assert (tmp_path / "other" / MODEL_NAME).read_bytes() != model


def test_a_search_goes_on_with_the_trials_it_had(tmp_path):
    project, table = searching(make_project(), trials=2), draw_table(120)
    train_model(make_lesson(project, table), tmp_path)
    had = trials_of(tmp_path)
    assert len(had) == 2
    outcome = train_model(make_lesson(searching(project, trials=4), table), tmp_path)
    assert trials_of(tmp_path)[:2] == had
    assert [number for number, _, _ in outcome.value.chosen.trials] == [0, 1, 2, 3]
    assert [quality for _, _, quality in outcome.value.chosen.trials[:2]] == [quality for _, quality, _ in had]


def test_a_search_whose_best_trial_is_of_an_earlier_attempt_answers_as_that_trial_did(tmp_path):
    lesson = make_lesson(make_project(), draw_table(120))
    first = train_model(lesson, tmp_path)
    had = trials_of(tmp_path)
    again = train_model(lesson, tmp_path)
    assert trials_of(tmp_path) == had
    assert again.value.chosen == first.value.chosen
    np.testing.assert_array_equal(again.value.out_of_fold, first.value.out_of_fold)


def test_fewer_trials_than_families_still_try_every_family(tmp_path):
    project = searching(make_project(), candidates=("logistic", "hist_gradient_boosting"), trials=1)
    chosen = train_model(make_lesson(project, draw_table(60)), tmp_path).value.chosen
    assert [family for _, family, _ in chosen.trials] == ["logistic", "hist_gradient_boosting"]


def test_held_out_rows_are_never_seen_in_the_search(tmp_path):
    table = draw_table(100)
    spoilt = make_table(table.rows, np.where(np.arange(100) < 80, table.truth, 1 - table.truth))
    (tmp_path / "spoilt").mkdir()
    project = make_project()
    first = train_model(make_lesson(project, table), tmp_path).value
    second = train_model(make_lesson(project, spoilt), tmp_path / "spoilt").value
    assert first.chosen == second.chosen
    np.testing.assert_array_equal(first.estimator[-1].coef_, second.estimator[-1].coef_)


def test_a_block_is_answered_by_models_that_did_not_see_it():
    # In each block another feature tells; a model of the other block can only guess wrong.
    rng = np.random.default_rng(1)
    sign = rng.choice([-1.0, 1.0], size=100)
    rows = np.column_stack([np.where(np.arange(100) < 40, sign, -sign), np.zeros(100)])
    lesson = make_lesson(make_project(), make_table(rows, sign > 0))
    family = FAMILIES["logistic"]
    answers = lesson.out_of_fold(family, family.starts_with, 1.0)
    assert np.isnan(answers[80:]).all()
    assert np.mean(answers[:80].argmax(axis=1) == lesson.truth[:80]) == 0.0


def test_the_search_weighs_the_fleets_rows_where_they_contradict_the_files(tmp_path):
    project = searching(make_project(), trials=8, fleet_weights=(1.0, 100.0))
    outcome = train_model(make_lesson(project, draw_table(400, n_fleet=80)), tmp_path)
    assert outcome.value.chosen.fleet_weight == 100.0
    assert outcome.value.chosen.quality > 0.8
    assert outcome.params["fleet_weight"] == 100.0
    assert ("weight of the fleet's rows", "100") in outcome.facts


def test_a_block_is_answered_by_the_trial_that_was_best_on_the_other_blocks():
    lesson = make_lesson(searching(make_project(), blocks=3), draw_table(150))
    block_of, right = lesson.splits.block_of, np.eye(2)[lesson.truth.astype(int)]
    assert lesson.splits.search_blocks == (0, 1, 2)
    # One is right in block 0 alone, the other in blocks 1 and 2: by all blocks it is the best.
    one = np.where((block_of == 0)[:, None], right, 1 - right)
    other = np.where((block_of == 0)[:, None], 1 - right, right)
    chosen = choose_by_other_blocks(lesson, [one, other])
    np.testing.assert_array_equal(chosen[block_of == 0], other[block_of == 0])
    assert np.isnan(chosen[lesson.splits.is_holdout]).all()
    # In block 1 it is even: one is right in block 0, the other in block 2; the first of equals answers.
    np.testing.assert_array_equal(chosen[block_of == 1], one[block_of == 1])


def test_a_weight_changes_the_model_and_without_rows_of_the_fleet_there_is_none(searched):
    lesson = make_lesson(make_project(), draw_table(400, n_fleet=80))
    family, everything = FAMILIES["logistic"], np.ones(400, dtype=bool)
    light = lesson.fit(family, family.starts_with, 1.0, everything)
    heavy = lesson.fit(family, family.starts_with, 100.0, everything)
    assert (light.predict(lesson.rows) != heavy.predict(lesson.rows)).mean() > 0.5
    plain, outcome, _ = searched
    assert outcome.value.chosen.fleet_weight == 1.0
    assert "weight of the fleet's rows" not in dict(outcome.facts)
    rows = np.ones(len(plain.rows), dtype=bool)
    one, other = (plain.fit(family, family.starts_with, weight, rows) for weight in (1.0, 100.0))
    np.testing.assert_array_equal(one.predict_proba(plain.rows), other.predict_proba(plain.rows))


def test_rows_chosen_for_being_hard_do_not_judge_the_search(tmp_path):
    hard = tuple(range(100, 130))
    table = draw_table(200, n_fleet=100, chosen=hard)
    spoilt = make_table(table.rows, table.truth, n_fleet=100, chosen=hard)
    lesson = make_lesson(make_project(), spoilt)
    assert list(np.flatnonzero(lesson.judged)) == list(range(130, 200))
    chosen = train_model(lesson, tmp_path).value
    fair = np.arange(130, 200)
    # With one trial the answers out of fold are that trial's.
    assert chosen.chosen.quality == np.mean(chosen.out_of_fold[fair].argmax(axis=1) == table.truth[fair])


def test_a_regression_is_searched_by_its_metric(tmp_path):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(100, 2))
    project = make_project("regression", target={"column": "y", "task": "regression", "metric": "mae"})
    lesson = make_lesson(project, make_table(rows, rows.sum(axis=1) * 10, labels=()))
    outcome = train_model(lesson, tmp_path)
    assert outcome.value.out_of_fold.shape == (100, 1)
    assert -1.0 < outcome.metrics["search_mae"] < 0.0


def test_a_mistyped_candidate_ends_the_step_before_anything_is_searched(tmp_path):
    lesson = make_lesson(searching(make_project(), candidates=("forrest",)), draw_table(100))
    with pytest.raises(ProjectError, match="did you mean 'forest'"):
        train_model(lesson, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_search_without_time_still_tries_one_candidate(tmp_path):
    lesson = make_lesson(searching(make_project(), trials=5, timeout_s=0.0), draw_table(120))
    assert len(train_model(lesson, tmp_path).value.chosen.trials) == 1


def test_the_start_of_a_family_whose_trial_broke_off_is_tried_again(tmp_path):
    project = searching(make_project(), candidates=("logistic", "hist_gradient_boosting"), trials=2)
    lesson = make_lesson(project, draw_table(120))
    study = optuna.create_study(
        study_name="search", storage=f"sqlite:///{tmp_path / 'search.db'}", direction="maximize"
    )
    for name in ("logistic", "hist_gradient_boosting"):
        starts = FAMILIES[name].starts_with
        study.enqueue_trial({"family": name, **{f"{name}.{key}": value for key, value in starts.items()}})
    first = study.ask()
    first.suggest_categorical("family", ["logistic", "hist_gradient_boosting"])
    study.tell(first, 0.0)
    study.ask()  # in this trial the machine lost its power
    train_model(lesson, tmp_path)
    last = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'search.db'}").trials[-1]
    family, starts = "hist_gradient_boosting", FAMILIES["hist_gradient_boosting"].starts_with
    assert last.params == {"family": family, **{f"{family}.{key}": value for key, value in starts.items()}}


def test_a_shared_database_keeps_the_search_of_each_run_apart_and_gives_the_same_model(searched, tmp_path):
    lesson, outcome, _ = searched
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    folders = [tmp_path / run / "train" for run in ("one", "two")]
    for folder in folders:
        folder.mkdir(parents=True)
        made = train_model(lesson, folder, storage=storage)
        assert (folder / MODEL_NAME).read_bytes() == (searched[2] / MODEL_NAME).read_bytes()
        assert made.value.chosen == outcome.value.chosen
        assert not (folder / "search.db").exists()
    names = optuna.get_all_study_names(storage)
    assert sorted(name.split()[1] for name in names) == ["one", "two"]
    # Gone on with, it tries nothing again; made anew, it begins anew.
    train_model(lesson, folders[0], storage=storage)
    assert len(optuna.get_all_study_names(storage)) == 2
    for file in folders[1].rglob("*.*"):
        file.unlink()
    train_model(lesson, folders[1], storage=storage)
    assert sorted(name.split()[1] for name in optuna.get_all_study_names(storage)) == ["one", "two", "two"]
    assert {len(optuna.load_study(study_name=name, storage=storage).trials) for name in names} == {3}
