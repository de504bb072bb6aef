import re

import numpy as np
import pytest

from tests.unit.trainer.pipeline.lessons import draw_table, make_table
from trainer.errors import DataError
from trainer.pipeline.preparing import ALWAYS_TRAINS, MIN_FLEET_ROWS, load_splits, prepare_splits, split
from trainer.project.learning import TrainingSection


def split_rows(n_own, n_fleet=0, *, hard=(), entity=None, **training):
    is_fleet = np.arange(n_own + n_fleet) >= n_own
    entities = np.full(n_own + n_fleet, -1) if entity is None else np.asarray(entity, dtype=np.int64)
    is_fair = is_fleet & ~np.isin(np.arange(n_own + n_fleet), hard)
    return split(is_fleet, is_fair, entities, np.arange(n_own + n_fleet), TrainingSection(**training))


def assert_contiguous(block_of):
    """Blocks are numbered from 0 in the order of time, and of the same size but for one row."""
    assert (np.diff(block_of) >= 0).all()
    blocks, counts = np.unique(block_of, return_counts=True)
    assert list(blocks) == list(range(len(blocks)))
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(("n_rows", "blocks", "holdout"), [(100, 5, 0.2), (103, 3, 0.25), (997, 7, 0.1), (40, 2, 0.5)])
def test_blocks_are_contiguous_and_the_latest_rows_are_held_out(n_rows, blocks, holdout):
    splits = split_rows(n_rows, blocks=blocks, holdout=holdout)
    n_held = int(splits.is_holdout.sum())
    assert n_held == n_rows - round(n_rows * (1 - holdout))
    assert splits.is_holdout[-n_held:].all()
    assert not splits.is_holdout[:-n_held].any()
    assert_contiguous(splits.block_of[:-n_held])
    assert splits.search_blocks == tuple(range(blocks))
    assert set(splits.block_of[-n_held:]) == {blocks}
    assert not splits.fleet_judges


@pytest.mark.parametrize(("blocks", "holdout"), [(2, 0.2), (5, 0.2), (5, 0.05), (3, 0.5), (10, 0.85), (2, 0.3)])
def test_too_few_rows_are_refused_and_as_many_as_the_message_asks_for_are_enough(blocks, holdout):
    with pytest.raises(DataError, match=f"12 rows are too few for {blocks} blocks") as refusal:
        split_rows(12, blocks=blocks, holdout=holdout)
    (enough,) = re.findall(r"at least (\d+) rows", str(refusal.value))
    splits = split_rows(int(enough), blocks=blocks, holdout=holdout)
    assert splits.is_holdout.sum() >= 10
    assert min(np.bincount(splits.block_of[~splits.is_holdout])) >= 10


def test_a_block_of_nine_rows_is_refused_and_of_ten_is_not():
    assert split_rows(40, blocks=2, holdout=0.5).search_blocks == (0, 1)
    with pytest.raises(DataError):
        split_rows(38, blocks=2, holdout=0.5)
    with pytest.raises(DataError):
        split_rows(90, blocks=2, holdout=0.1)


def test_few_rows_of_the_fleet_always_train_and_the_files_judge():
    splits = split_rows(100, MIN_FLEET_ROWS - 1)
    assert not splits.fleet_judges
    assert (splits.block_of[100:] == ALWAYS_TRAINS).all()
    assert not splits.is_holdout[100:].any()
    assert splits.is_holdout[80:100].all()
    assert splits.search_blocks == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("n_fleet", "blocks", "made"), [(60, 5, 3), (60, 2, 2), (79, 5, 3), (80, 5, 4), (500, 5, 5), (500, 12, 12)]
)
def test_enough_rows_of_the_fleet_judge_in_blocks_of_at_least_twenty(n_fleet, blocks, made):
    splits = split_rows(100, n_fleet, blocks=blocks)
    assert splits.fleet_judges
    assert not splits.is_holdout.any()
    assert (splits.block_of[:100] == ALWAYS_TRAINS).all()
    assert_contiguous(splits.block_of[100:])
    assert splits.search_blocks == tuple(range(made))
    assert min(np.bincount(splits.block_of[100:])) >= 20


def test_rows_chosen_for_being_hard_make_no_fleet_that_can_judge():
    assert not split_rows(100, 100, hard=range(100, 141)).fleet_judges
    splits = split_rows(100, 100, hard=range(100, 140))
    assert splits.fleet_judges
    assert splits.search_blocks == (0, 1, 2)


def test_every_block_of_the_fleet_has_fair_rows_however_the_hard_ones_lie():
    for hard in (range(100, 300), range(300, 500), range(200, 400), range(101, 500, 2)):
        splits = split_rows(100, 400, hard=hard)
        assert (np.diff(splits.block_of[100:]) >= 0).all()
        is_fair = ~np.isin(np.arange(500), hard) & (np.arange(500) >= 100)
        assert list(np.bincount(splits.block_of[is_fair])) == [40] * 5


def test_where_the_fleet_judges_few_rows_of_the_files_are_no_error():
    assert split_rows(3, 60).fleet_judges


def test_a_split_by_entity_never_has_an_entity_in_two_blocks():
    rng = np.random.default_rng(1)
    for _ in range(200):
        entity = rng.integers(0, rng.integers(2, 12), size=300) ** rng.integers(1, 3)
        entity = np.concatenate([entity, [1000, 1001]])
        splits = split_rows(len(entity), entity=entity, split="entity", blocks=int(rng.integers(2, 7)))
        blocks = splits.search_blocks
        assert blocks == tuple(range(len(blocks)))
        assert len(blocks) >= 2
        assert not splits.is_holdout.any()
        for name in np.unique(entity):
            assert len(set(splits.block_of[entity == name])) == 1


def test_blocks_of_entities_have_about_the_same_number_of_rows():
    entity = np.repeat(np.arange(40), 25)
    splits = split_rows(1000, entity=np.random.default_rng(1).permutation(entity), split="entity", blocks=5)
    assert list(np.bincount(splits.block_of)) == [200] * 5


def test_entities_of_the_fleet_are_unknown_so_its_few_rows_always_train():
    entity = np.concatenate([np.repeat([0, 1], 50), np.full(10, -1)])
    splits = split_rows(100, 10, entity=entity, split="entity", blocks=2)
    assert (splits.block_of[100:] == ALWAYS_TRAINS).all()
    assert splits.search_blocks == (0, 1)


def test_fewer_entities_than_blocks_make_fewer_blocks():
    splits = split_rows(100, entity=np.repeat([0, 1, 2], [50, 30, 20]), split="entity", blocks=5)
    assert splits.search_blocks == (0, 1, 2)


def test_one_entity_cannot_be_split():
    with pytest.raises(DataError, match=r"'training\.split'.*at least two entities"):
        split_rows(100, entity=np.zeros(100), split="entity")


def test_only_kept_rows_have_a_role_and_the_step_can_be_read_again(tmp_path):
    table = draw_table(200)
    is_kept = np.arange(200) % 2 == 0
    outcome = prepare_splits(table, is_kept, TrainingSection(blocks=2), tmp_path)
    assert list(outcome.value.index) == list(range(0, 200, 2))
    assert outcome.metrics == {"judged_rows": 20.0}
    assert ("judged by", "the latest 20 rows") in outcome.facts
    loaded = load_splits(tmp_path)
    for name in ("index", "block_of", "is_holdout"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(outcome.value, name))
    assert loaded.fleet_judges is False


def test_a_step_says_who_judges(tmp_path):
    fleet = prepare_splits(draw_table(100, n_fleet=60), np.ones(100, dtype=bool), TrainingSection(), tmp_path)
    assert ("judged by", "60 rows of the fleet") in fleet.facts
    assert load_splits(tmp_path).fleet_judges is True
    table = make_table(np.zeros((90, 2)), np.arange(90) % 2, entity=np.repeat([0, 1, 2], 30))
    by_entity = prepare_splits(table, np.ones(90, dtype=bool), TrainingSection(split="entity"), tmp_path)
    assert ("judged by", "90 rows of entities not trained on") in by_entity.facts


def rows_that_judge(n_own, n_judge, n_fleet=0):
    n = n_own + n_judge + n_fleet
    is_fleet = np.arange(n) >= n_own + n_judge
    is_judge = (np.arange(n) >= n_own) & ~is_fleet
    return split(is_fleet, is_fleet, np.full(n, -1), np.arange(n), TrainingSection(blocks=4), is_judge), is_judge


def test_rows_that_are_only_to_judge_are_held_out_and_all_others_train():
    splits, is_judge = rows_that_judge(80, 30)
    assert list(splits.is_holdout) == list(is_judge)
    assert splits.search_blocks == (0, 1, 2, 3)
    assert_contiguous(splits.block_of[:80])


def test_rows_that_are_only_to_judge_never_train_when_the_fleet_judges():
    splits, is_judge = rows_that_judge(80, 30, n_fleet=MIN_FLEET_ROWS)
    assert splits.fleet_judges
    assert list(splits.is_holdout) == list(is_judge)


def test_too_few_rows_beside_those_that_judge_are_refused():
    with pytest.raises(DataError, match="39 rows are too few for 4 blocks"):
        rows_that_judge(39, 30)
