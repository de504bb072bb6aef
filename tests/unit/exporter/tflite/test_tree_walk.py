import numpy as np
import pytest

from exporter.programs.ensemble import LEAF, NUMERIC, CategoryTest, TreeEnsemble
from exporter.tflite.tree_storage import exact_storage, small_storage, smallest_integers
from exporter.tflite.tree_walk import lay_out
from tests.unit.exporter.tflite_files import ENSEMBLES


@pytest.mark.parametrize("name", ENSEMBLES)
def test_children_stand_side_by_side_behind_their_parents(name):
    walk = lay_out(ENSEMBLES[name])
    is_branch = walk.leaf < 0
    assert (walk.step[is_branch] > 0).all()
    assert (walk.step[~is_branch] == 0).all()
    children = np.flatnonzero(is_branch) + walk.step[is_branch]
    both = np.concatenate([children, children + 1, walk.roots.reshape(-1), [len(walk.leaf) - 1]])
    assert np.array_equal(np.unique(both), np.arange(len(walk.leaf)))


def test_steps_stay_small_because_trees_stand_one_behind_the_other():
    walk = lay_out(ENSEMBLES["thousands of thresholds"])
    assert len(walk.step) > 10_000
    assert walk.step.max() < 256


def test_the_last_leaf_is_nothing_and_the_others_are_distinct():
    walk = lay_out(ENSEMBLES["votes"])
    assert walk.leaves.tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert walk.leaf[-1] == 3


def one_node(threshold=0.5, *, missing_left=False, test=None) -> TreeEnsemble:
    return TreeEnsemble(
        roots=np.array([0], np.int32),
        outputs=np.array([0], np.int32),
        feature=np.array([0, LEAF, LEAF], np.int32),
        threshold=np.array([threshold, 0, 0], np.float32),
        left=np.array([1, 0, 0], np.int32),
        right=np.array([2, 0, 0], np.int32),
        missing_left=np.array([missing_left, False, False]),
        category=np.array([0 if test else NUMERIC, NUMERIC, NUMERIC], np.int32),
        leaf=np.array([-1, 0, 1], np.int32),
        leaves=np.array([[1.0], [2.0]]),
        tests=(test,) if test else (),
        base=np.zeros(1),
        divisor=1.0,
        n_features=1,
    )


@pytest.mark.parametrize(
    ("trees", "left", "right", "flags"),
    [
        (one_node(missing_left=True), (0,), (), ()),
        (one_node(), (), (0,), ()),
        (one_node(np.inf, missing_left=True), (0,), (), ()),
        (one_node(np.inf), (), (), (0,)),
    ],
)
def test_a_column_is_prepared_for_where_missing_values_go(trees, left, right, flags):
    columns = lay_out(trees).columns
    assert (columns.left, columns.right, columns.flags) == (left, right, flags)


def test_neighbouring_categories_that_go_one_way_are_one_interval():
    test = CategoryTest(frozenset({1, 2, 3}), frozenset({7}), other_left=False)
    (table,) = lay_out(one_node(test=test)).columns.tables
    assert table.boundaries.tolist() == [1.0, 4.0]
    assert table.goes_right.tolist() == [[1], [0], [1], [1]]


def test_categories_far_apart_need_no_table_between_them():
    test = CategoryTest(frozenset({0}), frozenset({1_000_000}), other_left=True)
    (table,) = lay_out(one_node(test=test)).columns.tables
    assert len(table.boundaries) < 5


def test_exact_storage_keeps_thresholds_and_leaves():
    stored = exact_storage(lay_out(one_node(0.1)))
    assert stored.test.tolist() == [np.float32(0.1), 1.0, 2.0, 0.0]
    assert stored.scale is None
    assert stored.error == 0


@pytest.mark.parametrize("name", ENSEMBLES)
def test_small_storage_is_never_larger_and_names_its_error(name):
    walk = lay_out(ENSEMBLES[name])
    exact, small = exact_storage(walk), small_storage(walk)
    assert small.size_bytes <= exact.size_bytes
    if small.scale is not None:
        reach = np.max(np.abs(walk.leaves))
        assert small.error <= walk.roots.shape[1] * reach / 65534 * 1.01


def test_few_thresholds_become_ranks_in_one_byte():
    small = small_storage(lay_out(ENSEMBLES["votes"]))
    assert small.test.dtype == np.int8
    assert small.boundaries is not None
    assert len(small.boundaries) <= 127


def test_many_thresholds_become_ranks_in_two_bytes():
    small = small_storage(lay_out(ENSEMBLES["thousands of thresholds"]))
    assert small.test.dtype == np.int16


@pytest.mark.parametrize(
    ("greatest", "dtype"), [(255, np.uint8), (256, np.int16), (32767, np.int16), (32768, np.int32)]
)
def test_tables_lie_in_the_smallest_integers_that_hold_them(greatest, dtype):
    stored = smallest_integers(np.array([0, greatest]))
    assert stored.dtype == dtype
    assert stored[1] == greatest
