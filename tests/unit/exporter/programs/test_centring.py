"""Weighted sums of numbers that are large beside what they differ by."""

import numpy as np
import pytest

from exporter.programs.centring import centred
from exporter.programs.interpreter import run_program
from exporter.programs.program import Columns, Join, Linear, Program, ProgramBuilder, Scale

RNG = np.random.default_rng(4)
PRESSURES = (RNG.normal(size=(80, 3)) * [100, 0.1, 5] + [101325, 900, 300]).astype(np.float32)
WEIGHTS = np.array([[0.01, -0.02], [10.0, 5.0], [0.2, 0.1]])
BIAS = np.array([0.25, -0.5]) - PRESSURES.mean(axis=0) @ WEIGHTS


def weighted(*, scaled=False) -> Program:
    """Return a program that weighs three columns, joined from the row."""
    builder = ProgramBuilder(3)
    place = builder.add(Join((builder.add(Columns(0, (0,))), builder.add(Columns(0, (1, 2))))))
    if scaled:
        place = builder.add(Scale(place, PRESSURES.mean(axis=0).astype(np.float64), np.ones(3)))
    return builder.build(builder.add(Linear(place, WEIGHTS, BIAS)))


def in_float32(program: Program, rows):
    """Return the last operation's answers, as a runtime that knows float32 alone computes them."""
    last = program.nodes[program.output].operation
    assert isinstance(last, Linear)
    before = run_program(Program(program.nodes, last.of), rows)
    return before @ last.weights.astype(np.float32) + last.bias.astype(np.float32)


def test_a_sum_of_large_numbers_keeps_the_digits_of_what_they_differ_by():
    program, found = weighted(), centred(weighted(), PRESSURES)
    expected = PRESSURES.astype(np.float64) @ WEIGHTS + BIAS
    np.testing.assert_allclose(run_program(found, PRESSURES), expected, atol=1e-5)
    spread = np.ptp(expected, axis=0)
    assert (np.abs(in_float32(program, PRESSURES) - expected) / spread).max() > 1e-5
    assert (np.abs(in_float32(found, PRESSURES) - expected) / spread).max() < 2e-6


@pytest.mark.parametrize(
    ("program", "rows"),
    [
        (weighted(scaled=True), PRESSURES),
        (weighted(), PRESSURES - PRESSURES.mean(axis=0)),
        (weighted(), PRESSURES[:1]),
        (weighted(), np.where(PRESSURES > 101325, np.float32(np.nan), PRESSURES)),
    ],
    ids=["scaled already", "small", "one row", "with gaps"],
)
def test_other_sums_stay_as_they_are(program, rows):
    assert [type(node.operation) for node in centred(program, rows).nodes] == [type(n.operation) for n in program.nodes]
