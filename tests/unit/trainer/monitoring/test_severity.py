import numpy as np
import pytest

from tests.unit.trainer.simulated_fleet import make_manifest, window_of
from trainer.monitoring.confirmation import confirm
from trainer.monitoring.quality import Expectation
from trainer.monitoring.severity import Skew, judge_severity, measure_skew
from trainer.project.fleet import MonitoringSection

RULES = MonitoringSection()
USABLE = Skew(500, 0.0, ())


def confirmation(wrong):
    return confirm([1.0] * wrong + [0.0] * (30 - wrong), Expectation("classification", 0.2), RULES)


@pytest.mark.parametrize(
    ("wrong", "skew", "verdict"),
    [
        (None, USABLE, "none"),
        (6, USABLE, "none"),
        (12, USABLE, "mild"),
        (16, USABLE, "mild"),
        (17, USABLE, "collapse"),
        (17, Skew(500, 0.3, ()), "skew"),
        (6, Skew(500, 0.0, (("pressure", 0.9),)), "skew"),
        (None, Skew(500, 0.3, ()), "skew"),
        (None, Skew(500, 0.2, ()), "none"),
    ],
)
def test_severity_follows_its_table(wrong, skew, verdict):
    judged = judge_severity(None if wrong is None else confirmation(wrong), skew, RULES)
    assert judged.verdict == verdict


def test_a_sensor_that_went_silent_is_named():
    manifest, rng = make_manifest(), np.random.default_rng(1)
    agreement = (0,) * 19 + (50,)
    windows = [window_of(manifest, rng, agreement=agreement, rows=50, missing=40)]
    skew = measure_skew(windows, manifest)
    assert skew.is_severe
    assert skew.features == (("pressure", 0.8),)
    assert "pressure (80%)" in skew.reason


def test_rows_that_the_schema_refuses_are_a_skew():
    manifest, rng = make_manifest(), np.random.default_rng(1)
    windows = [window_of(manifest, rng, agreement=(0,) * 19 + (50,), rows=50, refused=30)]
    assert measure_skew(windows, manifest).is_severe


def test_usual_input_is_usable_and_no_windows_too():
    manifest, rng = make_manifest(), np.random.default_rng(1)
    assert not measure_skew([window_of(manifest, rng, agreement=(0,) * 20, rows=50)], manifest).is_severe
    assert not measure_skew([], manifest).is_severe


def test_a_loss_of_a_classification_is_told_in_points():
    assert judge_severity(confirmation(17), USABLE, RULES).reason == "a loss of 0.37 is at least 0.35"
    assert judge_severity(confirmation(12), USABLE, RULES).reason == "a loss of 0.20 is below 0.35"


@pytest.mark.parametrize(
    ("error", "reason"),
    [(1.53, "a rise of the error by 53 % is at least 35 %"), (1.3, "a rise of the error by 30 % is below 35 %")],
)
def test_a_loss_of_a_regression_is_told_as_a_rise_of_its_error(error, reason):
    errors = [error - 0.01, error + 0.01] * 15
    confirmed = confirm(errors, Expectation("regression", 1.0), RULES)
    assert judge_severity(confirmed, USABLE, RULES).reason == reason
