import numpy as np

from exporter.programs.dense_runs import weighty_parts
from exporter.programs.interpreter import run_program
from exporter.programs.program import Curve, Join, Kernel, Linear, ProgramBuilder, Scale, Softmax, Trees
from tests.unit.exporter.tflite_files import ENSEMBLES

RNG = np.random.default_rng(0)


def product(of, n_in, n_out):
    return Linear(of, RNG.normal(size=(n_in, n_out)), RNG.normal(size=n_out))


def test_layers_with_bends_between_them_are_one_run():
    builder = ProgramBuilder(4)
    scaled = builder.add(Scale(0, np.zeros(4), np.full(4, 2.0)))
    hidden = builder.add(Curve(builder.add(product(scaled, 4, 8)), "tanh"))
    last = builder.add(product(hidden, 8, 3))
    (run,) = weighty_parts(builder.build(builder.add(Softmax(last)))).runs
    assert (run.start, run.end, [layer.bend for layer in run.layers]) == (scaled, last, ["tanh", "none"])
    assert run.is_alone


def test_a_bend_behind_the_last_layer_is_not_part_of_the_run():
    builder = ProgramBuilder(4)
    last = builder.add(product(0, 4, 3))
    (run,) = weighty_parts(builder.build(builder.add(Curve(last, "logistic")))).runs
    assert (run.end, [layer.bend for layer in run.layers]) == (last, ["none"])


def test_what_somebody_else_reads_ends_a_run():
    builder = ProgramBuilder(4)
    first = builder.add(product(0, 4, 6))
    second = builder.add(product(first, 6, 6))
    program = builder.build(builder.add(Join((first, second))))
    runs = weighty_parts(program).runs
    assert [(run.start, run.end) for run in runs] == [(0, 1), (1, 2)]
    assert [run.is_alone for run in runs] == [True, False]


def test_two_products_become_one_where_that_is_no_larger():
    builder = ProgramBuilder(10)
    program = builder.build(builder.add(product(builder.add(product(0, 10, 8)), 8, 3)))
    (run,) = weighty_parts(program).runs
    (layer,) = run.layers
    rows = RNG.normal(size=(20, 10)).astype(np.float32)
    np.testing.assert_allclose(rows @ layer.weights + layer.bias, run_program(program, rows), rtol=1e-4, atol=1e-5)


def test_a_narrow_waist_stays_two_products():
    builder = ProgramBuilder(20)
    program = builder.build(builder.add(product(builder.add(product(0, 20, 2)), 2, 20)))
    (run,) = weighty_parts(program).runs
    assert [layer.weights.shape for layer in run.layers] == [(20, 2), (2, 20)]


def test_what_holds_few_of_the_numbers_is_left_out():
    builder = ProgramBuilder(5)
    trees = builder.add(Trees(0, ENSEMBLES["votes"]))
    parts = weighty_parts(builder.build(builder.add(product(trees, 3, 3))))
    assert parts.runs == ()
    assert list(parts.trees) == [trees]


def test_kernels_and_the_product_behind_them_are_parts_of_their_own():
    builder = ProgramBuilder(5)
    kernel = builder.add(Kernel(0, RNG.normal(size=(30, 5)), "rbf", 0.1, 0.0, 3))
    last = builder.add(product(kernel, 30, 2))
    parts = weighty_parts(builder.build(last))
    assert list(parts.kernels) == [kernel]
    assert [(run.start, run.end) for run in parts.runs] == [(kernel, last)]
