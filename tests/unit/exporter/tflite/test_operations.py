import numpy as np
import pytest

from exporter.programs.interpreter import run_program
from exporter.programs.program import (
    Affine,
    ArgMax,
    Complement,
    Curve,
    Fill,
    Interpolate,
    Kernel,
    Linear,
    Product,
    ProgramBuilder,
    Row,
    Scale,
    Softmax,
)
from exporter.tflite.operations import WRITERS
from tests.unit.exporter.onnx.test_program import CASES
from tests.unit.exporter.tflite_files import PROGRAMS, alone, answer, assert_close, float_file, operators_of

# These round every step to float32, where the program rounds twice from float64, and exp and the like differ by a bit.
FLOAT32 = 1e-6


@pytest.mark.parametrize("case", PROGRAMS)
def test_an_operation_answers_as_it_is_meant(case, tmp_path):
    program, rows, tolerance = PROGRAMS[case]
    rows = rows[~np.isinf(rows).any(axis=1)]
    expected = run_program(program, rows)
    got = answer(float_file(program), rows, program.n_outputs, tmp_path)
    assert_close(got, expected, FLOAT32 if _rounds(case) else tolerance)


def _rounds(case):
    return case in CASES and isinstance(CASES[case][0], Affine | Scale | Complement | Product | Interpolate)


def test_every_operation_is_tried():
    tried = {type(node.operation) for program, _, _ in PROGRAMS.values() for node in program.nodes} - {Row}
    assert tried == set(WRITERS)


def test_a_mean_that_float32_has_not_costs_no_digits(tmp_path):
    # As with 1013.2 hPa, whose days differ by a tenth of a thousandth of it.
    means, scales = np.array([1013.2345678, 1e6 + 0.01]), np.array([0.05, 0.02])
    rows = (means + scales * np.random.default_rng(0).normal(size=(100, 2))).astype(np.float32)
    program = alone(Scale(0, means, scales), 2)
    data = float_file(program)
    assert operators_of(data)["SUB"] == 2
    exact = (rows.astype(np.float64) - means) / scales
    assert np.max(np.abs(answer(data, rows, 2, tmp_path) - exact)) < 1e-6
    assert np.max(np.abs((rows - means.astype(np.float32)) / scales - exact)) > 1e-3


def test_missing_values_stay_missing_where_kernels_would_make_numbers_of_them(tmp_path):
    rows = np.array([[np.nan, 1.0]], np.float32)
    program = alone(Curve(0, "exp"), 2)
    assert np.isnan(answer(float_file(program), rows, 2, tmp_path)[0]).tolist() == [True, False]


@pytest.mark.parametrize("degree", [0, 1, 2, 5])
def test_polynomial_kernels_take_any_degree(degree, tmp_path):
    rng = np.random.default_rng(0)
    program = alone(Kernel(0, rng.normal(size=(4, 3)), "poly", 0.5, 0.1, degree), 3)
    rows = rng.normal(size=(20, 3)).astype(np.float32)
    assert_close(answer(float_file(program), rows, 4, tmp_path), run_program(program, rows), 1e-6)


def test_the_first_of_equal_numbers_is_the_greatest(tmp_path):
    rows = np.array([[1, 3, 3, 3], [2, 2, 2, 2], [0, 0, 0, 5]], np.float32)
    assert answer(float_file(alone(ArgMax(0), 4)), rows, 4, tmp_path).argmax(axis=1).tolist() == [1, 0, 3]


def test_a_program_may_answer_the_row_itself_or_a_constant(tmp_path):
    rows = np.array([[1.0, 2.0]], np.float32)
    builder = ProgramBuilder(2)
    assert answer(float_file(builder.build(0)), rows, 2, tmp_path).tolist() == [[1.0, 2.0]]
    program = alone(Kernel(0, np.ones((1, 2)), "poly", 1.0, 0.0, 0), 2)
    assert answer(float_file(program), rows, 1, tmp_path).tolist() == [[1.0]]


def test_what_changes_nothing_is_not_written():
    builder = ProgramBuilder(2)
    scaled = builder.add(Scale(0, np.zeros(2), np.ones(2)))
    program = builder.build(builder.add(Softmax(scaled)))
    assert operators_of(float_file(program)) == {"SOFTMAX": 1}


def test_the_same_program_gives_the_same_bytes():
    for program, _, _ in PROGRAMS.values():
        assert float_file(program) == float_file(program)


def test_equal_constants_are_stored_once():
    builder = ProgramBuilder(64)
    weights = np.random.default_rng(0).normal(size=(64, 64))
    first = builder.add(Linear(0, weights, np.zeros(64)))
    once = float_file(builder.build(first))
    twice = float_file(builder.build(builder.add(Linear(first, weights, np.zeros(64)))))
    assert len(twice) < len(once) + 200


def test_filling_knows_missing_values_alone(tmp_path):
    rows = np.array([[np.nan, 0.0]], np.float32)
    program = alone(Fill(0, np.nan, np.array([7.0, 8.0])), 2)
    assert answer(float_file(program), rows, 2, tmp_path).tolist() == [[7.0, 0.0]]
