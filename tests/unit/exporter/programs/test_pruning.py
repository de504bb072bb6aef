import numpy as np
import pytest

from exporter.programs.ensemble import LEAF, NUMERIC, CategoryTest, TreeEnsemble
from exporter.programs.planting import Nodes, nodes_of, plant
from exporter.programs.pruning import without_dead_nodes


def tree(*nodes, tests=()) -> Nodes:
    """Return one tree of (column, threshold, left, right, missing left) or (leaf value,), category tests by index."""
    rows = [node if len(node) > 1 else (LEAF, 0.0, 0, 0, False) for node in nodes]
    is_category = [isinstance(row[1], int) for row in rows]
    return Nodes(
        np.zeros(1, dtype=np.int64),
        np.array([row[0] for row in rows]),
        np.array([row[1] for row in rows], dtype=np.float32),
        np.array([row[2] for row in rows]),
        np.array([row[3] for row in rows]),
        np.array([row[4] for row in rows]),
        np.array([row[1] if chosen else NUMERIC for row, chosen in zip(rows, is_category, strict=True)]),
        np.array([[node[0] if len(node) == 1 else 0.0] for node in nodes], dtype=np.float64),
        tests,
    )


def pruned(nodes: Nodes) -> TreeEnsemble:
    return plant(without_dead_nodes(nodes), 2, np.zeros(1))


ROWS = np.array([[x, y] for x in (-1, 0, 1, 2, 3, np.nan) for y in (0, 1, np.nan)], dtype=np.float32)


def assert_same_answers(nodes: Nodes, n_nodes: int) -> None:
    after = pruned(nodes)
    assert np.array_equal(plant(nodes, 2, np.zeros(1)).score(ROWS), after.score(ROWS))
    assert len(after.feature) == n_nodes


def test_a_branch_that_no_number_reaches_is_dropped():
    # Below x <= 1 on its left, x <= 1 and x <= 2 send everything left; NaN went right before.
    for threshold in (1.0, 2.0):
        nodes = tree((0, 1.0, 1, 2, False), (0, threshold, 3, 4, False), (7.0,), (8.0,), (9.0,))
        assert_same_answers(nodes, 3)


def test_a_branch_that_the_smallest_step_reaches_stays():
    below = np.nextafter(np.float32(1), np.float32(0))
    nodes = tree((0, 1.0, 1, 2, False), (0, float(below), 3, 4, False), (7.0,), (8.0,), (9.0,))
    assert len(pruned(nodes).feature) == 5
    mirrored = tree((0, float(below), 1, 2, False), (7.0,), (0, 1.0, 3, 4, True), (8.0,), (9.0,))
    assert len(pruned(mirrored).feature) == 5


def test_a_branch_that_only_missing_values_reach_stays():
    nodes = tree((0, 1.0, 1, 2, True), (0, 1.0, 3, 4, False), (7.0,), (8.0,), (9.0,))
    assert_same_answers(nodes, 5)
    # The same, but missing values go with the others.
    assert_same_answers(tree((0, 1.0, 1, 2, True), (0, 1.0, 3, 4, True), (7.0,), (8.0,), (9.0,)), 3)


def test_what_lies_right_of_a_threshold_is_not_asked_about_it_again():
    nodes = tree((0, 1.0, 1, 2, True), (7.0,), (0, 0.0, 3, 4, False), (8.0,), (9.0,))
    assert_same_answers(nodes, 3)


def test_another_column_in_between_does_not_hide_what_is_known():
    nodes = tree((0, 1.0, 1, 2, False), (1, 0.5, 3, 4, False), (7.0,), (0, 1.0, 5, 6, False), (8.0,), (1.0,), (2.0,))
    assert_same_answers(nodes, 5)


def test_a_question_between_equal_subtrees_is_not_asked():
    leaves = tree((0, 1.0, 1, 2, False), (7.0,), (7.0,))
    assert_same_answers(leaves, 1)
    deeper = tree((0, 1.0, 1, 2, False), (1, 0.5, 3, 4, True), (1, 0.5, 5, 6, True), (7.0,), (8.0,), (7.0,), (8.0,))
    assert_same_answers(deeper, 3)


def test_subtrees_that_treat_missing_values_differently_are_not_equal():
    nodes = tree((0, 1.0, 1, 2, False), (1, 0.5, 3, 4, True), (1, 0.5, 5, 6, False), (7.0,), (8.0,), (7.0,), (8.0,))
    assert_same_answers(nodes, 7)


def test_a_question_about_a_category_says_nothing_about_thresholds():
    test = CategoryTest(frozenset({0, 2}), frozenset({1, 3}), other_left=True)
    nodes = tree((0, 0, 1, 2, False), (0, 1.0, 3, 4, False), (7.0,), (8.0,), (9.0,), tests=(test,))
    assert_same_answers(nodes, 5)


def test_the_sign_of_a_zero_is_no_difference():
    ensemble = pruned(tree((0, 1.0, 1, 2, False), (0.0,), (-0.0,)))
    assert len(ensemble.feature) == len(ensemble.leaves) == 1
    assert not np.signbit(ensemble.leaves).any()


def test_planting_again_changes_nothing():
    ensemble = pruned(tree((0, 1.0, 1, 2, False), (1, 0.5, 3, 4, True), (7.0,), (8.0,), (9.0,)))
    again = plant(without_dead_nodes(nodes_of(ensemble)), 2, np.zeros(1))
    for name in ("roots", "feature", "threshold", "left", "right", "missing_left", "category", "leaf", "leaves"):
        assert np.array_equal(getattr(ensemble, name), getattr(again, name))


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        (((0, 1.0, 0, 1, False), (7.0,)), "two parents"),
        (((0, 1.0, 1, 1, False), (7.0,)), "two parents"),
        (((0, 1.0, 1, 5, False), (7.0,)), "a child outside"),
        (((0, 1.0, 1, -1, False), (7.0,)), "a child outside"),
    ],
)
def test_nodes_that_make_no_tree_are_refused(nodes, problem):
    with pytest.raises(ValueError, match=problem):
        plant(tree(*nodes), 2, np.zeros(1))
