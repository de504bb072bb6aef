"""Quantises graphs from outside that have no program (convolutions), with ONNX Runtime's own static quantiser.

Products run in int8, weights with one scale a channel, activations with the range they have on the calibration rows.
What only moves or clips numbers is quantised along; standardising in front, softmax behind and all else stay float32.
"""

import logging
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from exporter.errors import ConversionError, UnsupportedError
from exporter.graphs.nodes import INPUT
from exporter.graphs.surgery import nodes_of
from exporter.models.model import Rows

_PRODUCTS: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ALONG: Final = ("Relu", "Clip", "MaxPool", "AveragePool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze")
_CALIBRATION_ROWS: Final = 512
_BATCH: Final = 64


def quantise_graph(proto: onnx.ModelProto, calibration: Rows) -> onnx.ModelProto:
    """Return a graph with int8 products.

    Args:
        proto: takes ``rows (n, n_features) float32``.
        calibration: ``(n, n_features) float32`` real rows.

    Raises:
        UnsupportedError: it has no product with stored weights.
        ConversionError: ONNX Runtime's quantiser failed.
    """
    stored = {tensor.name for tensor in proto.graph.initializer}
    products = [n for n in nodes_of(proto.graph) if n.op_type in _PRODUCTS and stored.intersection(n.input[1:2])]
    if not products:
        node = proto.graph.node[-1]
        raise UnsupportedError(
            node.name or node.op_type,
            f"a graph without {', '.join(_PRODUCTS)} over stored weights is not supported for onnx-int8: there is "
            "nothing to quantise; onnx-fp32 is",
        )
    with tempfile.TemporaryDirectory() as folder, _QuietRootLogger():
        before, ready, after = (Path(folder, name) for name in ("plain.onnx", "ready.onnx", "int8.onnx"))
        before.write_bytes(proto.SerializeToString())
        try:
            # Folds constants and batch normalisation, so that weights are what they are when the model runs.
            quant_pre_process(str(before), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready),
                str(after),
                _Calibration(calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*_PRODUCTS, *_ALONG],
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
            )
        except Exception as error:  # the quantiser raises whatever its parts raise
            raise ConversionError(f"ONNX Runtime's quantiser failed: {type(error).__name__}: {error}") from error
        return onnx.load(after)


class _Calibration(CalibrationDataReader):  # type: ignore[misc] # onnxruntime ships no types
    """Gives the quantiser calibration rows in batches: evenly spaced ones when there are too many."""

    def __init__(self, rows: Rows) -> None:
        places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _CALIBRATION_ROWS)).astype(np.int64))
        chosen = rows[places]
        self._batches = (chosen[start : start + _BATCH] for start in range(0, len(chosen), _BATCH))

    def get_next(self) -> dict[str, Rows] | None:
        """Return the next batch, or None when there is none."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


class _QuietRootLogger:
    """Keeps the quantiser's advice, which it gives on the root logger, from users who cannot follow it."""

    def __enter__(self) -> None:
        self._level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        logging.getLogger().setLevel(self._level)
