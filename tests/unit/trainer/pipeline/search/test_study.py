import multiprocessing

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from tests.unit.trainer.pipeline.lessons import draw_table, make_lesson, make_project
from tests.waiting import wait_until
from trainer.pipeline.candidates import Family, Real
from trainer.pipeline.search.study import Search

LOW, HIGH = 0.0, 1.0


class Told:
    """Answers with as much truth as its parameter says, block by block; counts how often it was fitted."""

    def __init__(self, share):
        self.share = share

    def fit(self, _rows, _target):
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, rows):
        truth = rows.sum(axis=1) > 0
        wrong = np.arange(len(rows)) >= self.share * len(rows)
        return np.eye(2)[np.where(wrong, ~truth, truth).astype(int)]

    def __sklearn_tags__(self):
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression().__sklearn_tags__()


TOLD = Family(
    "told",
    frozenset({"classification"}),
    {"share": 0.9},
    {"share": Real(LOW, HIGH, log=False)},
    is_scaled=False,
    build=lambda parameters, _: Told(parameters["share"]),
    takes_weights=False,
)


def lesson(**training):
    project = make_project(training={"candidates": ["forest"], "blocks": 6, "trials": 25, **training})
    return make_lesson(project, draw_table(600))


def searched(folder, **training):
    search = Search(lesson(**training), [TOLD], folder)
    search.run()
    return search, optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'search.db'}")


@pytest.mark.parametrize("rule", ["median", "wilcoxon"])
def test_bad_trials_are_given_up_early_and_never_compete(tmp_path, rule):
    search, study = searched(tmp_path, pruning=rule)
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    assert search.n_given_up == len(pruned) > 2
    assert len(study.trials) == 25, "each counts as a trial"
    for trial in pruned:
        assert 2 <= len(trial.intermediate_values) < 6
    whole = {contender.number for contender in search.contenders()}
    assert whole.isdisjoint(trial.number for trial in pruned)
    assert not any((tmp_path / "answers" / f"{trial.number}.npz").exists() for trial in pruned)
    best = max(contender.quality for contender in search.contenders())
    assert all(np.mean(list(trial.intermediate_values.values())) < best for trial in pruned)


def test_without_a_rule_every_trial_is_judged_on_every_block(tmp_path):
    search, study = searched(tmp_path, pruning="none")
    assert search.n_given_up == 0
    assert all(len(contender.blocks) == 6 for contender in search.contenders())
    assert len(search.contenders()) == len(study.trials)


def test_a_trial_whose_answers_are_lost_does_not_compete(tmp_path):
    search, _ = searched(tmp_path, trials=3)
    (tmp_path / "answers" / "1.npz").unlink()
    assert [contender.number for contender in search.contenders()] == [0, 2]


def _search_until_killed(folder):
    Search(lesson(trials=400, pruning="median"), [TOLD], folder).run()


@pytest.mark.slow
def test_a_search_that_is_killed_loses_no_trial(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_search_until_killed, args=(tmp_path,))
    process.start()
    wait_until(lambda: len(list((tmp_path / "answers").glob("*.npz"))) >= 8, timeout_s=120)
    process.kill()
    process.join()
    before = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'search.db'}").trials
    ended = [trial for trial in before if trial.state in {TrialState.COMPLETE, TrialState.PRUNED}]
    search = Search(lesson(trials=len(ended) + 2), [TOLD], tmp_path)
    had = search.contenders()
    search.run()
    after = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'search.db'}").trials
    assert [(t.state, t.values) for t in after if t.number in {e.number for e in ended}] == [
        (t.state, t.values) for t in ended
    ]
    assert search.contenders()[: len(had)] == had
    assert sum(t.state in {TrialState.COMPLETE, TrialState.PRUNED} for t in after) == len(ended) + 2
    assert not any(t.state == TrialState.RUNNING for t in after)


def test_several_objectives_are_searched_together_and_nothing_is_given_up(tmp_path):
    project = make_project(
        training={"candidates": ["logistic", "forest"], "blocks": 3, "trials": 4, "objectives": ["quality", "size"]}
    )
    from trainer.pipeline.search.families import families_of_project

    search = Search(make_lesson(project, draw_table(150)), families_of_project(project), tmp_path)
    search.run()
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'search.db'}")
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    by_number = {contender.number: contender for contender in search.contenders()}
    assert [trial.values[1] for trial in study.trials] == [by_number[t.number].size_bytes for t in study.trials]
    sizes = {contender.family: contender.size_bytes or 0 for contender in search.contenders()[:2]}
    assert sizes["logistic"] < sizes["forest"]
