import numpy as np
import pytest

from trainer.monitoring.confirmation import confirm
from trainer.monitoring.quality import Expectation
from trainer.project.fleet import MonitoringSection

RULES = MonitoringSection()
FIFTH_WRONG = Expectation("classification", 0.2)


@pytest.mark.parametrize(
    ("wrong", "right", "verdict", "missing"),
    [
        (0, 0, "undecided", 30),
        (29, 0, "undecided", 1),
        (0, 30, "cleared", 0),
        (6, 24, "cleared", 0),
        (10, 20, "cleared", 0),
        (11, 19, "confirmed", 0),
        (30, 0, "confirmed", 0),
        (20, 40, "confirmed", 0),
    ],
)
def test_the_verdict_follows_its_table(wrong, right, verdict, missing):
    confirmation = confirm([1.0] * wrong + [0.0] * right, FIFTH_WRONG, RULES)
    assert (confirmation.verdict, confirmation.missing) == (verdict, missing)


def test_the_same_labels_in_another_order_give_the_same_answer():
    errors = [1.0] * 11 + [0.0] * 19
    assert confirm(errors, FIFTH_WRONG, RULES) == confirm(errors[::-1], FIFTH_WRONG, RULES)


def test_the_loss_is_counted_from_what_is_usual_not_from_what_is_tolerated():
    assert confirm([1.0] * 15 + [0.0] * 15, FIFTH_WRONG, RULES).loss == pytest.approx(0.3)


def test_labels_as_usual_are_confirmed_in_fewer_cases_than_the_test_allows():
    rng = np.random.default_rng(8)
    confirmed = sum(
        confirm((rng.random(30) < 0.2).astype(float).tolist(), FIFTH_WRONG, RULES).verdict == "confirmed"
        for _ in range(300)
    )
    assert confirmed <= 15


def test_a_loss_of_twenty_points_is_confirmed_mostly():
    rng = np.random.default_rng(9)
    confirmed = sum(
        confirm((rng.random(30) < 0.4).astype(float).tolist(), FIFTH_WRONG, RULES).verdict == "confirmed"
        for _ in range(100)
    )
    assert confirmed >= 60


@pytest.mark.parametrize(("scale", "verdict"), [(1.0, "cleared"), (2.5, "confirmed")])
def test_a_regression_is_judged_by_its_absolute_errors(scale, verdict):
    errors = np.random.default_rng(1).exponential(scale, 40).tolist()
    assert confirm(errors, Expectation("regression", 1.0), RULES).verdict == verdict


def test_the_reason_says_how_many_labels_and_how_likely():
    reason = confirm([1.0] * 15 + [0.0] * 15, FIFTH_WRONG, RULES).reason
    assert "30 labels" in reason
    assert "0.2 is usual" in reason
    assert "p 0.00" in reason
