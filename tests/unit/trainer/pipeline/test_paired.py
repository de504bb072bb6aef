import numpy as np
import pytest

from trainer.pipeline.paired import chance_of_gain
from trainer.project.learning import GateSection

SEEDS = 200
# The stated error of the gate's default, and how many of 200 it may be at most by chance (99.9 % of binomial draws).
STATED, AT_MOST = GateSection().max_chance, 34


def outputs_of(truth, hits):
    labels = np.where(hits, truth, 1 - truth)
    return np.stack([1 - labels, labels], axis=1)


def neighbours(rng, n, likeness=0.6):
    """Noise that resembles its neighbours, as that of sensors does."""
    noise = rng.normal(size=n)
    for place in range(1, n):
        noise[place] += likeness * noise[place - 1]
    return noise


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_of_200_classifiers_that_are_no_better_hardly_more_than_the_stated_share_looks_so(metric):
    promoted = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        truth = (rng.random(300) < 0.3).astype(np.float64)
        candidate, champion = (outputs_of(truth, rng.random(300) < 0.75) for _ in range(2))
        promoted += chance_of_gain(metric, truth, candidate, champion, rng) <= STATED
    assert promoted <= AT_MOST


@pytest.mark.parametrize("metric", ["r2", "mae"])
def test_of_200_regressions_whose_errors_resemble_their_neighbours_no_more_looks_better(metric):
    promoted = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        truth = neighbours(rng, 300)
        candidate, champion = ((truth + 0.5 * neighbours(rng, 300))[:, None] for _ in range(2))
        promoted += chance_of_gain(metric, truth, candidate, champion, rng) <= STATED
    assert promoted <= AT_MOST


def test_a_model_that_repairs_a_tenth_of_the_rows_is_seen_to_be_better_with_300_labels():
    seen = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        truth = (rng.random(300) < 0.3).astype(np.float64)
        old = rng.random(300) < 0.6
        # Of 30 rows in 100 the two differ; 20 of them are the candidate's, 10 the champion's.
        dice = rng.random(300)
        new = np.where(old, dice > 1 / 6, dice < 0.5)
        seen += chance_of_gain("accuracy", truth, outputs_of(truth, new), outputs_of(truth, old), rng) <= STATED
    assert seen >= 40


def test_a_model_that_answers_alike_has_gained_nothing():
    rng = np.random.default_rng(0)
    truth = (np.arange(100) % 2).astype(np.float64)
    outputs = outputs_of(truth, rng.random(100) < 0.8)
    assert chance_of_gain("accuracy", truth, outputs, outputs, rng) == 1.0


def test_a_worse_model_has_a_chance_of_more_than_half_and_one_row_proves_nothing():
    rng = np.random.default_rng(0)
    truth = (np.arange(100) % 2).astype(np.float64)
    # The rows on which they differ lie all over the place.
    place = np.arange(100) * 37 % 100
    good, bad = outputs_of(truth, place < 90), outputs_of(truth, place < 60)
    assert chance_of_gain("accuracy", truth, bad, good, rng) > 0.5
    assert chance_of_gain("accuracy", truth, good, bad, rng) < 0.01
    one = slice(0, 1)
    assert chance_of_gain("accuracy", truth[one], good[one], bad[one], rng) > 0.4


def test_a_stretch_of_rows_counts_as_one_witness():
    # All of the gain lies in one stretch of 20 rows out of 200: row by row it would look certain.
    rng = np.random.default_rng(0)
    truth = np.zeros(200)
    usual = rng.random(200) < 0.7
    new = usual.copy()
    new[100:120], usual[100:120] = True, False
    assert chance_of_gain("accuracy", truth, outputs_of(truth, new), outputs_of(truth, usual), rng) > 0.2
