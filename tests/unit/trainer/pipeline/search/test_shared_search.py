"""A search whose trials lie in a database that several machines share: a real PostgreSQL."""

import optuna
import pytest

from tests.unit.trainer.pipeline.lessons import draw_table, make_lesson, make_project
from trainer.errors import RunError
from trainer.pipeline.training import load_trained, train_model


def lesson(trials):
    project = make_project(training={"candidates": ["logistic"], "blocks": 2, "trials": trials})
    return make_lesson(project, draw_table(120))


@pytest.mark.slow
def test_trials_in_postgresql_are_gone_on_with_and_two_searches_do_not_meet(postgres, tmp_path):
    address = postgres.new_database("searches")
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    first = train_model(lesson(2), tmp_path / "one", storage=address)
    train_model(lesson(1), tmp_path / "other", storage=address)
    again = train_model(lesson(4), tmp_path / "one", storage=address)
    assert again.value.chosen.trials[:2] == first.value.chosen.trials
    names = optuna.get_all_study_names(address)
    assert len(names) == 2
    assert sorted(len(optuna.load_study(study_name=name, storage=address).trials) for name in names) == [1, 4]
    assert not (tmp_path / "one" / "search.db").exists()
    (tmp_path / "here").mkdir()
    here = train_model(lesson(4), tmp_path / "here")
    assert here.value.chosen == again.value.chosen, "where the trials lie changes nothing of what comes out"
    assert (tmp_path / "here" / "model.skops").read_bytes() == (tmp_path / "one" / "model.skops").read_bytes()
    assert load_trained(tmp_path / "one").chosen == again.value.chosen


def test_a_database_that_cannot_be_reached_is_named_without_its_password(tmp_path):
    address = "postgresql+psycopg://me:secret@127.0.0.1:1/searches"
    with pytest.raises(RunError, match=r"cannot be kept in .*me:\*\*\*@.*FIELDLOOP_STORES_SEARCH") as refusal:
        train_model(lesson(1), tmp_path, storage=address)
    assert "secret" not in str(refusal.value)
