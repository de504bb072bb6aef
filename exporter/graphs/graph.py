"""An ONNX file from outside (PyTorch, Keras, LightGBM, …) as a model that the exporter takes.

The original graph runs in ONNX Runtime as it was written; the variants are compared with it.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from exporter.errors import ModelError
from exporter.graphs.contract import Asked, Contract, Intake, Meaning, contract_of
from exporter.graphs.file import parse_onnx, read_onnx

Floats = NDArray[np.float64]

_PROBES: Final = 16
# 4 is fatal: what goes wrong is raised as well.
_LOG_SEVERITY: Final = 4


class OnnxEstimator:
    """A graph with scikit-learn's words: `predict`, and for classifiers `predict_proba` and `classes_`.

    Attributes:
        proto: the original model, with functions inlined; it is not changed.
        contract: how it takes rows and what its answer means.
        n_features_in_: columns of a row.
    """

    def __init__(self, proto: onnx.ModelProto, contract: Contract, where: str) -> None:
        """Open the graph; raise ModelError when ONNX Runtime cannot."""
        self.proto = proto
        self.contract = contract
        self.n_features_in_ = contract.n_features
        self._where = where
        self._session = _session_of(proto, contract.answer, where)
        if contract.labels:
            self.classes_ = np.array(contract.labels)

    def predict(self, rows: NDArray[np.float32]) -> NDArray[Any]:
        """Return the label or the value of each row ``(n, n_features)``.

        Raises:
            ModelError: ONNX Runtime fails on them.
        """
        if not self.contract.labels:
            return self._ask(rows)[:, 0]
        labels: NDArray[Any] = self.classes_[np.argmax(self.predict_proba(rows), axis=1)]
        return labels

    def predict_proba(self, rows: NDArray[np.float32]) -> Floats:
        """Return one probability a class, ``(n, n_classes)``.

        Raises:
            ModelError: ONNX Runtime fails on the rows, or the graph answers a value.
        """
        if not self.contract.labels:
            raise ModelError(f"{self._where}: answers a value, not probabilities")
        return probabilities_of(self._ask(rows), self.contract.meaning)

    def settled(self, rows: NDArray[np.float32], outputs: Asked | None) -> "OnnxEstimator":
        """Return the same graph, whose answer's meaning is judged on rows that it will meet.

        Args:
            rows: ``(n, n_features) float32``.
            outputs: what its answer is; None: it is found out.

        Raises:
            ModelError: see `exporter.graphs.contract`.
        """
        return _estimator_of(self.proto, self._where, outputs, rows)

    @property
    def answers_float32(self) -> bool:
        """Whether the graph's own answer is float32."""
        return bool(self._session.get_outputs()[0].type == "tensor(float)")

    def answers(self, rows: NDArray[np.float32]) -> Floats:
        """Return the probabilities or the value of each row, ``(n, n_outputs)``; raise ModelError as `predict` does."""
        return self.predict_proba(rows) if self.contract.labels else self._ask(rows)

    def _ask(self, rows: NDArray[np.float32]) -> Floats:
        return _run(self._session, self.contract.intakes, rows, self._where)


def load_model_file(
    path: Path, *, outputs: Asked | None = None, rows: NDArray[np.float32] | None = None
) -> OnnxEstimator:
    """Read an ONNX file.

    Args:
        path: of the file.
        outputs: what its answer is; None: it is found out, and scores that are no probabilities go through a softmax.
        rows: ``(n, n_features) float32`` typical rows: they settle an axis that the graph leaves open, and whether its
            answers are probabilities.

    Raises:
        ModelError: it cannot be taken, see `exporter.graphs.file` and `exporter.graphs.contract`.
    """
    return _estimator_of(read_onnx(path), str(path), outputs, rows)


def parse_model(
    data: bytes, where: str, *, outputs: Asked | None = None, rows: NDArray[np.float32] | None = None
) -> OnnxEstimator:
    """Read the bytes of an ONNX file; see `load_model_file`."""
    return _estimator_of(parse_onnx(data, where), where, outputs, rows)


def probabilities_of(numbers: Floats, meaning: Meaning) -> Floats:
    """Return what a graph's answers ``(n, k)`` mean, as probabilities."""
    if meaning == "logits":
        powers = np.exp(numbers - numbers.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    if meaning == "logarithms":
        return np.exp(numbers)
    if meaning in {"logit", "probability"}:
        second = 1 / (1 + np.exp(-np.clip(numbers, -700.0, 700.0))) if meaning == "logit" else numbers
        return np.concatenate([1 - second, second], axis=1)
    return numbers


def _estimator_of(
    proto: onnx.ModelProto, where: str, outputs: Asked | None, rows: NDArray[np.float32] | None
) -> OnnxEstimator:
    def run(intakes: tuple[Intake, ...], answer: str) -> Floats:
        n_features = sum(intake.width for intake in intakes)
        probes = _probes(n_features) if rows is None else rows[:: max(len(rows) // _PROBES, 1)]
        return _run(_session_of(proto, answer, where), intakes, probes, where)

    n_features = None if rows is None else rows.shape[1]
    return OnnxEstimator(proto, contract_of(proto.graph, run, n_features, outputs, where), where)


def _probes(n_features: int) -> NDArray[np.float32]:
    """Return rows of small numbers, each different."""
    places = np.arange(_PROBES * n_features, dtype=np.float64).reshape(_PROBES, n_features)
    return np.asarray(np.sin(places), dtype=np.float32)


def _session_of(proto: onnx.ModelProto, answer: str, where: str) -> ort.InferenceSession:
    """Open a graph that answers one of its values."""
    asked = onnx.ModelProto()
    asked.CopyFrom(proto)
    del asked.graph.output[:]
    asked.graph.output.add().name = answer
    options = ort.SessionOptions()
    # One thread: sums of many numbers otherwise differ from run to run.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_SEVERITY
    try:
        return ort.InferenceSession(asked.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no narrower base
        raise ModelError(f"{where}: ONNX Runtime {ort.__version__} cannot load it: {_first_line(error)}") from error


def _run(session: ort.InferenceSession, intakes: tuple[Intake, ...], rows: NDArray[np.float32], where: str) -> Floats:
    """Return a graph's answers, ``(n, k) float64``."""
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    one_by_one = any(intake.has_one_row for intake in intakes)
    pieces = np.split(rows, len(rows)) if one_by_one and len(rows) else [rows]
    try:
        answers = [session.run(None, {i.name: i.feed(piece) for i in intakes})[0] for piece in pieces]
    except Exception as error:  # as above
        raise ModelError(f"{where}: fails on {len(rows)} rows: {_first_line(error)}") from error
    sizes = [(np.asarray(answer, dtype=np.float64), len(piece)) for answer, piece in zip(answers, pieces, strict=True)]
    for answer, n_rows in sizes:
        if answer.ndim == 0 or len(answer) != n_rows:
            raise ModelError(f"{where}: answers {answer.shape} for {n_rows} rows; its first axis must be that of rows")
    return np.concatenate([answer.reshape(n_rows, -1) for answer, n_rows in sizes])


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]
