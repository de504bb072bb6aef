import numpy as np
import pandas as pd
import pytest
from ai_edge_litert import schema_py_generated as schema
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVC

from edge_agent.bundle import Feature
from exporter.errors import UnsupportedError
from exporter.material import Material
from exporter.models.metrics import labels_of, quality
from exporter.models.model import FittedModel
from exporter.programs.interpreter import run_program
from exporter.programs.program import Affine, Curve, Join, Kernel, Linear, ProgramBuilder, Scale
from exporter.tflite.target import convert_tflite_fp32, convert_tflite_int8
from tests.unit.exporter.families import fit, learn, load
from tests.unit.exporter.tflite_files import alone, answer, assert_close, operators_of, small_file

RNG = np.random.default_rng(0)
WEIGHTS, BIAS = RNG.normal(size=(6, 4)), RNG.normal(size=4)


def material_of(learnt):
    return Material(learnt.model, learnt.training)


def sizes_of(learnt):
    return len(convert_tflite_fp32(material_of(learnt))), len(convert_tflite_int8(material_of(learnt)))


@pytest.mark.parametrize("loader", [load_digits, load_breast_cancer, load_wine])
def test_an_int8_network_loses_half_a_point_at_most(loader, tmp_path):
    rows, truth = loader(return_X_y=True)
    parts = train_test_split(rows.astype(np.float32), truth, test_size=0.4, random_state=0, stratify=truth)
    training, evaluation, training_truth, evaluation_truth = parts
    network = make_pipeline(StandardScaler(), MLPClassifier((64,), max_iter=200, random_state=0))
    network.fit(training, training_truth)
    labels = tuple(str(c) for c in network.classes_)
    model = FittedModel(network, "classification", tuple(Feature(f"f{i}") for i in range(rows.shape[1])), labels)
    got = answer(convert_tflite_int8(Material(model, training)), evaluation, len(labels), tmp_path)
    loss = quality("accuracy", evaluation_truth, model.outputs(evaluation)) - quality("accuracy", evaluation_truth, got)
    assert loss <= 0.005


@pytest.mark.shared
def test_an_int8_network_loses_half_a_point_at_most_on_gas_sensors(shared_data, tmp_path):
    table = pd.read_parquet(shared_data / "gas_drift_raw" / "gas_drift_raw.parquet").sample(2500, random_state=0)
    rows, truth = (
        table.drop(columns=["gas", "concentration_ppm", "batch"]).to_numpy(np.float32),
        table["gas"].to_numpy(),
    )
    learnt = fit(make_pipeline(StandardScaler(), MLPClassifier((64,), max_iter=60, random_state=0)), rows, truth)
    got = answer(convert_tflite_int8(material_of(learnt)), learnt.evaluation, len(learnt.model.labels), tmp_path)
    expected = learnt.model.outputs(learnt.evaluation)
    truths = np.searchsorted(np.unique(truth), learnt.truth)
    assert quality("accuracy", truths, expected) - quality("accuracy", truths, got) <= 0.005
    exact, small = sizes_of(learnt)
    assert small <= 0.45 * exact


@pytest.mark.shared
def test_an_int8_network_loses_half_a_point_of_r2_at_most_on_a_gas_turbine(shared_data, tmp_path):
    table = pd.read_csv(shared_data / "gas_turbine" / "gt_2011.csv").sample(3000, random_state=0)
    rows, truth = table.drop(columns=["NOX", "CO"]).to_numpy(np.float32), table["NOX"].to_numpy()
    network = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(64,), max_iter=60, random_state=0)),
        transformer=StandardScaler(),
    )
    learnt = fit(network, rows, truth, is_value=True)
    got = answer(convert_tflite_int8(material_of(learnt)), learnt.evaluation, 1, tmp_path)
    expected = learnt.model.outputs(learnt.evaluation)
    assert quality("r2", learnt.truth, expected) - quality("r2", learnt.truth, got) <= 0.005


def test_an_int8_network_is_less_than_half_the_file():
    rows, truth = load("digits")
    learnt = fit(make_pipeline(StandardScaler(), MLPClassifier((64,), max_iter=20, random_state=0)), rows, truth)
    exact, small = sizes_of(learnt)
    assert small <= 0.45 * exact


def test_a_network_runs_in_int8_between_its_scaler_and_its_probabilities():
    data = convert_tflite_int8(material_of(learn("imputed mlp", "cancer")))
    assert list(operators_of(data)) == [
        *("NOT_EQUAL", "SELECT_V2", "SUB", "DIV", "QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE", "LOGISTIC"),
        "CONCATENATION",
    ]
    model = schema.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    weights = [
        graph.Tensors(i)
        for i in range(graph.TensorsLength())
        if graph.Tensors(i).Type() == schema.TensorType.INT8 and graph.Tensors(i).Buffer()
    ]
    assert [tuple(w.ShapeAsNumpy()) for w in weights] == [(20, 30), (1, 20)]
    assert [w.Quantization().ScaleLength() for w in weights] == [1, 1]


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic"])
def test_every_bend_runs_in_int8(activation, tmp_path):
    builder = ProgramBuilder(6)
    hidden = builder.add(Curve(builder.add(Linear(0, WEIGHTS, BIAS)), activation))
    program = builder.build(builder.add(Linear(hidden, RNG.normal(size=(4, 3)), RNG.normal(size=3))))
    rows = RNG.normal(size=(300, 6)).astype(np.float32)
    assert_close(answer(small_file(program, rows), rows, 3, tmp_path), run_program(program, rows), 0.03)


def test_columns_of_very_different_sizes_are_brought_to_one(tmp_path):
    sizes = np.array([1e-3, 1.0, 50.0, 1e4, 1.0, 1.0])
    builder = ProgramBuilder(6)
    hidden = builder.add(Curve(builder.add(Linear(0, WEIGHTS / sizes[:, np.newaxis], BIAS)), "relu"))
    program = builder.build(builder.add(Linear(hidden, RNG.normal(size=(4, 3)), np.zeros(3))))
    rows = (RNG.normal(size=(300, 6)) * sizes).astype(np.float32)
    data = small_file(program, rows)
    assert operators_of(data)["MUL"] == 1
    assert_close(answer(data, rows, 3, tmp_path), run_program(program, rows), 0.03)


@pytest.mark.parametrize(
    "scaler",
    [
        Scale(0, np.arange(6.0), np.square(np.arange(1.0, 7.0))),
        Affine(0, 1 / np.square(np.arange(1.0, 7.0)), np.ones(6)),
    ],
)
def test_a_scaler_before_the_layers_brings_columns_to_one_size_by_itself(scaler, tmp_path):
    builder = ProgramBuilder(6)
    hidden = builder.add(Curve(builder.add(Linear(builder.add(scaler), WEIGHTS, BIAS)), "relu"))
    program = builder.build(builder.add(Linear(hidden, RNG.normal(size=(4, 3)), np.zeros(3))))
    rows = (RNG.normal(size=(300, 6)) * 20).astype(np.float32)
    data = small_file(program, rows)
    assert sum(operators_of(data)[name] for name in ("MUL", "DIV")) == 1
    assert_close(answer(data, rows, 3, tmp_path), run_program(program, rows), 0.03)


def test_a_scaler_that_others_read_too_stays_as_it_is(tmp_path):
    builder = ProgramBuilder(6)
    scaled = builder.add(Scale(0, np.zeros(6), np.arange(1, 7.0)))
    hidden = builder.add(Curve(builder.add(Linear(scaled, WEIGHTS, BIAS)), "relu"))
    last = builder.add(Linear(hidden, RNG.normal(size=(4, 3)), np.zeros(3)))
    program = builder.build(builder.add(Join((scaled, last))))
    rows = RNG.normal(size=(300, 6)).astype(np.float32)
    got, expected = answer(small_file(program, rows), rows, 9, tmp_path), run_program(program, rows)
    np.testing.assert_allclose(got[:, :6], expected[:, :6], atol=1e-6)
    assert_close(got[:, 6:], expected[:, 6:], 0.03)


def test_a_linear_model_keeps_what_enters_and_leaves_it_in_float(tmp_path):
    program = alone(Linear(0, WEIGHTS, BIAS), 6)
    rows = RNG.normal(size=(300, 6)).astype(np.float32)
    data = small_file(program, rows)
    assert operators_of(data) == {"DEQUANTIZE": 1, "FULLY_CONNECTED": 1}
    assert_close(answer(data, rows, 4, tmp_path), run_program(program, rows), 0.01)


def test_a_product_without_weights_is_written_too(tmp_path):
    rows = RNG.normal(size=(20, 6)).astype(np.float32)
    for operation in (Linear(0, np.zeros((6, 2)), np.array([3.0, -4.0])), Linear(0, np.zeros((6, 1)), np.zeros(1))):
        program = alone(operation, 6)
        assert_close(
            answer(small_file(program, rows), rows, program.n_outputs, tmp_path), run_program(program, rows), 0
        )


@pytest.mark.parametrize("kind", ["linear", "rbf", "poly", "sigmoid"])
def test_kernels_are_stored_in_int8_and_stay_close(kind, tmp_path):
    vectors = RNG.normal(size=(200, 6))
    program = alone(Kernel(0, vectors, kind, 0.1, 0.2, 3), 6)
    rows = RNG.normal(size=(100, 6)).astype(np.float32)
    data = small_file(program, rows)
    assert len(data) < 200 * 6 + 1500
    assert_close(answer(data, rows, 200, tmp_path), run_program(program, rows), 0.01)


def test_a_support_vector_machine_keeps_its_labels(tmp_path):
    rows, truth = load("digits")
    learnt = fit(make_pipeline(StandardScaler(), SVC()), rows, truth)
    exact, small = sizes_of(learnt)
    assert small <= 0.4 * exact
    got = answer(convert_tflite_int8(material_of(learnt)), learnt.evaluation, 10, tmp_path)
    expected = learnt.model.outputs(learnt.evaluation)
    assert np.mean(labels_of(got) != labels_of(expected)) <= 0.005


def test_what_has_nothing_to_quantise_is_refused_by_name():
    class Learnt(Material):
        @property
        def program(self):
            builder = ProgramBuilder(2)
            with builder.step("poly", PolynomialFeatures.__name__):
                return builder.build(builder.add(Curve(0, "square")))

    learnt = learn("ridge", "diabetes")
    with pytest.raises(UnsupportedError, match="step `poly`: PolynomialFeatures is not supported for tflite-int8"):
        convert_tflite_int8(Learnt(learnt.model, np.ones((3, 2), np.float32)))


@pytest.mark.parametrize(
    ("family", "data"), [("imputed mlp", "cancer"), ("forest", "digits"), ("ridge", "diabetes"), ("columns", "cancer")]
)
def test_the_same_model_and_rows_give_the_same_bytes(family, data):
    learnt = learn(family, data)
    for convert in (convert_tflite_fp32, convert_tflite_int8):
        assert convert(material_of(learnt)) == convert(material_of(learnt))


def test_a_file_of_rounded_trees_says_by_how_much():
    data = convert_tflite_int8(material_of(learn("forest regressor", "diabetes")))
    text = schema.Model.GetRootAs(data, 0).Description().decode()
    assert text.startswith("fieldloop tflite-int8")
    assert "rounded leaves change what trees answer by at most" in text
