import numpy as np
import pytest
from sklearn import metrics

from exporter.models.metrics import quality

RNG = np.random.default_rng(1)
TRUTH = RNG.choice(4, 300, p=[0.6, 0.2, 0.15, 0.05])
OUTPUTS = RNG.random((300, 4)) + np.eye(4)[TRUTH] * 0.6
PREDICTED = OUTPUTS.argmax(axis=1)
VALUES = RNG.normal(size=300)
ANSWERS = (VALUES + RNG.normal(size=300) * 0.3)[:, np.newaxis]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("accuracy", metrics.accuracy_score(TRUTH, PREDICTED)),
        ("balanced_accuracy", metrics.balanced_accuracy_score(TRUTH, PREDICTED)),
        ("macro_f1", metrics.f1_score(TRUTH, PREDICTED, average="macro")),
    ],
)
def test_labels_are_judged_as_scikit_learn_does(metric, expected):
    assert quality(metric, TRUTH, OUTPUTS) == pytest.approx(expected)


def test_values_are_judged_as_scikit_learn_does_and_higher_is_better():
    assert quality("r2", VALUES, ANSWERS) == pytest.approx(metrics.r2_score(VALUES, ANSWERS[:, 0]))
    assert quality("mae", VALUES, ANSWERS) == pytest.approx(-metrics.mean_absolute_error(VALUES, ANSWERS[:, 0]))


def test_a_constant_truth_has_a_defined_r2():
    assert quality("r2", np.ones(3), np.ones((3, 1))) == 1.0
    assert quality("r2", np.ones(3), np.zeros((3, 1))) == 0.0


def test_an_unknown_metric_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="macro_f1"):
        quality("auc", TRUTH, OUTPUTS)


def test_no_row_is_no_quality():
    with pytest.raises(ValueError, match="0 truths"):
        quality("accuracy", TRUTH[:0], OUTPUTS[:0])
