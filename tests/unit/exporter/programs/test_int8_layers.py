import numpy as np
import pytest

from exporter.programs.dense_runs import Layer
from exporter.programs.int8_layers import bring_to_int8, int8_answers
from exporter.programs.interpreter import CURVES
from exporter.programs.program import Curve, Linear, ProgramBuilder
from tests.unit.exporter.tflite_files import answer, small_file

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(400, 8)).astype(np.float32)


def layers_of(bend, sizes=1.0):
    """A network whose 16 hidden numbers have weights of these sizes before them, and answers three numbers."""
    hidden = Layer(RNG.normal(size=(8, 16)) * sizes, RNG.normal(size=16) * sizes, bend)
    return hidden, Layer(RNG.normal(size=(16, 3)) / (sizes * np.ones(16))[:, np.newaxis], RNG.normal(size=3), "none")


def exact_answers(layers):
    hidden = CURVES[layers[0].bend](ROWS.astype(np.float64) @ layers[0].weights + layers[0].bias)
    return hidden @ layers[1].weights + layers[1].bias


def relative_error(layers):
    exact = exact_answers(layers)
    return np.sqrt(np.mean((int8_answers(bring_to_int8(layers, ROWS), ROWS) - exact) ** 2)) / exact.std()


@pytest.mark.parametrize("bend", ["relu", "tanh", "logistic"])
def test_the_integers_answer_what_the_runtime_answers(bend, tmp_path):
    layers = layers_of(bend)
    builder = ProgramBuilder(8)
    hidden = builder.add(Curve(builder.add(Linear(0, layers[0].weights, layers[0].bias)), bend))
    program = builder.build(builder.add(Linear(hidden, layers[1].weights, layers[1].bias)))
    network = bring_to_int8(layers, ROWS)
    got = answer(small_file(program, ROWS), ROWS, 3, tmp_path)
    step = network.layers[-1].leaving.scales[0]
    assert np.max(np.abs(got - int8_answers(network, ROWS))) <= 1.01 * step
    assert np.mean(np.abs(got - int8_answers(network, ROWS))) < 0.1 * step


@pytest.mark.parametrize("bend", ["relu", "tanh", "logistic"])
def test_a_hidden_layer_of_even_sizes_has_one_scale_and_the_last_one_each(bend):
    network = bring_to_int8(layers_of(bend), ROWS)
    assert [len(layer.scales.scales) for layer in network.layers] == [1, 3]


def test_hidden_numbers_of_very_different_sizes_are_evened_out_and_share_a_scale():
    layers = layers_of("relu", np.logspace(-4, 4, 16))
    assert len(bring_to_int8(layers, ROWS).layers[0].scales.scales) == 1
    assert relative_error(layers) < 0.02


def test_weights_that_cannot_be_evened_out_keep_a_scale_for_each_output():
    layers = layers_of("tanh")
    # Great weights that cancel each other: one scale for all would leave nothing of the others.
    layers[0].weights[:, 0] = [200, -200, 0, 0, 0, 0, 0, 0]
    rows = ROWS.copy()
    rows[:, 1] = rows[:, 0]
    assert [len(layer.scales.scales) for layer in bring_to_int8(layers, rows).layers] == [16, 3]


def test_a_hidden_number_without_weights_is_left_alone():
    first, second = layers_of("relu")
    first.weights[:, 3], second.weights[5] = 0, 0
    assert len(bring_to_int8((first, second), ROWS).layers[0].scales.scales) == 1
    assert relative_error((first, second)) < 0.02
