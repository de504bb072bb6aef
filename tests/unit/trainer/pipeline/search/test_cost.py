import numpy as np
import pytest
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, OneClassSVM

from edge_agent.bundle import Feature, Task
from exporter.material import Material
from exporter.models.model import FittedModel
from exporter.reading.models import read_model
from exporter.variants import FORMS
from trainer.pipeline.search.cost import estimate_cost

# What the module promises.
FACTOR, LEAST_BYTES = 2.0, 1000
N_FEATURES = 8


def model(estimator, n_labels):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(600, N_FEATURES)).astype(np.float32)
    value = rows[:, :3].sum(axis=1) + 0.5 * rng.normal(size=600)
    features = tuple(Feature(f"f{place}") for place in range(N_FEATURES))
    if not n_labels:
        is_detector = hasattr(estimator, "fit_predict") and hasattr(estimator, "decision_function")
        task: Task = "anomaly" if is_detector else "regression"
        return FittedModel(estimator.fit(rows, value), task, features), rows
    truth = np.digitize(value, np.quantile(value, np.linspace(0, 1, n_labels + 1)[1:-1]))
    return FittedModel(
        estimator.fit(rows, truth), "classification", features, tuple(str(label) for label in range(n_labels))
    ), rows


MODELS = [
    ("forest", RandomForestClassifier(60, min_samples_leaf=5, random_state=1), 2),
    ("forest to the leaves", RandomForestClassifier(30, random_state=1), 2),
    ("forest of ten labels", RandomForestClassifier(60, min_samples_leaf=5, random_state=1), 10),
    ("small trees", ExtraTreesClassifier(100, max_leaf_nodes=8, random_state=1), 3),
    ("forest of values", RandomForestRegressor(40, min_samples_leaf=3, random_state=1), 0),
    ("boosting", GradientBoostingClassifier(n_estimators=40, random_state=1), 3),
    ("network", make_pipeline(StandardScaler(), MLPClassifier((32,), max_iter=5, random_state=1)), 2),
    ("wide network", make_pipeline(StandardScaler(), MLPClassifier((128, 64), max_iter=3, random_state=1)), 5),
    ("sums", make_pipeline(StandardScaler(), LogisticRegression()), 3),
    ("values", Ridge(), 0),
    ("kernels", make_pipeline(StandardScaler(), SVC()), 3),
    ("isolation", IsolationForest(n_estimators=40, random_state=1), 0),
    ("one class", OneClassSVM(nu=0.1), 0),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("estimator", "n_labels"), [case[1:] for case in MODELS], ids=[case[0] for case in MODELS])
def test_the_estimated_size_is_within_its_factor_of_the_exported_file(estimator, n_labels):
    fitted, rows = model(estimator, n_labels)
    program, material = read_model(fitted), Material(fitted, rows)
    for name in ("native", "onnx-fp32", "tflite-fp32", "c"):
        exported = len(FORMS[name].convert(material))
        estimated = estimate_cost(program, [FORMS[name]]).size_bytes
        low = exported / FACTOR if exported >= LEAST_BYTES else 0
        assert low <= estimated <= max(exported, LEAST_BYTES) * FACTOR, (name, exported, estimated)


def test_the_smallest_of_the_forms_counts():
    fitted, _ = model(RandomForestClassifier(30, random_state=1), 2)
    program = read_model(fitted)
    assert estimate_cost(program, [FORMS["onnx-fp32"], FORMS["native"]]).form == "native"
    assert estimate_cost(program, [FORMS["onnx-fp32"]]).form == "onnx-fp32"


def test_more_trees_and_wider_layers_take_longer():
    def latency(estimator):
        return estimate_cost(read_model(model(estimator, 2)[0]), [FORMS["native"]]).latency_us

    few, many = (latency(RandomForestClassifier(n_trees, random_state=1)) for n_trees in (10, 100))
    assert few < many
    narrow, wide = (latency(SVC(C=c)) for c in (100.0, 0.01))  # a soft margin leans on more rows
    assert narrow < wide
