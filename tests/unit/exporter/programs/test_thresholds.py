import numpy as np

from exporter.programs.ensemble import NUMERIC, CategoryTest
from exporter.programs.float32 import ordinals_of
from exporter.programs.planting import Nodes, plant
from exporter.programs.program import Columns, Join, Program, ProgramBuilder, Scale, Trees
from exporter.programs.thresholds import reachable_thresholds, threshold_rows

ROWS = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)


def stump(column: int, threshold: float, width: int, test: CategoryTest | None = None):
    nodes = Nodes(
        roots=np.zeros(1, dtype=np.int64),
        feature=np.array([column, -1, -1]),
        threshold=np.array([threshold, 0, 0], dtype=np.float32),
        left=np.array([1, 0, 0]),
        right=np.array([2, 0, 0]),
        missing_left=np.zeros(3, dtype=bool),
        category=np.array([NUMERIC if test is None else 0, NUMERIC, NUMERIC]),
        values=np.array([[0.0], [1.0], [2.0]]),
        tests=() if test is None else (test,),
    )
    return plant(nodes, width, np.zeros(1))


def program_of(*operations) -> Program:
    builder = ProgramBuilder(2)
    place = 0
    for operation in operations:
        place = builder.add(operation)
    return builder.build(place)


def rows_of(program: Program, limit: int = 60, **options) -> np.ndarray:
    return threshold_rows(program, ROWS, np.random.default_rng(0), limit, **options)


def test_rows_lie_on_a_threshold_and_one_number_to_each_side():
    rows = rows_of(program_of(Trees(0, stump(1, 0.25, 2))))
    assert len(rows) == 60
    steps = ordinals_of(rows[:, 1]) - ordinals_of(np.array([0.25], dtype=np.float32))
    assert sorted(set(steps.tolist())) == [-1, 0, 1]
    assert np.isin(rows[:, 0], ROWS[:, 0]).all()


def test_every_node_that_rows_come_past_gets_its_turn_before_the_limit_cuts():
    builder = ProgramBuilder(2)
    places = [builder.add(Trees(0, stump(i % 2, i / 10, 2))) for i in range(10)]
    program = builder.build(builder.add(Join(tuple(places))))
    rows = rows_of(program, limit=90)
    for i in range(10):
        assert (rows[:, i % 2] == np.float32(i / 10)).any()


def test_the_columns_of_a_tree_are_led_back_to_the_row():
    program = program_of(Columns(0, (1, 0)), Trees(1, stump(0, 0.25, 2)))
    assert [len(found) for found in reachable_thresholds(program)] == [0, 1]
    assert (rows_of(program)[:, 1] == 0.25).any()


def test_trees_on_computed_columns_have_no_threshold_that_a_row_can_lie_on():
    program = program_of(Scale(0, np.zeros(2), np.full(2, 3.0)), Trees(1, stump(0, 0.25, 2)))
    assert len(rows_of(program)) == 0
    assert [len(found) for found in reachable_thresholds(program)] == [0, 0]


def test_every_fourth_row_lacks_a_value_that_may_be_missing():
    rows = rows_of(program_of(Trees(0, stump(1, 0.25, 2))), may_miss=frozenset({0}))
    assert np.isnan(rows[3::4, 0]).all()
    assert np.isnan(rows).sum() == 15


def test_categories_stay_whole_numbers():
    rows = rows_of(program_of(Trees(0, stump(1, 1.0, 2))), categories={1: 4})
    assert set(rows[:, 1].tolist()) == {1.0, 2.0}
    test = CategoryTest(frozenset({0, 3}), frozenset({1}), other_left=False)
    rows = rows_of(program_of(Trees(0, stump(1, 0.0, 2, test))), categories={1: 4})
    assert set(rows[:, 1].tolist()) == {0.0, 1.0, 3.0}


def test_rows_are_finite_and_the_same_for_the_same_generator():
    program = program_of(Trees(0, stump(1, float(np.finfo(np.float32).max), 2)))
    assert np.isfinite(rows_of(program)).all()
    assert np.array_equal(rows_of(program), rows_of(program))


def test_no_rows_or_no_limit_gives_no_rows():
    program = program_of(Trees(0, stump(1, 0.25, 2)))
    assert len(threshold_rows(program, ROWS[:0], np.random.default_rng(0), 10)) == 0
    assert len(rows_of(program, limit=0)) == 0


def test_a_node_that_only_asks_whether_a_number_is_missing_is_tried_with_usual_numbers():
    rows = rows_of(program_of(Trees(0, stump(1, np.inf, 2))))
    assert len(rows) > 0
    assert np.abs(rows[:, 1]).max() <= np.abs(ROWS[:, 1]).max() + 2
