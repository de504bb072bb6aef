"""A native table answers as its program does: every operation, with numbers of every kind."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.engine.loading import load_engine
from exporter.errors import UnsupportedError
from exporter.native.file import MOST_DEGREE, encode_program
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
    Operation,
    OvrOfOvo,
    Product,
    Program,
    ProgramBuilder,
    Proportions,
    Scale,
    Softmax,
    Trees,
)
from tests.unit.exporter.grown_trees import Shape, grow, rows_for

NAN, INF = np.nan, np.inf
RNG = np.random.default_rng(0)
W = 5  # columns of most rows here


def numbers(*shape: int) -> NDArray[np.float64]:
    return RNG.normal(size=shape)


def odd_rows(width: int) -> NDArray[np.float32]:
    """Rows of ordinary numbers, of whole ones, and of everything that a float32 can be."""
    ordinary = RNG.normal(size=(40, width)) * RNG.choice([0.01, 1.0, 30.0], size=(40, 1))
    whole = RNG.integers(-2, 5, size=(30, width)).astype(np.float64)
    odd = RNG.choice([NAN, INF, -INF, 0.0, -0.0, 1e-45, 3e38, -3e38, 1.5], size=(60, width))
    return np.concatenate([ordinary, whole, odd, np.zeros((1, width))]).astype(np.float32)


def answers(program: Program, rows: NDArray[np.float32], flags: int = 0, **options: bool) -> NDArray[np.float32]:
    model = load_engine().open(encode_program(program, **options), flags)  # type: ignore[arg-type]
    found = np.zeros((len(rows), program.n_outputs), dtype=np.float32)
    model.score_into(np.ascontiguousarray(rows, dtype=np.float32).tobytes(), found)  # type: ignore[arg-type]  # an array is a buffer; numpy says so from Python 3.12 on
    np.testing.assert_array_equal(np.array([model.score(row) for row in rows.tolist()], dtype=np.float32), found)
    model.close()
    return found


def program_of(width: int, *operations: Operation) -> Program:
    builder = ProgramBuilder(width)
    return builder.build([builder.add(operation) for operation in operations][-1])


OPERATIONS: dict[str, tuple[int, tuple[Operation, ...]]] = (
    {
        "columns": (W, (Columns(0, (4, 0, 0, 2)),)),
        "join": (W, (Columns(0, (1,)), Join((0, 1, 0)))),
        "fill of missing values": (W, (Fill(0, NAN, numbers(W)),)),
        "fill of a number": (W, (Fill(0, 0.0, numbers(W)),)),
        "flags of missing values": (W, (Flags(0, NAN),)),
        "flags of a number": (W, (Flags(0, 3.0),)),
        "scale": (W, (Scale(0, numbers(W), np.array([1.0, 3.0, 1e-3, -7.0, 0.1])),)),
        "affine": (W, (Affine(0, numbers(W), numbers(W)),)),
        "clip": (W, (Clip(0, np.array([-1.0, -INF, 0.1, 0.0, 2.0]), np.array([1.0, 0.3, INF, 0.0, 3.0])),)),
        "one hot": (1, (OneHot(0, ((0.0,), (1.0, 2.0), (NAN,), (3.0, NAN))),)),
        "lookup": (1, (Lookup(0, (0.0, 1.0, NAN, 1.5), (7.0, -1.0, 0.5, NAN), -3.0),)),
        "bins": (3, (Bins(0, ((-1.0, 0.0, 0.0, 2.5), (), (0.5,))),)),
        "linear in float64": (W, (Linear(0, numbers(W, 3), numbers(3)),)),
        "linear in float32": (W, (Linear(0, numbers(W, 400).astype(np.float32).astype(np.float64), numbers(400)),)),
        "linear kernel": (W, (Kernel(0, numbers(7, W).astype(np.float32).astype(np.float64), "linear", 0.0, 0.0, 0),)),
        "rbf kernel": (W, (Kernel(0, numbers(7, W).astype(np.float32).astype(np.float64), "rbf", 0.3, 0.0, 0),)),
        "poly kernel": (W, (Kernel(0, numbers(7, W).astype(np.float32).astype(np.float64), "poly", 0.3, 1.0, 3),)),
        "sigmoid kernel": (
            W,
            (Kernel(0, numbers(7, W).astype(np.float32).astype(np.float64), "sigmoid", 0.3, -1.0, 0),),
        ),
        "softmax": (W, (Softmax(0),)),
        "complement": (1, (Complement(0),)),
        "proportions": (W, (Proportions(0),)),
        "average": (W, (Affine(0, numbers(W), numbers(W)), Average((0, 1, 0), (0.25, 0.5, -1.0)))),
        "product": (W, (Affine(0, numbers(W), numbers(W)), Product((0, 1)))),
        "interpolate": (
            2,
            (
                Interpolate(
                    0,
                    (np.array([-1.0, 0.1, 0.30000001, 2.0]), np.array([0.5])),
                    (np.array([0.0, 0.2, 0.9, 1.0]), np.array([4.0])),
                ),
            ),
        ),
        "arg max": (W, (ArgMax(0),)),
        "ovr of ovo": (6, (OvrOfOvo(0, 4),)),
    }
    | {
        f"curve {kind}": (W, (Curve(0, kind),))
        for kind in ("relu", "tanh", "logistic", "exp", "log", "sqrt", "square", "abs", "reciprocal", "log1p", "expm1")
    }
    | {f"{norm} norm": (W, (Normalise(0, norm),)) for norm in ("l1", "l2", "max")}
)


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_an_operation_answers_as_its_meaning_says(name: str):
    width, operations = OPERATIONS[name]
    program, rows = program_of(width, *operations), odd_rows(width)
    np.testing.assert_allclose(answers(program, rows), run_program(program, rows), rtol=3e-7, atol=1e-30)


@pytest.mark.parametrize("name", ["scale", "affine", "clip", "bins", "one hot", "fill of a number", "columns"])
def test_what_stands_before_thresholds_is_exact_to_the_last_bit(name: str):
    width, operations = OPERATIONS[name]
    program, rows = program_of(width, *operations), odd_rows(width)
    np.testing.assert_array_equal(answers(program, rows), run_program(program, rows))


def test_pairs_of_classes_are_coupled_as_libsvm_does():
    program = program_of(6, Coupling(0, 4))
    rows = np.concatenate([RNG.random((200, 6)), RNG.choice([0.0, 1.0, 0.5], size=(50, 6))]).astype(np.float32)
    np.testing.assert_allclose(answers(program, rows), run_program(program, rows), atol=2e-7)


def test_a_network_of_several_operations_answers_as_its_program_does():
    builder = ProgramBuilder(64)
    scaled = builder.add(Scale(0, numbers(64), np.abs(numbers(64)) + 0.1))
    hidden = builder.add(Curve(builder.add(Linear(scaled, numbers(64, 100) / 8, numbers(100))), "relu"))
    program = builder.build(builder.add(Softmax(builder.add(Linear(hidden, numbers(100, 10) / 10, numbers(10))))))
    rows = RNG.normal(size=(300, 64)).astype(np.float32)
    np.testing.assert_allclose(answers(program, rows), run_program(program, rows), atol=1e-6)


def test_int8_layers_are_a_quarter_of_the_size_and_close():
    builder = ProgramBuilder(64)
    hidden = builder.add(Curve(builder.add(Linear(0, numbers(64, 100) / 8, numbers(100))), "relu"))
    program = builder.build(builder.add(Softmax(builder.add(Linear(hidden, numbers(100, 20) / 10, numbers(20))))))
    rows = RNG.normal(size=(300, 64)).astype(np.float32)
    assert len(encode_program(program, int8=True)) < 0.35 * len(encode_program(program))
    found, exact = answers(program, rows, int8=True), run_program(program, rows)
    assert np.abs(found - exact).max() < 0.02
    assert np.mean(found.argmax(axis=1) == exact.argmax(axis=1)) > 0.97


def test_an_int8_layer_answers_what_is_no_number_with_what_is_no_number():
    program = program_of(64, Linear(0, numbers(64, 30), numbers(30)))
    rows = np.zeros((3, 64), dtype=np.float32)
    rows[1, 5], rows[2, 6] = NAN, INF
    found = answers(program, rows, int8=True)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1:]).all()


def test_the_same_program_gives_the_same_bytes():
    ensemble = grow(Shape())
    first, second = (encode_program(program_of(8, Trees(0, ensemble))) for _ in range(2))
    assert first == second


def test_a_program_of_trees_and_what_follows_them():
    ensemble = grow(Shape(n_outputs=1))
    builder = ProgramBuilder(8)
    logit = builder.add(Trees(0, ensemble))
    program = builder.build(builder.add(Complement(builder.add(Curve(logit, "logistic")))))
    rows = rows_for(ensemble)
    np.testing.assert_allclose(answers(program, rows), run_program(program, rows), atol=1e-6)


def test_operations_that_the_answer_does_not_need_are_not_written():
    builder = ProgramBuilder(W)
    wanted = builder.add(ArgMax(0))
    builder.add(Linear(0, numbers(W, 1000), numbers(1000)))
    program = Program(tuple(builder._nodes), wanted)
    assert encode_program(program) == encode_program(program_of(W, ArgMax(0)))


def test_a_kernel_beyond_the_engine_is_refused_by_its_step():
    builder = ProgramBuilder(W)
    with builder.step("svm", "SVC"):
        kernel = builder.add(Kernel(0, numbers(2, W), "poly", 1.0, 0.0, MOST_DEGREE + 1))
    with pytest.raises(UnsupportedError, match=r"step `svm`: SVC is not supported for native.*degree"):
        encode_program(builder.build(kernel))
