"""Runs TFLite variants with tflite-runtime, or with its successor LiteRT where that is installed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_agent.errors import BundleError, RowError
from edge_agent.scoring.runtime import Bound

try:
    from tflite_runtime import interpreter as tflite
except ImportError:
    from ai_edge_litert import interpreter as tflite

_INTEGERS: Final = (np.int8, np.uint8, np.int16)
_ERRORS: Final = (ValueError, RuntimeError)
# Rows that are scored at once; fewer than the least are sooner scored one by one.
TOGETHER: Final = 32
_LEAST_TOGETHER: Final = 4
# A model of more bytes is not held twice.
MAX_TWICE: Final = 1 << 20
# One of fewer is from the beginning: that takes some kilobytes, and a third of a millisecond, which the first rows that
# wait would else wait for.
TWICE_AT_ONCE: Final = 1 << 16
_NEAR: Final = 1e-4


class TfliteRuntime:
    """One TFLite model; implements `edge_agent.scoring.runtime.Runtime`.

    Input and output may be float32, or integers that carry their own scale and zero point.
    """

    def __init__(self, path: Path, n_features: int, n_outputs: int) -> None:
        """Load ``path``.

        Raises:
            BundleError: not a model that the runtime can load, or not one that takes ``(1, n_features)`` and answers
                ``(1, n_outputs)``.
        """
        self._path = path
        self._interpreter = _open_interpreter(path)
        self._input, self._input_scale = self._verify_tensor("input", self._interpreter.get_input_details(), n_features)
        self._output, self._output_scale = self._verify_tensor(
            "output", self._interpreter.get_output_details(), n_outputs
        )
        self._row = np.zeros(self._input["shape"], dtype=np.float32)
        self._flat = self._row.reshape(-1)
        # Bound methods and indices, looked up once instead of once a row.
        self._set, self._get, self._invoke = (
            self._interpreter.set_tensor,
            self._interpreter.get_tensor,
            self._interpreter.invoke,
        )
        self._input_index, self._output_index = self._input["index"], self._output["index"]
        try:
            self.score([0.0] * n_features)
        except RowError as error:
            msg = f"{path}: fails on a row of {n_features} zeros: {error}"
            raise BundleError(msg) from error

    def score(self, row: Sequence[float]) -> Sequence[float]:
        """Score one row; see `Runtime.score`."""
        try:
            self._flat[:] = row
            self._set(self._input_index, self._row if self._input_scale is None else self._quantised())
            self._invoke()
            answer = self._get(self._output_index).reshape(-1)
        except (ValueError, RuntimeError, OverflowError) as error:
            raise RowError("runtime", f"TFLite: {str(error)[:300]}") from error
        if self._output_scale is not None:
            scale, zero_point = self._output_scale
            answer = (answer.astype(np.float32) - zero_point) * scale
        answers: list[float] = answer.tolist()
        return answers

    def score_batch(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """Score many rows, one after the other: the runtime gains nothing from batches; see `Runtime.score_batch`."""
        return [list(self.score(row)) for row in rows]

    def bind(self, capacity: int) -> Bound | None:
        """Bind it to buffers, the interpreter's own tensors for one row; see `BlockRuntime.bind`.

        ``invoke`` of the interpreter refuses while anyone looks at its tensors, lest they move; without a change of
        size they do not, so what it wraps is called. That, and no copy through ``set_tensor`` and ``get_tensor``, is
        two thirds of the time of a small model.
        """
        invoke = getattr(getattr(self._interpreter, "_interpreter", None), "Invoke", None)
        if invoke is None or self._input_scale is not None or self._output_scale is not None:
            return None
        entry = self._interpreter.tensor(self._input_index)().reshape(-1)
        answer = self._interpreter.tensor(self._output_index)().reshape(-1)
        rows = np.zeros((capacity, entry.shape[0]), dtype=np.float32)
        answers = np.zeros((capacity, answer.shape[0]), dtype=np.float32)
        # From here on the interpreter's own `invoke` would refuse.
        self._invoke = invoke
        size_bytes = self._path.stat().st_size
        many = _Together(self._path, self.score, rows, answers) if size_bytes <= MAX_TWICE else None
        if many is not None and size_bytes <= TWICE_AT_ONCE:
            many.open()
        run_many = many.run if many is not None else None
        return Bound(rows.data, answers.data, entry.data, answer.data, invoke, (), run_many, _ERRORS)

    def close(self) -> None:
        """Give back the interpreter's memory."""
        del self._set, self._get, self._invoke, self._interpreter

    def _quantised(self) -> Any:  # noqa: ANN401 - an array of the input's own dtype
        scale, zero_point = self._input_scale or (1.0, 0)
        if np.isnan(self._row).any():
            msg = "an integer input cannot carry a missing value"
            raise ValueError(msg)
        limits = np.iinfo(self._input["dtype"])
        return np.clip(np.rint(self._row / scale) + zero_point, limits.min, limits.max).astype(self._input["dtype"])

    def _verify_tensor(
        self, what: str, details: list[dict[str, Any]], n_values: int
    ) -> tuple[dict[str, Any], tuple[float, int] | None]:
        """Return the one tensor of a side, and its scale and zero point if it holds integers."""
        found = ", ".join(f"{d['name']} {np.dtype(d['dtype'])} {d['shape'].tolist()}" for d in details)
        if len(details) != 1 or int(np.prod(details[0]["shape"])) != n_values:
            msg = f"{self._path}: {what} is [{found}], its manifest has {n_values} numbers a row"
            raise BundleError(msg)
        (tensor,) = details
        if tensor["dtype"] is np.float32:
            return tensor, None
        scale, zero_point = tensor["quantization"]
        if tensor["dtype"] not in _INTEGERS or not scale > 0:
            msg = f"{self._path}: {what} is [{found}], neither float32 nor integers with a scale"
            raise BundleError(msg)
        return tensor, (float(scale), int(zero_point))


class _Together:
    """A second interpreter of a small model, for many rows at once; opened when many rows wait, if not before."""

    def __init__(self, path: Path, score: Callable[[list[float]], Sequence[float]], rows: Any, answers: Any) -> None:  # noqa: ANN401 - arrays
        self._path = path
        self._score = score
        self._rows = rows
        self._answers = answers
        self._is_tried = False
        self._run: Callable[[], object] | None = None
        self._entry = self._answer = rows[:0]

    def run(self, n: int) -> None:
        """Score the first ``n`` rows into the answers.

        Raises:
            RuntimeError: this model scores one row at a time, or failed on these.
        """
        if not self._is_tried:
            self.open()
        if self._run is None:
            msg = "the model scores one row at a time"
            raise RuntimeError(msg)
        size = len(self._entry)
        for start in range(0, n, size):
            part = min(size, n - start)
            # What is left of other rows behind them does no harm.
            self._entry[:part] = self._rows[start : start + part]
            self._run()
            self._answers[start : start + part] = self._answer[:part]

    def open(self) -> None:
        """Open it, unless the model does not take many rows, or answers them otherwise than one by one."""
        self._is_tried = True
        n_features, n_outputs = self._rows.shape[1], self._answers.shape[1]
        size = min(TOGETHER, len(self._rows))
        try:
            interpreter = _open_interpreter(self._path)
            entry = interpreter.get_input_details()[0]["index"]
            if tuple(interpreter.get_input_details()[0]["shape"]) != (1, n_features) or size < _LEAST_TOGETHER:
                return
            interpreter.resize_tensor_input(entry, (size, n_features))
            interpreter.allocate_tensors()
            given = interpreter.tensor(entry)()
            given[:] = np.linspace(-1.0, 1.0, size, dtype=np.float32)[:, None]
            run = interpreter._interpreter.Invoke  # noqa: SLF001 - as `TfliteRuntime.bind`
            run()
            answer = interpreter.tensor(interpreter.get_output_details()[0]["index"])()
            expected = [self._score(row) for row in given.tolist()]
        except (BundleError, RowError, *_ERRORS):
            return
        if answer.shape == (size, n_outputs) and np.allclose(answer, expected, rtol=_NEAR, atol=_NEAR):
            self._entry, self._answer, self._run = given, answer, run


def _open_interpreter(path: Path) -> Any:  # noqa: ANN401 - the package ships no types
    """Open a model with the default delegates, else without: XNNPACK refuses some files that the kernels run."""
    refusal: Exception | None = None
    for options in ({}, {"experimental_op_resolver_type": tflite.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}):
        try:
            interpreter = tflite.Interpreter(model_path=str(path), num_threads=1, **options)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            refusal = error
        else:
            return interpreter
    msg = f"{path}: the TFLite runtime cannot load it: {str(refusal)[:300]}"
    raise BundleError(msg) from refusal
