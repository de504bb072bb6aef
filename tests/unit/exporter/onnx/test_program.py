import numpy as np
import onnx
import onnxruntime as ort
import pytest

from exporter.onnx.operations import WRITERS
from exporter.onnx.program import write_program
from exporter.programs.interpreter import run_program
from exporter.programs.program import (
    Affine,
    ArgMax,
    Average,
    Bins,
    Clip,
    Columns,
    Complement,
    Coupling,
    Curve,
    Fill,
    Flags,
    Interpolate,
    Join,
    Kernel,
    Linear,
    Lookup,
    Normalise,
    OneHot,
    OvrOfOvo,
    Product,
    ProgramBuilder,
    Proportions,
    Scale,
    Softmax,
    Trees,
)
from tests.unit.exporter.ensembles import random_ensemble, rows_on_thresholds

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(60, 4)).astype(np.float32) * 10
HOLES = np.where(RNG.random(NUMBERS.shape) < 0.2, np.nan, NUMBERS).astype(np.float32)
ODD = np.vstack([HOLES, np.array([[np.inf], [-np.inf], [0.0], [-0.0]], np.float32) * np.ones(4, np.float32)])
CODES = RNG.choice(np.array([-1, 0, 1, 2, 3, 4, 1.5, np.nan], np.float32), size=(60, 1))
SMALL, SHARES = (NUMBERS / 8).astype(np.float32), np.abs(NUMBERS) * (np.arange(60) % 5 > 0)[:, np.newaxis]
PAIRS = np.vstack([RNG.random((60, 6)), np.zeros(6), np.ones(6), np.full(6, 0.5)]).astype(np.float32)
MEANS, SCALES = RNG.normal(size=4), RNG.random(4) + 0.1
CENTRES = RNG.normal(size=(6, 4))
KNOTS = tuple(np.array(xs) for xs in ([-3.0, 0.1, 4.0], [0.0], [-1.0, 1.0], [-9.0, -2.0, 0.0, 0.5, 7.0]))
HEIGHTS = tuple(np.array(ys) for ys in ([0.0, 0.5, 1.0], [0.3], [2.0, 1.0], [0.0, 0.1, 0.3, 0.35, 1.0]))

# Name: (operation, rows, greatest difference relative to the greatest number).
CASES = {
    "columns, one twice": (Columns(0, (2, 0, 2)), ODD, 0.0),
    "all columns": (Columns(0, (0, 1, 2, 3)), ODD, 0.0),
    "joined": (Join((0, 0)), ODD, 0.0),
    "missing filled": (Fill(0, np.nan, MEANS), ODD, 0.0),
    "zeros filled": (Fill(0, 0.0, MEANS), ODD, 0.0),
    "missing flagged": (Flags(0, np.nan), ODD, 0.0),
    "zeros flagged": (Flags(0, 0.0), ODD, 0.0),
    "scaled by numbers that float32 has not": (Scale(0, MEANS, SCALES), ODD, 0.0),
    "scaled by numbers that float32 has": (Scale(0, np.full(4, 0.5), np.full(4, 3.0)), ODD, 0.0),
    "scaled by nothing": (Scale(0, np.zeros(4), np.ones(4)), ODD, 0.0),
    "affine": (Affine(0, SCALES, MEANS), ODD, 0.0),
    "clipped": (Clip(0, np.array([-5, -np.inf, -1, -2.1]), np.array([5, 1, np.inf, 2.0])), ODD, 0.0),
    "relu": (Curve(0, "relu"), HOLES, 0.0),
    "tanh": (Curve(0, "tanh"), SMALL, 1e-6),
    "logistic": (Curve(0, "logistic"), HOLES, 1e-6),
    "exp": (Curve(0, "exp"), SMALL, 1e-6),
    "log": (Curve(0, "log"), HOLES, 1e-6),
    "sqrt": (Curve(0, "sqrt"), HOLES, 1e-6),
    "square": (Curve(0, "square"), HOLES, 1e-6),
    "abs": (Curve(0, "abs"), HOLES, 0.0),
    "reciprocal": (Curve(0, "reciprocal"), HOLES, 1e-6),
    "log1p": (Curve(0, "log1p"), HOLES, 1e-6),
    "expm1": (Curve(0, "expm1"), SMALL, 1e-6),
    "one-hot": (OneHot(0, ((0.0,), (1.0,), (2.0,))), CODES, 0.0),
    "one-hot of groups with missing": (OneHot(0, ((0.0, 4.0), (1.0, np.nan), (2.0,))), CODES, 0.0),
    "looked up": (Lookup(0, (0.0, 1.0, np.nan, 1.5), (3.3, 4.4, 5.5, np.inf), -1.0), CODES, 0.0),
    "looked up, keys that are one in float32": (Lookup(0, (1.0, 1.0 + 1e-12), (3.0, 4.0), 0.0), CODES, 0.0),
    "looked up in nothing": (Lookup(0, (), (), -1.0), CODES, 0.0),
    "bins": (Bins(0, ((0.0, 1.0, 2.0), (), (5.0,), (-3.0, 7.0))), ODD, 0.0),
    "no bins": (Bins(0, ((), (), (), ())), ODD, 0.0),
    "linear": (Linear(0, CENTRES.T, MEANS.repeat(2)[:6]), NUMBERS, 1e-6),
    "linear without bias": (Linear(0, CENTRES.T, np.zeros(6)), NUMBERS, 1e-6),
    "linear kernel": (Kernel(0, CENTRES, "linear", 0.1, 0.0, 3), SMALL, 1e-6),
    "rbf kernel": (Kernel(0, CENTRES, "rbf", 0.1, 0.0, 3), SMALL, 1e-6),
    "rbf kernel far from zero": (Kernel(0, CENTRES + 1000, "rbf", 0.1, 0.0, 3), SMALL + np.float32(1000), 1e-6),
    "poly kernel": (Kernel(0, CENTRES, "poly", 0.1, 0.5, 3), SMALL, 1e-6),
    "sigmoid kernel": (Kernel(0, CENTRES, "sigmoid", 0.1, 0.5, 3), SMALL, 1e-6),
    "softmax": (Softmax(0), NUMBERS, 1e-6),
    "complement": (Complement(0), CODES, 0.0),
    "proportions": (Proportions(0), SHARES, 1e-6),
    "average": (Average((0, 0), (0.25, 0.7)), NUMBERS, 1e-6),
    "product": (Product((0, 0)), NUMBERS, 0.0),
    "l1 norm": (Normalise(0, "l1"), SHARES, 1e-6),
    "l2 norm": (Normalise(0, "l2"), SHARES, 1e-6),
    "max norm": (Normalise(0, "max"), SHARES, 1e-6),
    "interpolated": (Interpolate(0, KNOTS, HEIGHTS), ODD, 1e-7),
    "greatest": (ArgMax(0), np.round(NUMBERS / 10), 0.0),
    "votes of pairs": (OvrOfOvo(0, 4), np.hstack([NUMBERS, NUMBERS[:, :2]]), 1e-7),
    "coupled pairs": (Coupling(0, 4), PAIRS, 1e-6),
}


def answer(program, rows):
    proto = write_program(program)
    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(["outputs"], {"rows": rows})
    return got


def program_of(operation, n_features):
    builder = ProgramBuilder(n_features)
    return builder.build(builder.add(operation))


@pytest.mark.parametrize("case", CASES)
def test_an_operation_answers_as_it_is_meant(case):
    operation, rows, tolerance = CASES[case]
    program = program_of(operation, rows.shape[1])
    expected, got = run_program(program, rows.astype(np.float32)), answer(program, rows.astype(np.float32))
    assert got.dtype == np.float32
    assert got.shape == expected.shape
    if tolerance == 0:
        assert np.array_equal(got, expected, equal_nan=True)
    else:
        size = np.nanmax(np.abs(expected[np.isfinite(expected)]))
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * size)


def test_every_operation_is_tried():
    assert {type(operation) for operation, _, _ in CASES.values()} | {Trees} == set(WRITERS)


def test_what_decides_is_computed_as_the_library_does():
    # In float32 the sum of these products is 0 or 1 by chance; in float64 it is 0.5, and above the threshold.
    builder = ProgramBuilder(3)
    total = builder.add(Linear(0, np.array([[1e9], [1.0], [-1e9]]), np.zeros(1)))
    program = builder.build(builder.add(Bins(total, ((0.5,),))))
    rows = np.array([[1, 0.5, 1], [1, 0.25, 1]], np.float32)
    assert answer(program, rows).tolist() == [[1.0], [0.0]]


def pure(rng):
    return np.eye(3)[rng.integers(3)]


def shares(rng):
    first = rng.random()
    return np.array([1 - first, first])


def one(rng):
    return rng.normal(size=1)


def three(rng):
    return rng.normal(size=3)


ENSEMBLES = {
    "boosting of three outputs": lambda: random_ensemble(1, 30, one, n_outputs=3),
    "a mean of pure leaves": lambda: random_ensemble(
        2, 30, pure, n_outputs=3, all_outputs=True, divisor=30, has_base=False
    ),
    "a mean of pairs": lambda: random_ensemble(
        3, 30, shares, n_outputs=2, all_outputs=True, divisor=30, has_base=False
    ),
    "leaves of many numbers": lambda: random_ensemble(4, 30, three, n_outputs=3, all_outputs=True, divisor=7),
    "trees that are one leaf among others": lambda: random_ensemble(5, 30, one, depths=(0, 5, 1, 2)),
    "one leaf": lambda: random_ensemble(6, 1, one, depths=(0,)),
    "leaves of many numbers, some trees one leaf": lambda: random_ensemble(
        7, 30, three, n_outputs=3, all_outputs=True, depths=(0, 1, 4)
    ),
    "categories": lambda: random_ensemble(8, 30, one, n_outputs=3, categories=(0,)),
    "categories and leaves of many numbers": lambda: random_ensemble(
        9, 30, three, n_outputs=3, all_outputs=True, categories=(0, 2)
    ),
}


@pytest.mark.parametrize("name", ENSEMBLES)
@pytest.mark.parametrize("decides", [False, True])
def test_trees_answer_as_they_are_meant(name, decides):
    ensemble, rows = ENSEMBLES[name](), rows_on_thresholds(1)
    builder = ProgramBuilder(5)
    place = builder.add(Trees(0, ensemble))
    program = builder.build(builder.add(ArgMax(place)) if decides else place)
    expected, got = run_program(program, rows), answer(program, rows)
    np.testing.assert_allclose(got, expected, rtol=0, atol=0.0 if decides else 2e-6)


def test_both_sides_of_a_root_have_different_numbers():
    """ONNX Runtime up to 1.23 takes equal ones for a tree that is one leaf, whatever they number."""
    for seed in range(20):
        ensemble = random_ensemble(seed, 20, one, depths=(0, 1, 2, 6))
        (node,) = (
            n for n in write_program(program_of(Trees(0, ensemble), 5)).graph.node if n.op_type == "TreeEnsemble"
        )
        parts = {attribute.name: list(attribute.ints) for attribute in node.attribute}
        for root in parts["tree_roots"]:
            assert parts["nodes_truenodeids"][root] != parts["nodes_falsenodeids"][root]


def test_gathers_have_names_of_their_own():
    """ONNX Runtime 1.21 fuses several of one vector into nodes that it names by theirs."""
    builder = ProgramBuilder(4)
    once = builder.add(Interpolate(0, KNOTS, HEIGHTS))
    proto = write_program(builder.build(builder.add(Interpolate(once, KNOTS, HEIGHTS))))
    names = [node.name for node in proto.graph.node if node.op_type == "Gather"]
    assert "" not in names
    assert len(set(names)) == len(names)


def test_the_same_program_gives_the_same_bytes():
    written = [
        write_program(program_of(Trees(0, ENSEMBLES["categories"]()), 5)).SerializeToString(deterministic=True)
        for _ in range(2)
    ]
    assert written[0] == written[1]


def test_equal_leaves_and_constants_are_stored_once():
    program = program_of(Trees(0, ENSEMBLES["a mean of pure leaves"]()), 5)
    (node,) = (n for n in write_program(program).graph.node if n.op_type == "TreeEnsemble")
    (weights,) = (attribute.t for attribute in node.attribute if attribute.name == "leaf_weights")
    assert weights.dims[0] <= 3 + 30
    builder = ProgramBuilder(4)
    twice = builder.add(Scale(builder.add(Scale(0, MEANS, SCALES)), MEANS, SCALES))
    sizes = [np.prod(tensor.dims) for tensor in write_program(builder.build(twice)).graph.initializer]
    assert sizes == [4, 4]
