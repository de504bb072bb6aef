"""Blocks with the same share of every label, and no entity in two of them."""

import numpy as np
import pytest

from trainer.errors import DataError
from trainer.features.table import NO_ENTITY
from trainer.pipeline.preparing import split
from trainer.pipeline.stratifying import strata_of
from trainer.project.learning import TrainingSection


def stratified(strata, *, entity=None, n_judge=0, n_fleet=0, blocks=4, holdout=0.2):
    n = len(strata) + n_judge + n_fleet
    is_fleet = np.arange(n) >= n - n_fleet
    is_judge = (np.arange(n) >= len(strata)) & ~is_fleet
    entities = np.full(n, NO_ENTITY)
    if entity is not None:
        entities[: len(strata)] = entity
    training = TrainingSection(split="stratified", blocks=blocks, holdout=holdout)
    padded = np.concatenate([strata, np.zeros(n - len(strata), dtype=np.int64)])
    return split(is_fleet, is_fleet, entities, np.arange(n), training, is_judge, strata=padded)


def shares(strata, blocks):
    return np.array([[np.mean(strata[blocks == b] == s) for s in np.unique(strata)] for b in np.unique(blocks)])


def test_every_block_and_the_rows_that_judge_have_the_same_share_of_a_rare_label_that_comes_late():
    strata = np.where(np.arange(1000) >= 900, 1, 0)
    splits = stratified(strata)
    assert splits.search_blocks == (0, 1, 2, 3)
    assert splits.is_holdout.sum() == 200
    assert (splits.block_of[splits.is_holdout] == 4).all()
    np.testing.assert_allclose(shares(strata, splits.block_of)[:, 1], 0.1, atol=0.01)
    by_time = np.where(np.arange(1000) >= 800, 4, np.arange(1000) // 200)
    assert shares(strata, by_time)[:, 1].max() == 0.5, "cut by time it would be in one block alone"


def test_the_rows_of_a_label_are_cut_in_the_order_of_time_and_its_latest_judge():
    strata = np.arange(400) % 3
    splits = stratified(strata)
    for label in range(3):
        assert (np.diff(splits.block_of[strata == label]) >= 0).all()
    again = stratified(strata)
    np.testing.assert_array_equal(again.block_of, splits.block_of)


def test_no_entity_is_ever_in_two_blocks_and_labels_have_about_the_same_share():
    rng = np.random.default_rng(3)
    for _ in range(50):
        entity = rng.integers(0, int(rng.integers(8, 40)), size=600)
        strata = (rng.random(600) < 0.2).astype(np.int64)
        splits = stratified(strata, entity=entity)
        assert not splits.is_holdout.any()
        assert splits.search_blocks == tuple(range(len(splits.search_blocks)))
        for name in np.unique(entity):
            assert len(set(splits.block_of[entity == name])) == 1
    # Some entities are all good, some all bad: by their order the bad ones would lie together.
    entity = np.repeat(np.arange(40), 25)
    strata = (entity >= 32).astype(np.int64)
    splits = stratified(strata, entity=entity)
    np.testing.assert_allclose(shares(strata, splits.block_of)[:, 1], 0.2, atol=0.01)


def test_values_are_cut_by_their_tenths():
    rng = np.random.default_rng(4)
    truth = np.sort(rng.exponential(size=800))
    strata = strata_of(truth, is_labels=False, n_blocks=4)
    assert len(np.unique(strata)) == 10
    splits = stratified(strata)
    means = [truth[splits.block_of == block].mean() for block in range(4)]
    assert max(means) - min(means) < 0.3
    in_order = [truth[place * 200 : (place + 1) * 200].mean() for place in range(4)]
    assert max(in_order) - min(in_order) > 1.5, "cut in their order they would be far apart"
    assert len(np.unique(strata_of(truth[:45], is_labels=False, n_blocks=4))) == 2


def test_rows_that_only_judge_and_few_rows_of_the_fleet_keep_their_roles():
    strata = np.arange(200) % 2
    splits = stratified(strata, n_judge=30, n_fleet=20)
    assert splits.is_holdout[200:230].all()
    assert splits.is_holdout.sum() == 30
    assert (splits.block_of[230:] == -1).all()
    np.testing.assert_allclose(shares(strata, splits.block_of[:200])[:, 1], 0.5)


def test_what_cannot_be_stratified_is_refused():
    with pytest.raises(DataError, match=r"one has only 3 rows; lower training\.blocks, or give at least 5"):
        stratified(np.where(np.arange(200) < 3, 1, 0))
    assert stratified(np.where(np.arange(200) < 5, 1, 0)).search_blocks == (0, 1, 2, 3)
    with pytest.raises(DataError, match="never cuts an entity in two"):
        stratified(np.arange(200) % 2, entity=np.zeros(200, dtype=np.int64))
    with pytest.raises(DataError, match="12 rows are too few"):
        stratified(np.arange(12) % 2, blocks=2)
