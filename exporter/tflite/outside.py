"""Converts graphs from outside that no program expresses (convolutions) to TFLite, with onnx2tf in its own environment.

onnx2tf rewrites the file that it is given, and ends without an error over models that are of no use: it gets a copy,
and what it makes is loaded, scored and compared before it is taken.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edge_agent.clock import Clock, SystemClock
from exporter.errors import ConversionError
from exporter.graphs.graph import OnnxEstimator
from exporter.graphs.nodes import INPUT
from exporter.graphs.normalised import normalised
from exporter.models.model import Outputs, Rows
from exporter.tflite.outside_environment import VERSION, onnx2tf_python

_TIMEOUT_S: Final = 900.0
_CALIBRATION_ROWS: Final = 256
_CHECKED_ROWS: Final = 64
# What a float32 graph may be off by here; the gate of parity judges more closely. int8 is judged by its quality.
_FLOAT_ERROR: Final = 1e-3
_TAIL_LINES: Final = 3


def convert_outside_fp32(estimator: OnnxEstimator, calibration: Rows) -> bytes:
    """Return a graph as TFLite computing in float32; it takes ``(1, n_features)`` and answers ``(1, n_outputs)``.

    Args:
        estimator: the graph.
        calibration: ``(n, n_features) float32`` real rows, on which the result is compared with the graph.

    Raises:
        UnsupportedError: there is no Python that onnx2tf runs on.
        ConversionError: it failed, or what it made does not answer as the graph does.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = _convert(_plain_file(estimator, Path(folder)), (), "_float32.tflite").read_bytes()
    checked = _spread(calibration, _CHECKED_ROWS)
    got, expected = _score(data, checked, estimator), estimator.answers(checked)
    worst = float(np.max(np.abs(got - expected)))
    if not worst <= _FLOAT_ERROR * max(1.0, float(np.max(np.abs(expected)))):
        raise ConversionError(
            f"onnx2tf {VERSION} made a model that answers otherwise than the graph, by up to {worst:.3g}"
        )
    return data


def convert_outside_int8(estimator: OnnxEstimator, calibration: Rows) -> bytes:
    """Return a graph as TFLite computing in int8, with float32 rows and answers; else as `convert_outside_fp32`."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "calibration.npy")
        np.save(rows, _spread(calibration, _CALIBRATION_ROWS))
        # Mean 0 and spread 1: the rows are what the graph takes.
        options = ("-oiqt", "-qt", "per-channel", "-cind", INPUT, str(rows), "0", "1")
        data = _convert(_plain_file(estimator, Path(folder)), options, "_integer_quant.tflite").read_bytes()
    _score(data, _spread(calibration, _CHECKED_ROWS), estimator)
    return data


def convert_with_onnx2tf(onnx_path: Path, out: Path, *, input_name: str = INPUT, clock: Clock | None = None) -> float:
    """Convert an ONNX file to TFLite with onnx2tf, for comparison; return the seconds that it took.

    Args:
        onnx_path: is not changed.
        out: folder for what it writes.
        input_name: of the model's input, whose shape is kept.
        clock: the machine's own by default.

    Raises:
        UnsupportedError: there is no Python that it runs on.
        ConversionError: it failed.
    """
    clock = clock or SystemClock()
    python = onnx2tf_python()
    out.mkdir(parents=True, exist_ok=True)
    copy = out / "model.onnx"
    copy.write_bytes(onnx_path.read_bytes())
    before = clock.monotonic_s()
    _run(python, copy, out, (), input_name)
    return clock.monotonic_s() - before


def _plain_file(estimator: OnnxEstimator, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(normalised(estimator).SerializeToString(deterministic=True))
    return path


def _convert(copy: Path, options: Sequence[str], ending: str) -> Path:
    python, out = onnx2tf_python(), copy.parent / "out"
    words = _run(python, copy, out, options)
    made = out / f"{copy.stem}{ending}"
    if not made.is_file():
        raise ConversionError(f"onnx2tf {VERSION} made no model: {words}")
    return made


def _run(python: Path, copy: Path, out: Path, options: Sequence[str], input_name: str = INPUT) -> str:
    """Run onnx2tf on a file that it may rewrite; return its last words."""
    command = [
        # Isolated: a PYTHONPATH of ours would bring packages of another Python along.
        *(str(python), "-I", "-m", "onnx2tf", "-i", str(copy), "-o", str(out), "-n"),
        # One row, and its shape kept: the device hands over (1, n_features).
        *("-tb", "flatbuffer_direct", "-b", "1", "-kat", input_name),
        *options,
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
            check=False,
            cwd=copy.parent,
        )
    except subprocess.TimeoutExpired as error:
        raise ConversionError(f"onnx2tf {VERSION} takes longer than {_TIMEOUT_S:.0f} s") from error
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    words = " ".join(" ".join(lines[-_TAIL_LINES:]).split())[-300:]
    if done.returncode != 0:
        raise ConversionError(f"onnx2tf {VERSION} failed: {words}")
    return words


def _spread(rows: Rows, n: int) -> Rows:
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), n)).astype(np.int64))
    chosen: Rows = rows[places]
    return chosen


def _score(data: bytes, rows: Rows, estimator: OnnxEstimator) -> Outputs:
    """Return what a TFLite model answers; raise ConversionError when it is none, or takes or answers something else."""
    n_features, n_outputs = estimator.n_features_in_, estimator.contract.n_outputs
    try:
        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=kernels)
        interpreter.allocate_tensors()
        (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
        shapes = [tuple(int(n) for n in tensor["shape"]) for tensor in (taken, given)]
        if shapes != [(1, n_features), (1, n_outputs)]:
            raise ConversionError(f"onnx2tf {VERSION} made a model of {shapes[0]} to {shapes[1]}")
        answers = []
        for row in rows:
            interpreter.set_tensor(taken["index"], row[np.newaxis].astype(np.float32))
            interpreter.invoke()
            answers.append(interpreter.get_tensor(given["index"])[0])
    except (ValueError, RuntimeError) as error:
        raise ConversionError(f"onnx2tf {VERSION} made a model that LiteRT refuses: {str(error)[:300]}") from error
    return np.asarray(answers, dtype=np.float64)
