"""Small but real things for tests of the agent: a manifest, models in both formats, a clock that is set by hand."""

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from broker.messages import BundleRef, TelemetryWindow
from edge_agent.bundle import (
    Estimation,
    Feature,
    FeatureReference,
    GoldenRow,
    Lineage,
    LinearModel,
    Manifest,
    RuntimeName,
    TrialRules,
    Variant,
)
from edge_agent.scoring.schema import EncodedRow
from edge_agent.scoring.scorer import Prediction
from edge_agent.telemetry.window import WindowBuilder
from exporter.native.file import encode_program
from exporter.programs.program import Linear, ProgramBuilder, Softmax

if TYPE_CHECKING:
    from onnx import GraphProto

# The model of every example: two features, two labels, softmax of a linear map.
WEIGHTS = np.array([[-1.0, 1.0], [-0.5, 0.5]], dtype=np.float32)
BIAS = np.array([0.0, 0.0], dtype=np.float32)


class ManualClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, monotonic_s: float = 1000.0, utc_s: float = 1.7e9) -> None:
        self.now_monotonic_s = monotonic_s
        self.now_utc_s = utc_s

    def monotonic_s(self) -> float:
        return self.now_monotonic_s

    def utc_s(self) -> float:
        return self.now_utc_s

    def advance(self, seconds: float) -> None:
        self.now_monotonic_s += seconds
        self.now_utc_s += seconds


def variant_of(path: Path, name: str = "onnx-fp32", runtime: RuntimeName = "onnx", tolerance: float = 1e-5) -> Variant:
    """Describe a model file as its manifest does."""
    data = path.read_bytes()
    return Variant(
        name=name,
        runtime=runtime,
        file=path.name,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        tolerance=tolerance,
        quality=0.9,
        latency_us=5.0,
    )


def variant_bytes(name: str, file: str, data: bytes, runtime: str = "onnx") -> Variant:
    """Describe the content of a file, whatever it is, as a manifest does; its runtime may not exist."""
    digest = hashlib.sha256(data).hexdigest()
    return Variant(name, runtime, file, len(data), digest, 1e-5, 0.9, 5.0)  # type: ignore[arg-type]


def softmax(row: list[float]) -> list[float]:
    """Answer as the example model does."""
    logits = [float(np.dot(np.array(row, dtype=np.float64), WEIGHTS[:, k])) for k in range(2)]
    powers = [math.exp(logit) for logit in logits]
    return [power / sum(powers) for power in powers]


def classification_manifest(**changes: object) -> Manifest:
    """A manifest of two features and the labels ``dry`` and ``rain``."""
    values: dict[str, object] = {
        "format": 1,
        "name": "rain",
        "version": 3,
        "task": "classification",
        "metric": "accuracy",
        "features": (
            Feature("temperature", unit="degC", valid_min=-40.0, valid_max=60.0, on_missing="flag"),
            Feature("wind", unit="m/s", valid_min=0.0, valid_max=80.0, on_out_of_range="refuse"),
        ),
        "labels": ("dry", "rain"),
        "output_edges": (),
        "output_blocks": ((10, 20), (12, 18)),
        "references": (
            FeatureReference(edges=(0.0, 10.0, 20.0), blocks=((1, 2, 3, 4), (4, 3, 2, 1))),
            FeatureReference(edges=(5.0,), blocks=((5, 5), (6, 4))),
        ),
        "estimation": Estimation(
            second_model=LinearModel(
                means=(10.0, 5.0),
                scales=(5.0, 2.0),
                coefficients=((-1.0, -0.5), (1.0, 0.5)),
                intercepts=(0.25, 0.0),
            ),
            disagreement_edges=(),
            quality=(0.5,) * 20,
            rows=(3,) * 20,
            expected_quality=0.8,
            block_quality=(0.75, 0.85),
        ),
        "golden": (
            GoldenRow((1.0, 2.0), tuple(softmax([1.0, 2.0]))),
            GoldenRow((-2.0, 1.0), tuple(softmax([-2.0, 1.0]))),
        ),
        "variants": (Variant("onnx-fp32", "onnx", "model.onnx", 10, "0" * 64, 1e-5, 0.9, 5.0),),
        "trial": TrialRules(rows=5),
        "lineage": Lineage("run", "sha", "1.0", "2026-11-01T00:00:00Z"),
        "window_rows": 10,
    }
    return Manifest(**(values | changes))  # type: ignore[arg-type]  # the tests that break a type mean to


def regression_manifest(**changes: object) -> Manifest:
    """A manifest of two features and one value; its second model answers the first feature."""
    values: dict[str, object] = {
        "task": "regression",
        "metric": "r2",
        "labels": (),
        "output_edges": (0.0, 1.0),
        "output_blocks": ((1, 2, 3),),
        "estimation": Estimation(
            second_model=LinearModel((0.0, 0.0), (1.0, 1.0), ((1.0, 0.0),), (0.0,)),
            disagreement_edges=(0.5, 1.0, 2.0),
            quality=(0.1, 0.2, 0.3, 0.4),
            rows=(1, 2, 3, 4),
            expected_quality=0.25,
            block_quality=(0.2, 0.3),
        ),
        "golden": (GoldenRow((1.0, 2.0), (2.0,)),),
    }
    return classification_manifest(**(values | changes))


def write_onnx_classifier(path: Path, weights: NDArray[np.float32] = WEIGHTS, *, open_shape: bool = True) -> Path:
    """Write a model as scikit-learn's converter does: outputs label (int64) and probabilities."""
    # Imported where it is used: 32-bit boards, on which these tests are run too, have no onnx and no LiteRT.
    from onnx import TensorProto, helper, numpy_helper

    n_features, n_labels = weights.shape
    nodes = [
        helper.make_node("MatMul", ["X", "W"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, n_features if not open_shape else None])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, n_labels]),
        ],
        [numpy_helper.from_array(weights, "W")],
    )
    return _save_onnx(graph, path)


def write_onnx_regressor(path: Path, weights: tuple[float, ...] = (0.0, 1.0), *, flat: bool = False) -> Path:
    """Write a linear regressor whose output is ``(n, 1)``, or ``(n,)`` if ``flat``."""
    from onnx import TensorProto, helper, numpy_helper

    column = np.array(weights, dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "W"], ["value"])],
        "regressor",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, len(weights)])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, [None] if flat else [None, 1])],
        [numpy_helper.from_array(column if flat else column.reshape(-1, 1), "W")],
    )
    return _save_onnx(graph, path)


def _save_onnx(graph: "GraphProto", path: Path) -> Path:
    from onnx import checker, helper

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def write_native_classifier(path: Path, weights: NDArray[np.float32] = WEIGHTS) -> Path:
    """Write the model as a native table."""
    builder = ProgramBuilder(2)
    linear = builder.add(Linear(0, weights.astype(np.float64), BIAS.astype(np.float64)))
    path.write_bytes(encode_program(builder.build(builder.add(Softmax(linear)))))
    return path


def write_tflite_classifier(path: Path, weights: NDArray[np.float32] = WEIGHTS, *, integers: bool = False) -> Path:
    """Write ``softmax(x W)``; with ``integers`` its input (step 1/16) and output (step 1/256) are int8."""
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    n_features, n_labels = weights.shape
    tensors: list[schema.TensorT] = []
    buffers = [schema.BufferT()]

    def tensor(
        name: str, shape: list[int], dtype: int = schema.TensorType.FLOAT32, data: NDArray[np.float32] | None = None
    ) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, dtype, 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), dtype=np.uint8)
            made.buffer = len(buffers)
            buffers.append(buffer)
        tensors.append(made)
        return len(tensors) - 1

    codes: list[schema.OperatorCodeT] = []

    def operator(
        code: int, inputs: list[int], output: int, options: tuple[int, object] | None = None
    ) -> schema.OperatorT:
        entry = schema.OperatorCodeT()
        entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, code, 1
        codes.append(entry)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(codes) - 1, inputs, [output]
        if options is not None:
            made.builtinOptionsType, made.builtinOptions = options
        return made

    x = tensor("x", [1, n_features])
    weights_index = tensor("w", [n_labels, n_features], data=np.ascontiguousarray(weights.T))
    logits, answer = tensor("logits", [1, n_labels]), tensor("answer", [1, n_labels])
    dense, curve = schema.FullyConnectedOptionsT(), schema.SoftmaxOptionsT()
    curve.beta = 1.0
    codes_of, options_of = schema.BuiltinOperator, schema.BuiltinOptions
    operators = [
        operator(codes_of.FULLY_CONNECTED, [x, weights_index, -1], logits, (options_of.FullyConnectedOptions, dense)),
        operator(codes_of.SOFTMAX, [logits], answer, (options_of.SoftmaxOptions, curve)),
    ]
    if integers:
        x_int, answer_int = (
            tensor("x8", [1, n_features], schema.TensorType.INT8),
            tensor("a8", [1, n_labels], schema.TensorType.INT8),
        )
        for index, scale, zero_point in ((x_int, 1 / 16, 0), (answer_int, 1 / 256, -128)):
            steps = schema.QuantizationParametersT()
            steps.scale, steps.zeroPoint = [scale], [zero_point]
            tensors[index].quantization = steps
        operators.insert(0, operator(codes_of.DEQUANTIZE, [x_int], x))
        operators.append(operator(codes_of.QUANTIZE, [answer], answer_int))
        x, answer = x_int, answer_int
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, operators, [x], [answer]
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], buffers, codes
    builder = Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def prediction_of(value: float = 1.0, confidence: float = 0.9, uncertainty: float | None = None) -> Prediction:
    """A prediction of the example's second label."""
    return Prediction(
        label_index=int(value),
        label=("dry", "rain")[int(value)],
        value=value,
        confidence=confidence,
        agrees=True,
        agreement_bin=10 + min(int(confidence * 10), 9),
        uncertainty=1 - confidence if uncertainty is None else uncertainty,
        outputs=(1 - confidence, confidence),
    )


def encoded(*values: float) -> EncodedRow:
    """A row as the encoder gives it."""
    row = EncodedRow(len(values))
    row.values = list(values)
    row.has_missing = any(math.isnan(value) for value in values)
    return row


def window_of(first_row: int, last_row: int, version: int = 3, started_utc_s: float = 1.7e9) -> TelemetryWindow:
    """A window in which every row from first to last was scored."""
    builder = WindowBuilder(classification_manifest(version=version), "onnx-fp32", started_utc_s)
    for number in range(first_row, last_row + 1):
        builder.count(number, encoded(float(number % 30), 3.0), prediction_of(), 12.5)
    return builder.close(started_utc_s + 60.0)


RAIN = BundleRef("rain", 3)
