import numpy as np
import onnx
import onnxruntime as ort
import pytest
from skl2onnx import to_onnx
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from edge_agent.bundle import Feature
from exporter.errors import ConversionError, UnsupportedError
from exporter.graphs.graph import load_model_file, parse_model
from exporter.material import Material
from exporter.models.model import FittedModel
from exporter.onnx.target import convert_onnx_fp32
from exporter.programs.program import Trees
from tests.unit.exporter.example_graphs import mlp_graph, written
from tests.unit.exporter.families import fit, load

# Probabilities closer than this decide by the order of a sum.
TIE = 1e-5


def answer(data: bytes, rows: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, {"rows": rows})[0]


def material_of(estimator, data: str, *, holes: float = 0.0, is_value: bool = False) -> Material:
    rows, truth = load(data)
    if holes:
        rows = np.where(np.random.default_rng(0).random(rows.shape) < holes, np.nan, rows).astype(np.float32)
    learnt = fit(estimator, rows, truth, is_value=is_value)
    return Material(learnt.model, rows)


def rows_on_thresholds(material: Material, n_rows: int = 3000) -> np.ndarray:
    """Return real rows, each with some numbers moved onto a threshold of the model's trees, or next to one."""
    rng = np.random.default_rng(1)
    ensembles = [node.operation.ensemble for node in material.program.nodes if isinstance(node.operation, Trees)]
    rows = np.resize(material.calibration, (n_rows, material.calibration.shape[1])).copy()
    for ensemble in ensembles:
        if ensemble.n_features != rows.shape[1]:
            continue
        for column, thresholds in enumerate(ensemble.thresholds()):
            if len(thresholds):
                moved = rng.random(n_rows) < 0.2
                chosen = rng.choice(thresholds, n_rows)
                towards = rng.choice(np.array([-np.inf, np.inf], np.float32), n_rows)
                beside = np.where(rng.random(n_rows) < 0.5, chosen, np.nextafter(chosen, towards))
                rows[:, column] = np.where(moved, beside, rows[:, column])
    return rows.astype(np.float32)


def assert_exact(material: Material, rows: np.ndarray, tolerance: float = 1e-6) -> None:
    """Compare with the original: no label flips beyond ties, and numbers near those of the original."""
    expected, got = material.model.outputs(rows), answer(convert_onnx_fp32(material), rows)
    assert got.shape == expected.shape
    if material.model.labels:
        best = np.sort(expected, axis=1)[:, -2:]
        flips = (got.argmax(axis=1) != expected.argmax(axis=1)) & (best[:, 1] - best[:, 0] > TIE)
        assert not flips.any()
    size = max(1.0, float(np.ptp(expected)))
    assert np.max(np.abs(got - expected)) <= tolerance * size


TREES = {
    "forest of digits": (lambda: RandomForestClassifier(25, random_state=0), "digits", 0.0),
    "forest of impure leaves": (lambda: RandomForestClassifier(25, max_depth=5, random_state=0), "digits", 0.0),
    "forest of two classes": (lambda: RandomForestClassifier(25, min_samples_leaf=5, random_state=0), "cancer", 0.1),
    "extra trees": (lambda: ExtraTreesClassifier(25, random_state=0), "cancer", 0.1),
    "histogram boosting of ten classes": (
        lambda: HistGradientBoostingClassifier(max_iter=5, random_state=0),
        "digits",
        0.1,
    ),
    "histogram boosting of two": (lambda: HistGradientBoostingClassifier(max_iter=30, random_state=0), "cancer", 0.1),
    "gradient boosting": (lambda: GradientBoostingClassifier(n_estimators=25, random_state=0), "cancer", 0.0),
    "scaler and forest": (
        lambda: make_pipeline(StandardScaler(), RandomForestClassifier(25, random_state=0)),
        "digits",
        0.0,
    ),
    "scaler and boosting": (
        lambda: make_pipeline(MinMaxScaler(), HistGradientBoostingClassifier(max_iter=20, random_state=0)),
        "cancer",
        0.1,
    ),
    "imputer and extra trees": (
        lambda: make_pipeline(SimpleImputer(strategy="median"), ExtraTreesClassifier(25, random_state=0)),
        "cancer",
        0.1,
    ),
    "imputer with flags and forest": (
        lambda: make_pipeline(SimpleImputer(add_indicator=True), RandomForestClassifier(25, random_state=0)),
        "cancer",
        0.1,
    ),
    "calibrated forest": (
        lambda: CalibratedClassifierCV(RandomForestClassifier(10, random_state=0), cv=3),
        "cancer",
        0.0,
    ),
    "voting of trees": (
        lambda: VotingClassifier(
            [
                ("a", RandomForestClassifier(10, random_state=0)),
                ("b", make_pipeline(StandardScaler(), ExtraTreesClassifier(10, random_state=0))),
            ],
            voting="soft",
        ),
        "cancer",
        0.0,
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_trees_answer_as_their_library_on_every_row_and_on_thresholds(name):
    make, data, holes = TREES[name]
    material = material_of(make(), data, holes=holes)
    assert_exact(material, material.calibration)
    assert_exact(material, rows_on_thresholds(material))


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomForestRegressor(25, random_state=0),
        lambda: GradientBoostingRegressor(n_estimators=50, random_state=0),
        lambda: HistGradientBoostingRegressor(max_iter=50, random_state=0),
    ],
)
def test_trees_answer_values_as_their_library(make):
    material = material_of(make(), "diabetes", is_value=True)
    assert_exact(material, rows_on_thresholds(material))


OTHERS = {
    "calibrated pipeline": lambda: CalibratedClassifierCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=50)), cv=3
    ),
    "isotonic calibration": lambda: CalibratedClassifierCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=50)), method="isotonic", cv=3
    ),
    "support vectors of pairs": lambda: make_pipeline(StandardScaler(), SVC(gamma=0.02)),
    "stacking": lambda: StackingClassifier(
        [("a", make_pipeline(StandardScaler(), LogisticRegression(max_iter=50)))], LogisticRegression(max_iter=50), cv=3
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_families_answer_as_the_original(name):
    rows, _ = load("digits")
    material = material_of(OTHERS[name](), "digits")
    assert_exact(material, rows, tolerance=1e-5)


def test_categories_are_encoded_as_the_original_does_those_it_never_saw_too():
    rows, truth = load("cancer")
    rows = rows.copy()
    rows[:, 0] = np.digitize(rows[:, 0], np.quantile(rows[:, 0], [0.25, 0.5, 0.75]))
    features = [Feature(f"f{i}") for i in range(30)]
    features[0] = Feature("f0", "category", categories=("a", "b", "c", "d", "e"))
    steps = ColumnTransformer([("c", OneHotEncoder(handle_unknown="ignore"), [0])], remainder=StandardScaler())
    for last in (RandomForestClassifier(10, random_state=0), LogisticRegression(max_iter=50)):
        learnt = fit(make_pipeline(steps, last), rows, truth, tuple(features))
        rows_with_unknown = rows.copy()
        rows_with_unknown[::3, 0] = 4
        assert_exact(Material(learnt.model, rows), rows_with_unknown)


def test_an_anomaly_detector_answers_its_decision():
    rows, _ = load("cancer")
    forest = IsolationForest(n_estimators=25, random_state=0).fit(rows)
    model = FittedModel(forest, "anomaly", tuple(Feature(f"f{i}") for i in range(30)))
    got = answer(convert_onnx_fp32(Material(model, rows)), rows)
    np.testing.assert_allclose(got[:, 0], forest.decision_function(rows), atol=1e-6)


def properties_of(data: bytes) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}


def test_a_family_without_a_program_takes_the_other_route_and_says_so():
    material = material_of(make_pipeline(StandardScaler(), KNeighborsClassifier(5)), "cancer")
    with pytest.raises(UnsupportedError):
        _ = material.program
    data = convert_onnx_fp32(material)
    assert properties_of(data)["writer"].startswith("skl2onnx ")
    got, expected = answer(data, material.calibration), material.model.outputs(material.calibration)
    assert np.mean(got.argmax(axis=1) == expected.argmax(axis=1)) > 0.99
    assert data == convert_onnx_fp32(material)


def test_a_program_is_written_by_ourselves_and_says_so():
    material = material_of(RandomForestClassifier(5, random_state=0), "cancer")
    data = convert_onnx_fp32(material)
    assert properties_of(data)["writer"] == "fieldloop"
    proto = onnx.load_from_string(data)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 21), ("ai.onnx.ml", 5)]
    assert data == convert_onnx_fp32(material)


def test_what_neither_route_takes_is_named():
    class Unknown(AdaBoostClassifier):  # type: ignore[misc] # scikit-learn ships no types
        pass

    material = material_of(make_pipeline(StandardScaler(), Unknown(n_estimators=2)), "cancer")
    with pytest.raises((UnsupportedError, ConversionError), match="Unknown"):
        convert_onnx_fp32(material)


def test_a_graph_from_outside_keeps_its_operators(tmp_path):
    rows, _ = load("digits")
    estimator = load_model_file(written(mlp_graph(), tmp_path))
    labels = tuple(str(i) for i in range(10))
    model = FittedModel(estimator, "classification", tuple(Feature(f"f{i}") for i in range(64)), labels)
    data = convert_onnx_fp32(Material(model, rows))
    assert properties_of(data)["writer"] == "pytorch 2.9"
    assert [node.op_type for node in onnx.load_from_string(data).graph.node if node.op_type == "Gemm"] == ["Gemm"] * 2
    np.testing.assert_allclose(answer(data, rows), estimator.predict_proba(rows), atol=1e-6)


@pytest.mark.parametrize("answers_alike", [True, False])
def test_trees_from_outside_are_written_anew_where_they_answer_alike(answers_alike, monkeypatch):
    rows, truth = load("cancer")
    forest = RandomForestClassifier(10, random_state=0).fit(rows, truth)
    proto = to_onnx(forest, rows[:1], options={id(forest): {"zipmap": False}}, target_opset={"": 18, "ai.onnx.ml": 3})
    estimator = parse_model(proto.SerializeToString(), "m.onnx")
    model = FittedModel(estimator, "classification", tuple(Feature(f"f{i}") for i in range(30)), ("0", "1"))
    if not answers_alike:
        monkeypatch.setattr("exporter.onnx.target.run_program", lambda _, rows: np.zeros((len(rows), 2)))
    data = convert_onnx_fp32(Material(model, rows))
    kinds = {node.op_type for node in onnx.load_from_string(data).graph.node}
    assert ("TreeEnsemble" in kinds) == answers_alike
    assert ("TreeEnsembleClassifier" in kinds) != answers_alike
    np.testing.assert_allclose(answer(data, rows), forest.predict_proba(rows), atol=1e-6)


def test_leaves_that_are_stored_once_make_a_forest_small():
    rows, truth = load_breast_cancer(return_X_y=True)
    forest = RandomForestClassifier(20, random_state=0)
    learnt = fit(forest, rows.astype(np.float32), truth)
    ours = convert_onnx_fp32(Material(learnt.model, learnt.training))
    theirs = to_onnx(forest, learnt.training[:1], options={id(forest): {"zipmap": False}}).SerializeToString()
    assert len(ours) < len(theirs) / 3
