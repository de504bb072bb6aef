import numpy as np
import pytest

from trainer.pipeline.search.pruning import LEAST_TRIALS, is_hopeless

USUAL = [(0.8, 0.9, 0.7, 0.8, 0.9, 0.8, 0.9)] * LEAST_TRIALS


def test_a_trial_that_is_worse_in_every_block_is_given_up_after_the_second_one():
    assert not is_hopeless((0.5,), USUAL, "median")
    assert is_hopeless((0.5, 0.5), USUAL, "median")
    assert not is_hopeless((0.5, 0.5), USUAL, "none")


def test_nothing_is_given_up_before_it_is_known_what_is_usual():
    assert not is_hopeless((0.1, 0.1, 0.1), USUAL[1:], "median")


def test_no_single_block_decides_that_a_trial_is_given_up():
    # The mean is far below all others, by its first block alone: without that block it is as good as they are.
    so_far = (0.0, 0.95, 0.75)
    assert np.mean(so_far) < np.mean(USUAL[0][:3])
    assert not is_hopeless(so_far, USUAL, "median")


@pytest.mark.parametrize("block", range(4))
def test_whatever_a_block_says_a_hopeless_trial_would_be_hopeless_without_it(block):
    rng = np.random.default_rng(block)
    found = 0
    for _ in range(300):
        others = [tuple(rng.normal(0.8, 0.1, size=5)) for _ in range(6)]
        so_far = rng.normal(0.75, 0.1, size=4)
        if is_hopeless(tuple(so_far), others, "median"):
            found += 1
            without = [np.delete(np.array(other[:4]), block).mean() for other in others]
            assert np.delete(so_far, block).mean() < np.median(without)
    assert 30 < found < 270


def test_wilcoxon_gives_up_what_is_significantly_worse_than_the_best_one_and_needs_five_blocks_for_it():
    slightly = tuple(quality - 0.01 * (1 + place / 10) for place, quality in enumerate(USUAL[0]))
    assert not is_hopeless(slightly[:4], USUAL, "wilcoxon")
    assert is_hopeless(slightly[:5], USUAL, "wilcoxon")
    mixed = (slightly[0], slightly[1], USUAL[0][2] + 0.1, slightly[3], USUAL[0][4] + 0.1)
    assert not is_hopeless(mixed, USUAL, "wilcoxon")
    assert not is_hopeless(USUAL[0][:5], USUAL, "wilcoxon")
