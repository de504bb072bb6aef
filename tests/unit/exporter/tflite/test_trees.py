from dataclasses import replace

import numpy as np
import pytest

from exporter.programs.interpreter import run_program
from exporter.programs.program import Trees
from exporter.tflite.int8 import plan_int8
from exporter.tflite.tree_walk import lay_out
from tests.unit.exporter.ensembles import random_ensemble, rows_on_thresholds
from tests.unit.exporter.tflite.test_tree_walk import one_node
from tests.unit.exporter.tflite_files import (
    ENSEMBLES,
    alone,
    answer,
    assert_close,
    float_file,
    operators_of,
    small_file,
)

ROWS = rows_on_thresholds(2, 1000)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_small_trees_take_the_same_paths_and_round_leaves_as_little_as_they_say(name, tmp_path):
    program = alone(Trees(0, ENSEMBLES[name]), 5)
    data = small_file(program, ROWS)
    expected = run_program(program, ROWS)
    got = answer(data, ROWS, program.n_outputs, tmp_path)
    # One row on another path would differ by a leaf: by a hundredth of the answers at least.
    assert_close(got, expected, 5e-4)


@pytest.mark.parametrize("write", [float_file, lambda program: small_file(program, ROWS)])
def test_votes_are_shared_out_exactly_so_that_ties_stay_ties(write, tmp_path):
    program = alone(Trees(0, ENSEMBLES["votes"]), 5)
    expected = run_program(program, ROWS)
    got = answer(write(program), ROWS, 3, tmp_path)
    ties = np.sort(expected, axis=1)[:, -1] == np.sort(expected, axis=1)[:, -2]
    assert ties.sum() > 20
    assert np.array_equal(got.argmax(axis=1), expected.argmax(axis=1))


@pytest.mark.parametrize(
    "trees",
    [
        one_node(np.inf),
        one_node(np.inf, missing_left=True),
        one_node(np.finfo(np.float32).max),
        one_node(-np.inf, missing_left=True),
        one_node(0.0),
        one_node(-0.0, missing_left=True),
    ],
)
@pytest.mark.parametrize("write", [float_file, lambda program: small_file(program, ROWS)])
def test_thresholds_at_the_ends_of_float32_decide_as_they_should(trees, write, tmp_path):
    program = alone(Trees(0, trees), 1)
    greatest = np.finfo(np.float32).max
    rows = np.array([[np.nan], [np.inf], [-np.inf], [greatest], [-greatest], [0.0], [-0.0], [1e-30]], np.float32)
    assert np.array_equal(answer(write(program), rows, 1, tmp_path), run_program(program, rows))


def test_hundreds_of_features_and_steps_above_a_byte_are_right(tmp_path):
    deep = random_ensemble(10, 2, lambda rng: rng.normal(size=1), depths=(14,))
    wide = replace(deep, feature=np.where(deep.feature == 0, 299, deep.feature).astype(np.int32), n_features=300)
    assert lay_out(wide).step.max() > 255
    rows = np.zeros((200, 300), np.float32)
    rows[:, [299, 1, 2, 3, 4]] = rows_on_thresholds(3, 200)
    program = alone(Trees(0, wide), 300)
    for data in (float_file(program), small_file(program, rows)):
        assert_close(answer(data, rows, 1, tmp_path), run_program(program, rows), 1e-4)


def test_a_node_costs_a_few_bytes():
    ensemble = ENSEMBLES["thousands of thresholds"]
    program = alone(Trees(0, ensemble), 5)
    exact, small = (len(data) / len(ensemble.feature) for data in (float_file(program), small_file(program, ROWS)))
    assert exact < 7
    assert small < 5


def test_a_level_is_nine_operators_whatever_the_number_of_trees():
    counts = [operators_of(float_file(alone(Trees(0, ENSEMBLES[n]), 5))) for n in ("votes", "hundreds of trees")]
    assert counts[0]["GREATER"] == counts[1]["GREATER"] == 5


def test_rounded_leaves_change_an_answer_by_no_more_than_the_plan_says(tmp_path):
    ensemble = ENSEMBLES["thousands of thresholds"]
    program = alone(Trees(0, ensemble), 5)
    expected = run_program(program, ROWS)
    (special,) = plan_int8(program, ROWS).values()
    assert special.error is not None
    difference = np.max(np.abs(answer(small_file(program, ROWS), ROWS, 1, tmp_path) - expected))
    assert 0 < difference <= special.error < 0.05
