"""Programs as TFLite files in both variants, what they answer, and what stands in them; for tests."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_agent.scoring.tflite_runtime import TfliteRuntime
from exporter.programs.program import Program, ProgramBuilder, Trees
from exporter.tflite.int8 import plan_int8
from exporter.tflite.target import write_program
from tests.unit.exporter.ensembles import random_ensemble, rows_on_thresholds
from tests.unit.exporter.onnx.test_program import CASES

NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def alone(operation: Any, n_features: int) -> Program:
    """Return the program of one operation."""
    builder = ProgramBuilder(n_features)
    return builder.build(builder.add(operation))


def float_file(program: Program) -> bytes:
    """Return a program in float32."""
    return write_program(program, {}, "test")


def small_file(program: Program, rows) -> bytes:
    """Return a program in int8, calibrated with rows."""
    specials = plan_int8(program, rows)
    assert specials
    return write_program(program, specials, "test")


def answer(data: bytes, rows, n_outputs: int, folder: Path):
    """Score rows with the device's own adapter on LiteRT."""
    path = folder / "model.tflite"
    path.write_bytes(data)
    runtime = TfliteRuntime(path, rows.shape[1], n_outputs)
    try:
        return np.array(runtime.score_batch(rows.tolist()))
    finally:
        runtime.close()


def operators_of(data: bytes) -> Counter[str]:
    """Count the operators of a file's main subgraph."""
    model = schema.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    codes = [graph.Operators(i).OpcodeIndex() for i in range(graph.OperatorsLength())]
    return Counter(NAMES[model.OperatorCodes(code).BuiltinCode()] for code in codes)


def assert_close(got, expected, tolerance: float) -> None:
    """Check answers relative to the greatest; NaN must meet NaN, and what is infinite what is huge."""
    assert got.shape == expected.shape
    assert np.array_equal(np.isnan(got), np.isnan(expected))
    # The kernels cut infinity to the greatest float32 in sums, products and quotients.
    greatest = float(np.finfo(np.float32).max)
    got, expected = np.clip(got, -greatest, greatest), np.clip(expected.astype(np.float64), -greatest, greatest)
    is_finite = np.abs(expected) < greatest
    assert np.array_equal(got[~is_finite], expected[~is_finite], equal_nan=True)
    size = np.max(np.abs(expected[is_finite]), initial=0.0)
    np.testing.assert_allclose(got[is_finite], expected[is_finite], rtol=0, atol=tolerance * size)


def _number(rng):
    return rng.normal(size=1)


def _vector(rng):
    return rng.normal(size=3)


def _vote(rng):
    return np.eye(3)[rng.integers(3)]


# Ensembles over 5 columns by what is special about them.
ENSEMBLES = {
    "one tree": random_ensemble(1, 1, _number),
    "one-leaf trees among deep ones": random_ensemble(2, 9, _number, depths=(0, 1, 7)),
    "nothing but leaves": random_ensemble(3, 3, _number, depths=(0,)),
    "one output a tree": random_ensemble(4, 10, _number, n_outputs=3),
    "trees that answer all outputs": random_ensemble(5, 40, _vector, n_outputs=3, all_outputs=True, divisor=40.0),
    "votes": random_ensemble(6, 30, _vote, n_outputs=3, all_outputs=True, divisor=30.0, has_base=False),
    "categories": random_ensemble(7, 20, _number, categories=(0,)),
    "hundreds of trees": random_ensemble(8, 700, _number, divisor=700.0),
    "thousands of thresholds": random_ensemble(9, 300, _number, depths=(8,)),
}
PROGRAMS: dict[str, tuple[Program, Any, float]] = {
    **{name: (alone(op, rows.shape[1]), rows.astype(np.float32), tol) for name, (op, rows, tol) in CASES.items()},
    **{name: (alone(Trees(0, e), 5), rows_on_thresholds(1, 400), 1e-6) for name, e in ENSEMBLES.items()},
}
