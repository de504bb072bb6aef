"""Where a model is good and where not: found for a model that is wrong in places that the test chose."""

import math

import numpy as np
import pytest

from tests.unit.trainer.pipeline.lessons import make_lesson, make_project, make_table
from trainer.experiment.model_analysis import ModelAnalysis, analyse_model
from trainer.pipeline.training import Chosen, Trained

N_ROWS = 500
N_JUDGED = 100
NAMES = ("says", "noise", "colour")
FEATURES = [
    {"name": "says"},
    {"name": "noise", "on_missing": "flag"},
    {"name": "colour", "dtype": "category", "categories": ["red", "blue"]},
]


class SaysItsInput:
    """Answers 1 with the probability that stands in the first feature."""

    classes_ = np.array([0, 1])

    def predict_proba(self, rows):
        return np.column_stack([1 - rows[:, 0], rows[:, 0]]).astype(np.float64)


class DoublesItsInput:
    """A regressor: twice the first feature."""

    def predict(self, rows):
        return 2.0 * rows[:, 0].astype(np.float64)


def analysed(says, truth, noise=None, colour=None, entity=None, **project) -> ModelAnalysis:
    """Analyse a model over rows of which the last fifth judges."""
    noise = np.tile([0.0, 1.0], N_ROWS // 2) if noise is None else noise
    colour = np.zeros(N_ROWS) if colour is None else colour
    of_regression = project.get("task") == "regression"
    labels = () if of_regression else ("good", "scrap")
    rows = np.column_stack([says, noise, colour])
    table = make_table(rows, truth, names=NAMES, labels=labels, entity=entity)
    lesson = make_lesson(make_project(features=FEATURES, **project), table)
    estimator = DoublesItsInput() if of_regression else SaysItsInput()
    unknown = np.full((N_ROWS, 1 if of_regression else 2), np.nan)
    trained = Trained(estimator, Chosen("logistic", {}, 1.0, 0.9, ()), unknown)
    judged = lesson.splits.is_holdout
    assert judged.sum() == N_JUDGED
    return analyse_model(lesson, trained, table, judged=judged, constant=0.5, train=1.0)


TRUTH = np.arange(N_ROWS) % 2


def sure_of(truth, wrong=()):
    """Answers with a probability of 0.9 each, and those at some places wrong."""
    answers = np.where(truth == 1, 0.9, 0.1)
    answers[list(wrong)] = 1 - answers[list(wrong)]
    return answers


def slices_of(model, group):
    return {part.name: (part.rows, part.quality.value) for part in model.slices if part.group == group}


def test_each_part_of_the_rows_is_judged_alone():
    colour = (np.arange(N_ROWS) // 2 % 2).astype(np.float64)
    noise = np.linspace(0, 1, N_ROWS)
    noise[475:] = np.nan
    entity = np.arange(N_ROWS) % 4
    # Wrong on the red rows of the first quarter of those that judge.
    wrong = [row for row in range(400, 425) if colour[row] == 0]
    model = analysed(sure_of(TRUTH, wrong), TRUTH, noise, colour, entity)
    assert (model.metric, model.rows) == ("accuracy", N_JUDGED)
    assert model.overall.value == pytest.approx(1 - len(wrong) / N_JUDGED)
    assert model.overall.low < model.overall.value < model.overall.high
    assert slices_of(model, "time")["part 1 of 4"] == (25, pytest.approx(1 - len(wrong) / 25))
    assert slices_of(model, "time")["part 2 of 4"] == (25, 1.0)
    assert slices_of(model, "colour") == {"red": (50, pytest.approx(1 - len(wrong) / 50)), "blue": (50, 1.0)}
    assert slices_of(model, "noise")["missing"] == (25, 1.0)
    assert set(slices_of(model, "truth")) == {"good", "scrap"}
    assert [rows for rows, _ in slices_of(model, "entity").values()] == [25] * 4
    worse = {(part.group, part.name) for part in model.slices if part.is_worse_than(model.overall_of_slices)}
    assert ("time", "part 1 of 4") in worse
    assert not {("time", "part 2 of 4"), ("colour", "blue")} & worse


def test_the_thirds_of_what_matters_most_are_judged_alone():
    says = sure_of(TRUTH)
    says[400:] += np.linspace(-0.05, 0.05, N_JUDGED)
    rows = [rows for rows, _ in slices_of(analysed(says, TRUTH), "says").values()]
    assert (len(rows), sum(rows)) == (3, N_JUDGED)
    assert min(rows) >= 30


def test_probabilities_are_held_against_what_was_found():
    # 0.9 each, of which 60 of 100 are right: 0.3 off.
    model = analysed(sure_of(TRUTH, range(400, 440)), TRUTH)
    (only,) = model.calibration
    assert (only.rows, only.promised, only.found) == (N_JUDGED, pytest.approx(0.9), pytest.approx(0.6))
    assert model.calibration_error == pytest.approx(0.3)
    assert analysed(sure_of(TRUTH, range(400, 410)), TRUTH).calibration_error == pytest.approx(0.0, abs=1e-6)


def test_what_the_model_depends_on_loses_its_quality_when_it_is_shuffled_and_the_rest_does_not():
    first, *others = analysed(sure_of(TRUTH), TRUTH).importance
    assert first.name == "says"
    assert 0.3 < first.loss < 0.7
    assert {(item.name, item.loss) for item in others} == {("noise", 0.0), ("colour", 0.0)}


def test_the_worst_answers_come_first_with_what_is_unusual_in_them():
    says = sure_of(TRUTH, (450, 460, 470))
    says[450], says[460] = 0.99, 0.60
    noise = np.tile([0.0, 1.0], N_ROWS // 2)
    noise[450] = 40.0
    model = analysed(says, TRUTH, noise)
    assert model.confusion == ((47, 3), (0, 50))
    assert [(error.row, error.truth, error.answer) for error in model.errors] == [
        (450, "good", "scrap"),
        (470, "good", "scrap"),
        (460, "good", "scrap"),
    ]
    assert [error.certainty for error in model.errors] == pytest.approx([0.99, 0.9, 0.6])
    name, value, far = model.errors[0].unusual[0]
    assert (name, value) == ("noise", 40.0)
    assert far > 10


def test_a_regression_is_judged_by_its_error_and_shows_truth_beside_answer():
    says = np.linspace(0, 1, N_ROWS)
    truth = 2 * says
    truth[450] += 7
    model = analysed(says, truth, task="regression")
    assert (model.slice_metric, model.confusion) == ("mae", ())
    assert model.overall_of_slices == pytest.approx(-7 / N_JUDGED, abs=1e-5)
    assert math.isnan(model.calibration_error)
    assert sum(part.rows for part in model.calibration) == N_JUDGED
    assert len(model.scatter) == N_JUDGED
    assert model.scatter[0] == pytest.approx((truth[400], 2 * says[400]), abs=1e-5)
    assert (model.errors[0].row, model.errors[0].certainty) == (450, pytest.approx(7, abs=1e-4))
