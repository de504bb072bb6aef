import logging
from dataclasses import replace

import numpy as np
import onnx
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from edge_agent.bundle import Feature
from edge_agent.errors import BundleError
from exporter.errors import ModelError, RowsError
from exporter.export import ExportLimits, decides_on_row, export_model
from exporter.material import Material
from exporter.models.model import FittedModel
from exporter.programs.ensemble import LEAF
from exporter.programs.program import Trees
from exporter.proof.proving import Prover, Surroundings
from exporter.variants import FORMS, UnknownVariantError
from tests.unit.exporter.families import HERE_ONLY, export, fit, learn, load, parity_of
from tests.unit.exporter.repositories import SetClock

DENSE = [
    ("mlp", "digits"),
    ("deep mlp", "digits"),
    ("tanh mlp", "cancer"),
    ("logistic mlp", "cancer"),
    ("imputed mlp", "cancer"),
    ("logistic", "digits"),
    ("logistic", "cancer"),
    ("mlp regressor", "diabetes"),
    ("rescaled mlp", "diabetes"),
    ("rescaled last", "diabetes"),
    ("ridge", "diabetes"),
]
TREES = [
    ("forest", "digits"),
    ("scaled forest", "digits"),
    ("imputed trees", "cancer"),
    ("boosting", "cancer"),
    ("forest regressor", "diabetes"),
    ("trees regressor", "diabetes"),
    ("boosting regressor", "diabetes"),
    ("columns", "cancer"),
]


@pytest.mark.parametrize(("family", "data"), DENSE)
def test_a_dense_network_takes_every_form_and_keeps_its_answers(family, data, tmp_path):
    report = export(learn(family, data), tmp_path, "auto")
    assert [v.name for v in report.accepted] == list(FORMS), [v.verdict for v in report.variants]
    for variant in report.accepted:
        assert variant.size_bytes == (tmp_path / variant.file).stat().st_size
        if not FORMS[variant.name].is_quantised:
            assert parity_of(variant).max_abs_difference <= 2e-6 * max(1, parity_of(variant).scale)
            assert parity_of(variant).label_flips == 0


@pytest.mark.parametrize(("family", "data"), TREES)
def test_trees_take_every_form_but_int8_onnx_exactly_where_it_is_float32(family, data, tmp_path):
    learnt = learn(family, data)
    report = export(learnt, tmp_path, "auto")
    accepted = {variant.name: variant for variant in report.accepted}
    assert set(accepted) >= {"onnx-fp32", "tflite-fp32", "tflite-int8"}, [v.verdict for v in report.variants]
    for name in ("onnx-fp32", "tflite-fp32"):
        assert parity_of(accepted[name]).max_abs_difference <= 2e-6 * max(1, parity_of(accepted[name]).scale)
        assert parity_of(accepted[name]).label_flips == 0
    assert parity_of(accepted["tflite-int8"]).max_abs_difference <= 1e-4 * max(
        1, parity_of(accepted["tflite-int8"]).scale
    )
    (refused,) = (variant for variant in report.variants if variant.name == "onnx-int8")
    assert "is not supported for onnx-int8" in refused.reason


@pytest.mark.parametrize("family", ["imputed mlp", "imputed trees", "boosting", "forest"])
def test_missing_values_are_proved_where_features_allow_them(family, tmp_path):
    learnt = learn(family, "cancer", "flag")
    report = export(learnt, tmp_path, "onnx-fp32", "tflite-fp32")
    for variant in report.variants:
        if variant.made:
            assert variant.accepted, variant.refusal
            assert parity_of(variant).far_rows == 0
            assert parity_of(variant).rows > len(learnt.evaluation) + 20


def test_a_model_that_refuses_missing_values_its_features_allow_is_refused(tmp_path):
    with pytest.raises(ModelError, match="add an imputer"):
        export(learn("mlp", "cancer", "flag"), tmp_path, "auto")


@pytest.mark.parametrize(("family", "data"), [("imputed mlp", "cancer"), ("forest", "digits"), ("ridge", "diabetes")])
def test_the_same_model_and_rows_give_the_same_bytes(family, data, tmp_path):
    learnt = learn(family, data)
    first, second = (export(learnt, tmp_path / str(n), "auto", clock=SetClock()) for n in (1, 2))
    assert first == second
    for variant in first.accepted:
        assert (tmp_path / "1" / variant.file).read_bytes() == (tmp_path / "2" / variant.file).read_bytes()


def test_an_exported_onnx_model_says_what_it_means(tmp_path):
    learnt = learn("mlp", "cancer")
    export(learnt, tmp_path, "onnx-fp32", "onnx-int8")
    for file in ("model.fp32.onnx", "model.int8.onnx"):
        proto = onnx.load(tmp_path / file)
        properties = {p.key: p.value for p in proto.metadata_props}
        assert properties["task"] == "classification"
        assert properties["labels"].split("\n") == ["0", "1"]
        assert properties["features"].split("\n")[:2] == ["f0", "f1"]
        assert [(i.name, i.type.tensor_type.shape.dim[1].dim_value) for i in proto.graph.input] == [("rows", 30)]
        assert [o.name for o in proto.graph.output] == ["outputs"]


def test_standardising_stays_in_float_in_int8(tmp_path):
    export(learn("mlp", "cancer"), tmp_path, "onnx-int8")
    nodes = [n.op_type for n in onnx.load(tmp_path / "model.int8.onnx").graph.node]
    assert nodes.index("Div") < nodes.index("QuantizeLinear")
    weights = [
        t for t in onnx.load(tmp_path / "model.int8.onnx").graph.initializer if t.data_type == onnx.TensorProto.INT8
    ]
    assert any(np.prod(t.dims) == 600 for t in weights)


def test_a_conversion_that_is_wrong_without_a_word_is_refused_with_its_worst_rows(tmp_path, monkeypatch):
    form, other = FORMS["onnx-fp32"], learn("mlp", "digits")
    wrong = Material(other.model, other.training)
    monkeypatch.setitem(FORMS, form.name, replace(form, convert=lambda _: form.convert(wrong)))
    (variant,) = export(learn("logistic", "digits"), tmp_path, "onnx-fp32").variants
    assert variant.made
    assert not variant.accepted
    assert "rows get another label than from the original" in variant.refusal
    assert variant.failed is not None
    worst = variant.failed.worst
    assert len(worst) == 10
    assert all(len(row.features) == 64 and len(row.matters) == 5 for row in worst)
    assert all(np.argmax(row.expected) != np.argmax([v or 0.0 for v in row.got]) for row in worst)


def test_a_threshold_that_is_off_by_one_float_step_is_refused(tmp_path, monkeypatch):
    rows, truth = load("cancer")
    learnt = fit(DecisionTreeClassifier(max_depth=3, random_state=0), rows, truth)
    form = FORMS["native"]

    def convert(material):
        (trees,) = (node.operation for node in material.program.nodes if isinstance(node.operation, Trees))
        is_branch = trees.ensemble.feature != LEAF
        trees.ensemble.threshold[is_branch] = np.nextafter(trees.ensemble.threshold[is_branch], np.float32(np.inf))
        return form.convert(material)

    monkeypatch.setitem(FORMS, form.name, replace(form, convert=convert))
    (variant,) = export(learnt, tmp_path, "native").variants
    assert "rows get another label than from the original" in variant.refusal
    assert variant.failed is not None
    assert {row.kind for row in variant.failed.worst} <= {"threshold", "boundary"}


def test_an_int8_variant_that_loses_too_much_quality_is_refused(tmp_path):
    # Without a scaler one column of cancer is 10,000 times another, and int8 cannot hold both.
    rows, truth = load("cancer")
    learnt = fit(MLPClassifier((20,), max_iter=60, random_state=0), rows, truth)
    (variant,) = export(learnt, tmp_path, "tflite-int8", max_parity_loss=-0.5).variants
    assert "of quality, at most -0.5 is allowed" in variant.refusal


def test_a_variant_over_the_size_limit_is_refused(tmp_path):
    (variant,) = export(learn("forest", "digits"), tmp_path, "onnx-fp32", max_size_bytes=1000).variants
    assert ", at most 1 kB are allowed" in variant.refusal


class SlowClock(SetClock):
    """Each look at it costs 50 µs."""

    def monotonic_s(self) -> float:
        self.now_s += 50e-6
        return self.now_s


def test_a_variant_over_the_latency_limit_is_refused(tmp_path):
    (variant,) = export(
        learn("logistic", "cancer"), tmp_path, "onnx-fp32", max_latency_us=10.0, clock=SlowClock(0.0)
    ).variants
    assert variant.latency_us == pytest.approx(50, rel=0.01)
    assert variant.refusal == "one row takes 50 µs, at most 10 µs are allowed"


def test_a_projection_before_a_linear_model_goes_to_tflite_too(tmp_path):
    rows, truth = load("digits")
    learnt = fit(make_pipeline(StandardScaler(), PCA(10), LogisticRegression(max_iter=50)), rows, truth)
    report = export(learnt, tmp_path, "tflite-fp32", "tflite-int8")
    assert [v.name for v in report.accepted] == ["tflite-fp32", "tflite-int8"]


def test_a_target_transformed_by_something_else_is_refused_by_name(tmp_path):
    rows, truth = load("diabetes")
    learnt = fit(TransformedTargetRegressor(Ridge(), func=np.arcsinh, inverse_func=np.sinh), rows, truth, is_value=True)
    report = export(learnt, tmp_path, "auto")
    assert not report.accepted
    assert all("FunctionTransformer" in v.reason for v in report.variants), [v.reason for v in report.variants]


def test_a_detector_is_proved_by_what_it_calls_an_anomaly(tmp_path):
    rows, truth = load("cancer")
    estimator = IsolationForest(n_estimators=20, contamination=0.3, random_state=0).fit(rows[:300])
    model = FittedModel(estimator, "anomaly", tuple(Feature(f"f{i}") for i in range(30)))
    arguments = {"calibration": rows[:300], "evaluation": rows[300:], "limits": ExportLimits(), "folder": tmp_path}
    arguments |= {"requested": ("onnx-fp32",), "surroundings": HERE_ONLY}
    found = export_model(model, truth=1 - truth[300:], metric="balanced_accuracy", **arguments)
    assert found.probes["boundary"] > 50
    assert 0.6 < found.original_quality < 1
    (variant,) = found.variants
    assert variant.made, variant.reason
    assert parity_of(variant).label_flips == 0
    with pytest.raises(RowsError, match="1 for an anomaly"):
        export_model(model, truth=truth[300:] + 1, metric="accuracy", **arguments)


@pytest.mark.parametrize("steps", [1, 2])
def test_boosted_thresholds_between_two_neighbouring_float32_numbers_keep_them_apart(steps, tmp_path):
    low = np.float32(1.0)
    for _ in range(steps):
        low = np.nextafter(low, np.float32(2))
    rows = np.resize(np.array([low, np.nextafter(low, np.float32(2))], np.float32), (120, 1))
    truth = (rows[:, 0] > low).astype(float)
    learnt = fit(HistGradientBoostingRegressor(max_iter=10), rows, truth, is_value=True)
    (variant,) = export(learnt, tmp_path, "onnx-fp32").variants
    assert variant.accepted, variant.refusal


class Unconvertible(RandomForestClassifier):  # type: ignore[misc] # scikit-learn ships no types
    """A family that no converter knows."""


def test_a_family_that_no_converter_knows_is_named(tmp_path):
    rows, truth = load("cancer")
    learnt = fit(make_pipeline(StandardScaler(), Unconvertible(2)), rows, truth)
    (variant,) = export(learnt, tmp_path, "onnx-fp32").variants
    assert variant.reason.startswith("step `unconvertible`: Unconvertible is not supported for onnx-fp32")


def test_unknown_variants_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(UnknownVariantError, match=r"onnx-int4.*onnx-fp32"):
        export(learn("ridge", "diabetes"), tmp_path, "onnx-int4")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"calibration": np.zeros((0, 10), np.float32)}, "calibration rows"),
        ({"evaluation": np.zeros((5, 3), np.float32)}, "evaluation rows"),
        ({"evaluation": np.full((5, 10), np.inf, np.float32)}, "evaluation row 0 holds infinity"),
        ({"truth": np.zeros(3)}, "3 truths"),
        ({"metric": "accuracy"}, "does not judge"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change, message, tmp_path):
    learnt = learn("ridge", "diabetes")
    arguments = {
        "calibration": learnt.training,
        "evaluation": learnt.evaluation,
        "truth": learnt.truth,
        "metric": "r2",
        **change,
    }
    with pytest.raises(RowsError, match=message):
        export_model(learnt.model, requested=("auto",), limits=ExportLimits(), folder=tmp_path, **arguments)


def test_truths_that_are_no_labels_are_refused(tmp_path):
    learnt = learn("logistic", "cancer")
    with pytest.raises(RowsError, match="indices of the 2 labels"):
        export_model(
            learnt.model,
            calibration=learnt.training,
            evaluation=learnt.evaluation,
            truth=learnt.truth + 1,
            metric="accuracy",
            requested=("auto",),
            limits=ExportLimits(),
            folder=tmp_path,
        )


def test_labels_that_were_not_all_seen_are_refused():
    estimator = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(ModelError, match="every label must occur"):
        FittedModel(estimator, "classification", (Feature("x"),), ("a", "b", "c"))


def test_exporting_leaves_the_root_logger_as_it_was(tmp_path):
    level = logging.getLogger().level
    export(learn("ridge", "diabetes"), tmp_path, "onnx-int8")
    assert logging.getLogger().level == level


def test_only_a_model_of_trees_alone_must_decide_as_the_original_to_the_last_bit():
    rows, truth = load("cancer")
    forest, linear = RandomForestClassifier(5, random_state=0), LogisticRegression()
    both = VotingClassifier([("forest", forest), ("linear", linear)], voting="soft")
    found = [
        decides_on_row(Material(fit(model, rows, truth).model, rows).program)
        for model in (forest, make_pipeline(StandardScaler(), forest), both, linear)
    ]
    assert found == [True, True, False, False]


def test_what_runs_here_is_weighed_and_a_file_that_cannot_be_is_refused_alone(tmp_path, monkeypatch):
    learnt = learn("ridge", "diabetes")
    wanted = ("onnx-fp32", "tflite-fp32", "native", "c")
    report = export(learnt, tmp_path / "all", *wanted, surroundings=Surroundings(()))
    memories = {variant.name: variant.memory for variant in report.accepted}
    assert list(memories) == list(wanted)
    assert memories.pop("c") is None
    assert all(memory is not None and memory.peak_bytes > 1e5 for memory in memories.values())
    assert all(variant.runs[0].memory == variant.memory for variant in report.accepted)
    weigh = Prover.weigh

    def crash(self, runtime, path):
        if runtime == "tflite":
            raise BundleError("its process was ended by SIGSEGV")
        return weigh(self, runtime, path)

    monkeypatch.setattr(Prover, "weigh", crash)
    report = export(learnt, tmp_path / "some", *wanted, surroundings=Surroundings(()))
    assert [variant.name for variant in report.accepted] == ["onnx-fp32", "native", "c"]
    (refused,) = (variant for variant in report.variants if not variant.accepted)
    assert "SIGSEGV" in refused.reason
