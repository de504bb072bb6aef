"""Runs ONNX variants with ONNX Runtime, through buffers that are bound once.

A bound row costs about half of ``session.run``: nothing is looked up, converted or allocated per row. One thread, as
forests otherwise sum in another order and answer differently from device to device.
"""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as pybind_state

from edge_agent.errors import BundleError, RowError
from edge_agent.scoring.runtime import Bound

_FLOAT: Final = "tensor(float)"
# The errors of a running session have no base of their own.
_ORT_ERRORS: Final[tuple[type[Exception], ...]] = (
    RuntimeError,
    *(e for e in vars(pybind_state).values() if isinstance(e, type) and issubclass(e, Exception)),
)
_SCORE_ERRORS: Final[tuple[type[Exception], ...]] = (struct.error, OverflowError, *_ORT_ERRORS)
_BATCH_ERRORS: Final[tuple[type[Exception], ...]] = (ValueError, *_ORT_ERRORS)
# 4 is fatal: what goes wrong is raised as well, and a device's log is no place for the rest.
_LOG_SEVERITY: Final = 4
# Rows that are scored together are summed in another order.
_NEAR: Final = 1e-4


class OnnxRuntime:
    """One ONNX model; implements `edge_agent.scoring.runtime.Runtime`."""

    def __init__(self, path: Path, n_features: int, n_outputs: int) -> None:
        """Load ``path``.

        Raises:
            BundleError: not a model that ONNX Runtime can load, or not one that takes ``(n, n_features)`` float32 and
                answers ``(n, n_outputs)`` float32.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _LOG_SEVERITY
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors share no narrower base
            msg = f"{path}: ONNX Runtime {ort.__version__} cannot load it: {_first_line(error)}"
            raise BundleError(msg) from error
        self._path = path
        self._input = self._verify_input(n_features)
        self._output, shape = self._choose_output(n_features, n_outputs)
        self._row = np.zeros((1, n_features), dtype=np.float32)
        self._answer = np.zeros(shape, dtype=np.float32)
        self._bytes = memoryview(self._row.view(np.uint8).reshape(-1).data)
        self._pack = struct.Struct(f"={n_features}f").pack_into
        self._run = self._session.run_with_iobinding
        self._binding = self._session.io_binding()
        self._binding.bind_input(self._input, "cpu", 0, np.float32, self._row.shape, self._row.ctypes.data)
        self._binding.bind_output(self._output, "cpu", 0, np.float32, shape, self._answer.ctypes.data)
        self._flat = self._answer.reshape(-1)

    def score(self, row: Sequence[float]) -> Sequence[float]:
        """Score one row; see `Runtime.score`."""
        try:
            self._pack(self._bytes, 0, *row)
            self._run(self._binding)
        except _SCORE_ERRORS as error:
            raise RowError("runtime", f"ONNX Runtime: {_first_line(error)}") from error
        answer: list[float] = self._flat.tolist()
        return answer

    def score_batch(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """Score many rows at once; see `Runtime.score_batch`."""
        if not rows:
            return []
        try:
            block = np.asarray(rows, dtype=np.float32).reshape(len(rows), self._row.shape[1])
            (answer,) = self._session.run([self._output], {self._input: block})
        except _BATCH_ERRORS as error:
            raise RowError("runtime", f"ONNX Runtime, {len(rows)} rows: {_first_line(error)}") from error
        answers: list[list[float]] = np.asarray(answer).reshape(len(rows), -1).tolist()
        return answers

    def bind(self, capacity: int) -> Bound:
        """Bind it to buffers; see `BlockRuntime.bind`."""
        rows = np.zeros((capacity, self._row.shape[1]), dtype=np.float32)
        answers = np.zeros((capacity, self._flat.shape[0]), dtype=np.float32)
        shape = self._answer.shape
        bindings: dict[int, Any] = {}

        def run_many(n: int) -> None:
            binding = bindings.get(n)
            if binding is None:
                binding = bindings[n] = self._bind(rows, n, answers, (n, *shape[1:]))
            run(binding if inner is None else binding._iobinding, None)  # noqa: SLF001 - as below

        # The session's own object: its wrapper asks nothing that is not known here, and costs a tenth of a small model.
        inner = getattr(self._session, "_sess", None)
        run = self._run if inner is None else inner.run_with_iobinding
        wrapped = self._binding
        one = wrapped if inner is None else wrapped._iobinding  # noqa: SLF001 - as above
        bound = Bound(
            rows.data, answers.data, self._row.data, self._answer.data, run, (one, None), run_many, _ORT_ERRORS
        )
        is_many = len(shape) > 1 and shape[0] == 1 and capacity > 1 and _takes_many(bound, run_many)
        return bound if is_many else bound._replace(run_many=None)

    def close(self) -> None:
        """Give back the session's memory."""
        del self._run, self._binding, self._session

    def _bind(self, rows: Any, n: int, answers: Any, shape: tuple[int, ...]) -> Any:  # noqa: ANN401 - the package ships no types
        binding = self._session.io_binding()
        binding.bind_input(self._input, "cpu", 0, np.float32, (n, self._row.shape[1]), rows.ctypes.data)
        binding.bind_output(self._output, "cpu", 0, np.float32, shape, answers.ctypes.data)
        return binding

    def _verify_input(self, n_features: int) -> str:
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != _FLOAT or len(inputs[0].shape) != 2:  # noqa: PLR2004 - (rows, features)
            found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            msg = f"{self._path}: takes [{found}], not one input of (rows, {n_features}) float32"
            raise BundleError(msg)
        width = inputs[0].shape[1]
        if isinstance(width, int) and width != n_features:
            msg = f"{self._path}: takes {width} features, its manifest has {n_features}"
            raise BundleError(msg)
        return str(inputs[0].name)

    def _choose_output(self, n_features: int, n_outputs: int) -> tuple[str, tuple[int, ...]]:
        """Find the one float output of ``n_outputs`` numbers a row, by asking: declared shapes are often open."""
        names = [o.name for o in self._session.get_outputs() if o.type == _FLOAT]
        probe = np.zeros((1, n_features), dtype=np.float32)
        try:
            answers: list[Any] = self._session.run(names, {self._input: probe}) if names else []
        except Exception as error:  # as above
            msg = f"{self._path}: fails on a row of {n_features} zeros: {_first_line(error)}"
            raise BundleError(msg) from error
        shapes = [(name, tuple(answer.shape)) for name, answer in zip(names, answers, strict=True)]
        fitting = [(name, shape) for name, shape in shapes if int(np.prod(shape)) == n_outputs]
        if len(fitting) != 1:
            found = ", ".join(f"{name} {shape}" for name, shape in shapes) or "no float32 output"
            msg = f"{self._path}: answers {found} for one row, its manifest has {n_outputs} outputs"
            raise BundleError(msg)
        return fitting[0]


def _takes_many(bound: Bound, run_many: Callable[[int], object]) -> bool:
    """Tell whether a model answers two rows at once as it answers each of them: some are made for one alone."""
    rows, answers = np.asarray(bound.rows), np.asarray(bound.answers)
    entry, answer = np.asarray(bound.entry), np.asarray(bound.exit)
    rows[:2] = [[0.0], [1.0]]
    entry[:] = 1.0
    try:
        run_many(2)
        bound.run(*bound.arguments)
    except _BATCH_ERRORS:
        return False
    return np.allclose(answers[1], answer.reshape(-1), rtol=_NEAR, atol=_NEAR, equal_nan=True)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]
