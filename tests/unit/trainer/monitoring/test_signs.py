import numpy as np
import pytest

from trainer.monitoring.quality import Expectation, QualityEstimate
from trainer.monitoring.signs import BackgroundTest, decide_ask, judge_background, label_budget
from trainer.project.fleet import MonitoringSection

RULES = MonitoringSection()
USUAL = QualityEstimate(rows=500, estimated=0.79, expected=0.8, loss=0.01, standard_error=0.01, z=1.0)
LOSS = QualityEstimate(rows=500, estimated=0.7, expected=0.8, loss=0.1, standard_error=0.02, z=5.0)
UNSURE_LOSS = QualityEstimate(rows=50, estimated=0.7, expected=0.8, loss=0.1, standard_error=0.05, z=2.0)
SURE_TRIFLE = QualityEstimate(rows=90_000, estimated=0.78, expected=0.8, loss=0.02, standard_error=0.001, z=20.0)
GOOD_LABELS = BackgroundTest(labels=40, error=0.2, tolerated=0.22, p=0.7)
BAD_LABELS = BackgroundTest(labels=40, error=0.5, tolerated=0.22, p=0.0001)


@pytest.mark.parametrize(
    ("estimate", "background", "cooling", "budget", "verdict", "rows"),
    [
        (None, None, False, 100, "quiet", 0),
        (USUAL, None, False, 100, "quiet", 0),
        (USUAL, GOOD_LABELS, False, 100, "quiet", 0),
        (UNSURE_LOSS, GOOD_LABELS, False, 100, "quiet", 0),
        (SURE_TRIFLE, GOOD_LABELS, False, 100, "quiet", 0),
        (LOSS, GOOD_LABELS, False, 100, "ask", 30),
        (LOSS, None, False, 100, "ask", 30),
        (USUAL, BAD_LABELS, False, 100, "ask", 30),
        (None, BAD_LABELS, False, 30, "ask", 30),
        (LOSS, BAD_LABELS, True, 100, "cooling_down", 0),
        (LOSS, BAD_LABELS, False, 29, "no_budget", 0),
        (USUAL, GOOD_LABELS, True, 0, "quiet", 0),
    ],
)
def test_the_ask_follows_its_table(estimate, background, cooling, budget, verdict, rows):
    decision = decide_ask(estimate=estimate, background=background, cooling_down=cooling, budget=budget, rules=RULES)
    assert (decision.verdict, decision.rows) == (verdict, rows)
    assert decision.estimate == estimate
    assert decision.background == background


def test_the_reason_names_both_signs_with_their_numbers():
    reason = decide_ask(estimate=LOSS, background=BAD_LABELS, cooling_down=False, budget=100, rules=RULES).reason
    assert "0.7 where 0.8 is usual" in reason
    assert "40 background labels" in reason


def test_few_background_labels_are_not_tested():
    assert judge_background([1.0] * 19, Expectation("classification", 0.2), RULES) is None
    assert judge_background([1.0] * 20, Expectation("classification", 0.2), RULES) is not None


def test_only_the_latest_background_labels_are_tested():
    test = judge_background([1.0] * 100 + [0.0] * 40, Expectation("classification", 0.2), RULES)
    assert test is not None
    assert (test.labels, test.error, test.p) == (40, 0.0, 1.0)


def test_background_labels_of_a_regression_are_tested_on_their_absolute_errors():
    rng = np.random.default_rng(1)
    expectation = Expectation("regression", 1.0)
    same = judge_background(rng.exponential(1.0, 40).tolist(), expectation, RULES)
    worse = judge_background(rng.exponential(3.0, 40).tolist(), expectation, RULES)
    assert same is not None
    assert worse is not None
    assert same.p > RULES.background_p > worse.p


def test_background_labels_as_usual_ask_in_at_most_1_of_100_simulated_windows():
    rng = np.random.default_rng(4)
    asked = 0
    for _ in range(300):
        errors = (rng.random(40) < 0.2).astype(float).tolist()
        test = judge_background(errors, Expectation("classification", 0.2), RULES)
        decision = decide_ask(estimate=None, background=test, cooling_down=False, budget=99, rules=RULES)
        asked += decision.verdict == "ask"
    assert asked <= 3


@pytest.mark.parametrize(
    ("rows", "wanted", "share", "left"), [(1000, 100, 0.3, 200), (100, 40, 0.3, 0), (7, 0, 0.3, 2)]
)
def test_the_label_budget_is_a_share_of_the_rows(rows, wanted, share, left):
    assert label_budget(rows, wanted, share) == left
