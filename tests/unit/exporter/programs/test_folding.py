import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.programs.ensemble import LEAF, NUMERIC, CategoryTest
from exporter.programs.folding import fold_into_thresholds
from exporter.programs.interpreter import run_program, trace_program
from exporter.programs.planting import Nodes, plant
from exporter.programs.program import (
    Affine,
    Bins,
    Clip,
    Columns,
    Curve,
    Fill,
    Flags,
    Interpolate,
    Join,
    Linear,
    Lookup,
    OneHot,
    Operation,
    Program,
    ProgramBuilder,
    Scale,
    Trees,
)
from exporter.programs.thresholds import reachable_thresholds

N_FEATURES = 3
CATEGORIES = {2: 7}
SPECIAL = [0.0, -0.0, 1e-45, -1e-45, 1.0, -1.0, -999.0, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan]


def numbers(width: int, low=-5.0, high=5.0):
    number = st.floats(low, high, allow_nan=False, width=32)
    return st.lists(number, min_size=width, max_size=width).map(lambda found: np.array(found, dtype=np.float64))


@st.composite
def step(draw, builder: ProgramBuilder, place: int) -> int:  # noqa: PLR0911 - one line an operation
    """Add one operation of any kind behind a vector."""
    width = builder.width(place)
    markers = st.sampled_from([float("nan"), -999.0, 0.0, 1.0])
    positive = numbers(width, 0.125, 4.0)
    kind = draw(st.integers(0, 10))
    if kind in (6, 7) and width > 1:
        taken = builder.add(Columns(place, (draw(st.integers(0, width - 1)),)))
        keys = tuple(draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, 5.0, float("nan")]), min_size=1, unique_by=str)))
        if kind == 6:
            coded = builder.add(OneHot(taken, tuple((key,) for key in keys)))
        else:
            values = tuple(draw(numbers(len(keys))).tolist())
            coded = builder.add(Lookup(taken, keys, values, draw(st.sampled_from([-1.0, float("nan")]))))
        return builder.add(Join((place, coded)))
    edges = st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=4, unique=True).map(lambda x: tuple(sorted(x)))
    match kind:
        case 0:
            return builder.add(Scale(place, draw(numbers(width)), draw(positive) * draw(st.sampled_from([1, -1]))))
        case 1:
            return builder.add(Affine(place, draw(positive) * draw(st.sampled_from([1, -1])), draw(numbers(width))))
        case 2:
            low = draw(numbers(width))
            return builder.add(Clip(place, low, low + draw(positive)))
        case 3 | 8:
            return builder.add(Fill(place, draw(markers), draw(numbers(width))))
        case 4:
            curves = ["relu", "tanh", "logistic", "exp", "log", "sqrt", "square", "abs", "reciprocal"]
            curves += ["log1p", "expm1"]
            return builder.add(Curve(place, draw(st.sampled_from(curves))))
        case 5:
            return builder.add(Bins(place, tuple(draw(edges) for _ in range(width))))
        case 9:
            return builder.add(Join((place, builder.add(Flags(place, draw(markers))))))
        case _:
            knots = [np.array(draw(edges)) for _ in range(width)]
            return builder.add(Interpolate(place, tuple(knots), tuple(np.sort(draw(numbers(len(xs)))) for xs in knots)))


def random_trees(rng: np.random.Generator, samples: np.ndarray, depth: int = 4, n_trees: int = 3):
    """Return trees over the columns of ``samples``, whose thresholds are numbers of them or near."""
    parts: dict[str, list[float]] = {"feature": [], "threshold": [], "left": [], "right": [], "category": []}
    tests = (CategoryTest(frozenset({0, 2, 5}), frozenset({1}), other_left=False),)

    def grow(level: int) -> int:
        place = len(parts["feature"])
        column = int(rng.integers(samples.shape[1]))
        is_leaf = level == 0 or rng.random() < 0.1
        pool = samples[np.isfinite(samples[:, column]), column]
        threshold = rng.choice(pool) if len(pool) else np.float32(0)
        toward = np.float32([-np.inf, np.inf, threshold][rng.integers(3)])
        for name, value in (
            ("feature", LEAF if is_leaf else column),
            ("threshold", np.nextafter(threshold, toward)),
            ("category", 0 if rng.random() < 0.1 else NUMERIC),
            ("left", 0),
            ("right", 0),
        ):
            parts[name].append(value)
        if not is_leaf:
            parts["left"][place] = grow(level - 1)
            parts["right"][place] = grow(level - 1)
        return place

    roots = [grow(depth) for _ in range(n_trees)]
    n = len(parts["feature"])
    nodes = Nodes(
        np.array(roots),
        np.array(parts["feature"]),
        np.array(parts["threshold"], dtype=np.float32),
        np.array(parts["left"]),
        np.array(parts["right"]),
        rng.random(n) < 0.5,
        np.array(parts["category"]),
        rng.integers(0, 1 << 20, size=(n, 1)).astype(np.float64),
        tests,
    )
    return plant(nodes, samples.shape[1], np.zeros(1))


def sample_rows(rng: np.random.Generator, n: int) -> np.ndarray:
    rows = rng.normal(scale=3, size=(n, N_FEATURES)).astype(np.float32)
    special = rng.random(rows.shape) < 0.3
    rows[special] = rng.choice(np.array(SPECIAL, dtype=np.float32), size=int(special.sum()))
    small = rng.random(rows.shape) < 0.2
    rows[small] = rng.integers(0, 6, size=int(small.sum()))
    rows[:, 2] = rng.integers(0, CATEGORIES[2], size=n)
    rows[rng.random(n) < 0.1, 2] = np.nan
    return rows


def rows_around(program: Program, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    made = [rows]
    for feature, thresholds in enumerate(reachable_thresholds(program)):
        if feature in CATEGORIES:
            continue
        with np.errstate(over="ignore"):
            below, above = (np.nextafter(thresholds, np.float32(to)) for to in (-np.inf, np.inf))
        for values in (thresholds, below, above):
            copies = rows[rng.integers(len(rows), size=len(values))].copy()
            copies[:, feature] = values
            made.append(copies)
    return np.concatenate(made)


def bits(program: Program, rows: np.ndarray) -> np.ndarray:
    return run_program(program, rows).view(np.int32)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(0, 2**32 - 1))
def test_folding_changes_no_bit_of_any_answer(data, seed):
    rng = np.random.default_rng(seed)
    builder = ProgramBuilder(N_FEATURES)
    place = 0
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(step(builder, place))
    rows = sample_rows(rng, 200)
    samples = trace_program(builder.build(place), rows)[-1]
    program = builder.build(builder.add(Trees(place, random_trees(rng, samples))))
    folded = fold_into_thresholds(program, CATEGORIES)
    rows = rows_around(folded, rows, rng)
    assert np.array_equal(bits(program, rows), bits(folded, rows))


def stump(column: int, threshold: float, width: int, *, missing_left: bool = False):
    """Return one tree of one question: 1 on the left, 2 on the right."""
    return forest([(column, threshold, missing_left)], width)


def forest(questions: list[tuple[int, float, bool]], width: int):
    n = len(questions)
    nodes = Nodes(
        roots=np.arange(0, 3 * n, 3),
        feature=np.array([column for question in questions for column in (question[0], LEAF, LEAF)]),
        threshold=np.repeat(np.array([question[1] for question in questions], dtype=np.float32), 3),
        left=np.arange(3 * n) + 1,
        right=np.arange(3 * n) + 2,
        missing_left=np.repeat(np.array([question[2] for question in questions]), 3),
        category=np.full(3 * n, NUMERIC),
        values=np.tile([[0.0], [1.0], [2.0]], (n, 1)),
    )
    return plant(nodes, width, np.zeros(1))


def kinds(program: Program) -> list[str]:
    return [type(node.operation).__name__ for node in program.nodes]


def one_column(*operations) -> ProgramBuilder:
    builder = ProgramBuilder(1)
    for operation in operations:
        builder.add(operation)
    return builder


ONE, TWO = np.array([1.0]), np.array([2.0])
CHAINS: dict[str, list[Operation]] = {
    "rising scale": [Scale(0, ONE, TWO)],
    "falling scale": [Scale(0, ONE, -TWO)],
    "falling affine": [Affine(0, -TWO, ONE)],
    "clip": [Clip(0, -TWO, TWO)],
    "imputed": [Fill(0, np.nan, ONE)],
    "imputed, then scaled": [Fill(0, np.nan, ONE), Scale(1, ONE, -TWO)],
    "relu": [Curve(0, "relu")],
    "tanh": [Curve(0, "tanh")],
    "logistic": [Curve(0, "logistic")],
    "exp": [Curve(0, "exp")],
    "log": [Curve(0, "log")],
    "sqrt": [Curve(0, "sqrt")],
    "bins": [Bins(0, ((-1.0, 0.0, 3.0),))],
    "isotonic": [Interpolate(0, (np.array([-1.0, 0.5, 3.0]),), (np.array([-2.0, 0.0, 0.9]),))],
    "missing or not": [Flags(0, np.nan)],
}


@pytest.mark.parametrize("threshold", [-1e30, -1.0, 0.0, 0.3, 0.5, 1.0, 1e30])
@pytest.mark.parametrize("chain", CHAINS)
def test_what_rises_or_falls_leaves_only_trees_that_look_at_the_row(chain, threshold):
    missing_left = chain in ("log", "sqrt")  # what is not defined left of zero joins the left side
    builder = one_column(*CHAINS[chain])
    place = len(CHAINS[chain])
    program = builder.build(builder.add(Trees(place, stump(0, threshold, 1, missing_left=missing_left))))
    folded = fold_into_thresholds(program)
    assert kinds(folded) == ["Row", "Trees"]
    rows = np.concatenate([np.linspace(-6, 6, 4001), SPECIAL, [1e38, -1e38]]).astype(np.float32)[:, np.newaxis]
    rows = rows_around(folded, rows, np.random.default_rng(0))
    assert np.array_equal(bits(program, rows), bits(folded, rows))


def test_a_factor_of_zero_is_left_alone_for_it_makes_no_number_of_infinity():
    builder = one_column(Affine(0, np.zeros(1), ONE))
    program = builder.build(builder.add(Trees(1, stump(0, 5.0, 1))))
    folded = fold_into_thresholds(program)
    rows = np.array([[1], [np.inf], [np.nan]], dtype=np.float32)
    assert run_program(folded, rows).tolist() == [[1], [2], [2]]


def test_a_mark_for_missing_between_the_numbers_keeps_its_column_only_where_it_must():
    builder = one_column(Fill(0, -999.0, TWO))
    # Left of the mark nothing changes; at 0, -999 must go right while its neighbours go left.
    program = builder.build(builder.add(Trees(1, forest([(0, 3.0, False), (0, 0.0, False)], 1))))
    folded = fold_into_thresholds(program)
    assert kinds(folded) == ["Row", "Fill", "Join", "Trees"]
    assert [len(found) for found in reachable_thresholds(folded)] == [1]
    rows = np.array([[-1000], [-999], [-998], [0], [1], [4]], dtype=np.float32)
    assert np.array_equal(bits(program, rows), bits(folded, rows))


def test_a_scaler_behind_mixed_columns_is_folded_onto_them():
    builder = ProgramBuilder(2)
    mixed = builder.add(Linear(0, np.array([[1.0, 1.0], [1.0, -1.0]]), np.zeros(2)))
    scaled = builder.add(Scale(mixed, np.array([0.1, 0.2]), np.array([3.0, 7.0])))
    program = builder.build(builder.add(Trees(scaled, forest([(0, 0.3, False), (1, 0.1, True)], 2))))
    folded = fold_into_thresholds(program)
    assert kinds(folded) == ["Row", "Linear", "Trees"]
    rows = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    assert np.array_equal(bits(program, rows), bits(folded, rows))


def test_row_and_computed_columns_stand_side_by_side():
    builder = ProgramBuilder(2)
    mixed = builder.add(Linear(0, np.array([[1.0, 1.0], [1.0, -1.0]]), np.zeros(2)))
    both = builder.add(Join((builder.add(Scale(0, np.zeros(2), np.full(2, 3.0))), mixed)))
    program = builder.build(builder.add(Trees(both, forest([(1, 0.3, False), (3, 0.1, True)], 4))))
    folded = fold_into_thresholds(program)
    assert kinds(folded) == ["Row", "Linear", "Columns", "Join", "Trees"]
    rows = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    assert np.array_equal(bits(program, rows), bits(folded, rows))


@pytest.mark.parametrize("n_categories", [1, 2, 7, 300])
def test_one_hot_categories_become_questions_about_the_category(n_categories):
    builder = ProgramBuilder(1)
    groups = (*((float(i),) for i in range(n_categories)), (float("nan"),), (0.0, 2.0, 5.0))
    coded = builder.add(OneHot(0, groups))
    questions = [(i, 0.5, False) for i in range(len(groups))]
    program = builder.build(builder.add(Trees(coded, forest(questions, len(groups)))))
    folded = fold_into_thresholds(program, {0: n_categories})
    assert kinds(folded) == ["Row", "Trees"]
    rows = np.r_[np.arange(n_categories), np.nan].astype(np.float32)[:, np.newaxis]
    assert np.array_equal(bits(program, rows), bits(folded, rows))


def test_numbers_that_are_no_declared_categories_keep_their_one_hot_columns():
    builder = ProgramBuilder(1)
    coded = builder.add(OneHot(0, ((2.0,),)))
    program = builder.build(builder.add(Trees(coded, stump(0, 0.5, 1))))
    folded = fold_into_thresholds(program)
    rows = np.array([[1.5], [2.0], [2.5], [np.nan]], dtype=np.float32)
    assert np.array_equal(bits(program, rows), bits(folded, rows))


def test_each_ensemble_is_folded_by_its_own_chain():
    builder = ProgramBuilder(1)
    first = builder.add(Trees(builder.add(Scale(0, ONE, TWO)), stump(0, 0.25, 1)))
    second = builder.add(Trees(builder.add(Scale(0, ONE, -TWO)), stump(0, 0.25, 1)))
    program = builder.build(builder.add(Join((first, second))))
    folded = fold_into_thresholds(program)
    assert kinds(folded) == ["Row", "Trees", "Trees", "Join"]
    rows = np.linspace(-2, 2, 999, dtype=np.float32)[:, np.newaxis]
    assert np.array_equal(bits(program, rows), bits(folded, rows))
