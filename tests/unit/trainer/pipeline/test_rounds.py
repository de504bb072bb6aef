import numpy as np
import pytest
from lightgbm import LGBMClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor

from tests.unit.trainer.pipeline.lessons import draw_table, make_lesson, make_project, make_table
from trainer.pipeline.candidates import FAMILIES
from trainer.pipeline.rounds import Part, has_rounds, with_rounds


def part(n_rows, seed):
    """Rows whose labels are mostly chance: more rounds learn them by heart."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_rows, 4)).astype(np.float32)
    return Part(rows, (rows[:, 0] + 2 * rng.normal(size=n_rows) > 0).astype(int), None)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (HistGradientBoostingClassifier(max_iter=40, early_stopping=False, random_state=1), "max_iter"),
        (MLPClassifier((16,), max_iter=60, learning_rate_init=0.02, random_state=1), "max_iter"),
        (LGBMClassifier(n_estimators=60, n_jobs=1, verbosity=-1, random_state=1), "n_estimators"),
    ],
    ids=["histogram boosting", "network", "LightGBM"],
)
def test_what_learns_by_heart_is_stopped_early_and_comes_back_unfitted(model, name):
    most = model.get_params()[name]
    counted = with_rounds(model, part(150, 1), part(150, 2))
    assert 1 <= counted.get_params()[name] < most
    assert not hasattr(counted, "classes_")
    assert model.get_params()[name] == most, "it is not changed"
    others = {key: value for key, value in counted.get_params().items() if key != name}
    assert others == {key: value for key, value in model.get_params().items() if key != name}


def test_what_has_no_rounds_is_left_as_it_is():
    assert not has_rounds(LogisticRegression())
    assert has_rounds(MLPRegressor())


def test_the_last_block_that_a_model_is_fitted_on_finds_its_rounds_and_the_judged_block_never_does():
    project = make_project(training={"candidates": ["mlp"], "blocks": 3, "early_stopping": True})
    plain = make_project(training={"candidates": ["mlp"], "blocks": 3})
    table = draw_table(150)
    family, block = FAMILIES["mlp"], 2
    hasty = {**family.starts_with, "rate": 0.05}

    def epochs(of_project, truth):
        lesson = make_lesson(of_project, make_table(table.rows, truth))
        model, _ = lesson.answer_block(block, family, hasty, 1.0)
        return model[-1].max_iter

    stopped = epochs(project, table.truth)
    assert stopped < epochs(plain, table.truth)
    inside = make_lesson(project, table).splits.block_of == block
    spoilt = np.where(inside, 1 - table.truth, table.truth)
    assert epochs(project, spoilt) == stopped
    judging = make_lesson(project, table).splits.block_of == 1
    assert epochs(project, np.where(judging, 1 - table.truth, table.truth)) != stopped


def test_rare_labels_weigh_as_much_as_frequent_ones_when_that_is_tried(tmp_path):
    from trainer.pipeline.training import train_model

    rng = np.random.default_rng(1)
    rows = rng.normal(size=(400, 2))
    truth = rows.sum(axis=1) + rng.normal(size=400) > 2.2
    project = make_project(
        training={"candidates": ["logistic"], "blocks": 2, "trials": 8, "class_weights": ["none", "balanced"]},
        target={"column": "y", "task": "classification", "metric": "balanced_accuracy"},
    )
    lesson = make_lesson(project, make_table(rows, truth))
    family, everything = FAMILIES["logistic"], np.ones(400, dtype=bool)
    plain, balanced = (lesson.fit(family, family.starts_with, 1.0, everything, w) for w in ("none", "balanced"))
    assert balanced.predict(lesson.rows).mean() > 2 * plain.predict(lesson.rows).mean()
    outcome = train_model(lesson, tmp_path)
    assert outcome.value.chosen.class_weight == "balanced"
    assert outcome.params["class_weight"] == "balanced"
    assert ("weight of labels", "balanced") in outcome.facts
