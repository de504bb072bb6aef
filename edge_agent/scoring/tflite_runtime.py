"""Runs TFLite variants with tflite-runtime, or with its successor LiteRT where that is installed."""

from collections.abc import Sequence
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
        a third of the time of a small model.
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
        return Bound(rows.data, answers.data, entry.data, answer.data, invoke, (), None, (ValueError, RuntimeError))

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
