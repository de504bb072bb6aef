import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, r2_score

from exporter.models.metrics import METRICS, decisions_of, quality
from exporter.proof.intervals import Judge


def judge(metric, truth, seed=0):
    return Judge(metric, truth, np.random.default_rng(seed))


def labels(n, share_right, rng):
    truth = rng.integers(0, 3, n)
    said = np.where(rng.random(n) < share_right, truth, (truth + 1) % 3)
    return truth, np.eye(3)[said]


@pytest.mark.parametrize("metric", [m for m in METRICS if METRICS[m].judges_labels])
def test_an_interval_holds_the_quality_and_the_truth_behind_it(metric):
    truth, outputs = labels(2000, 0.8, np.random.default_rng(3))
    found = judge(metric, truth).quality(outputs)
    assert found.value == quality(metric, truth, outputs)
    assert found.low < 0.8 < found.high
    assert 0.02 < found.high - found.low < 0.06


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(5)
    hits = 0
    for seed in range(100):
        truth, outputs = labels(500, 0.8, rng)
        found = judge("accuracy", truth, seed).quality(outputs)
        hits += found.low <= 0.8 <= found.high
    assert hits >= 88


def test_rows_that_resemble_their_neighbours_give_a_wider_interval():
    rng = np.random.default_rng(1)
    truth = np.zeros(5000, dtype=np.int64)
    right = np.repeat(rng.random(50) < 0.8, 100)
    outputs = np.eye(2)[np.where(right, 0, 1)]
    alike = judge("accuracy", truth).quality(outputs)
    mixed = judge("accuracy", truth).quality(rng.permutation(outputs))
    assert alike.high - alike.low > 3 * (mixed.high - mixed.low)


def test_a_loss_is_known_better_than_either_quality_as_both_are_judged_on_the_same_rows():
    rng = np.random.default_rng(2)
    truth, original = labels(2000, 0.8, rng)
    variant = original.copy()
    variant[::200] = np.roll(variant[::200], 1, axis=1)
    one = judge("accuracy", truth)
    loss, alone = one.loss(original, variant), one.quality(original)
    assert loss.value == pytest.approx(quality("accuracy", truth, original) - quality("accuracy", truth, variant))
    assert loss.low <= loss.value <= loss.high
    assert loss.high - loss.low < 0.4 * (alone.high - alone.low)
    assert one.loss(original, original).high == 0.0


def test_the_same_rows_and_generator_give_the_same_interval():
    truth, outputs = labels(300, 0.7, np.random.default_rng(4))
    assert judge("macro_f1", truth).quality(outputs) == judge("macro_f1", truth).quality(outputs)
    assert judge("macro_f1", truth).quality(outputs) != judge("macro_f1", truth, 1).quality(outputs)


def test_a_few_rows_are_enough_for_an_interval_of_their_own():
    found = judge("accuracy", np.array([0, 1])).quality(np.eye(2))
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)


def test_sums_judge_as_scikit_learn_does():
    rng = np.random.default_rng(6)
    truth, outputs = labels(400, 0.6, rng)
    said = outputs.argmax(axis=1)
    assert quality("balanced_accuracy", truth, outputs) == pytest.approx(balanced_accuracy_score(truth, said))
    assert quality("macro_f1", truth, outputs) == pytest.approx(f1_score(truth, said, average="macro"))
    values = 1e6 + rng.normal(size=400)
    guesses = (values + rng.normal(size=400))[:, np.newaxis]
    assert quality("r2", values, guesses) == pytest.approx(r2_score(values, guesses[:, 0]))
    assert quality("r2", np.full(7, 0.1), np.full((7, 1), 0.1)) == 1.0
    assert quality("r2", np.full(7, 0.1), np.full((7, 1), 0.2)) == 0.0


def test_a_device_decides_by_the_best_output_or_by_the_sign():
    assert decisions_of("classification", np.array([[0.1, 0.9], [0.5, 0.5]])).tolist() == [1, 0]
    assert decisions_of("anomaly", np.array([[-0.1], [0.0], [2.0]])).tolist() == [1, 0, 0]
    assert decisions_of("regression", np.array([[-0.1], [2.0]])).tolist() == [0, 0]
