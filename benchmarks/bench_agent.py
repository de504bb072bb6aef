"""The agent's whole path for one row against the bare call of the same runtime.

Ours is the agent's own scoring loop: the row is taken from its source, checked and encoded, scored, scored by the
second model, counted into its window, offered to the sampler, and its answer written into a file. The peer is the
runtime's leanest call from Python, with each row in a buffer that it was given before. Both score the same 500 rows in
turn: one row again and again would flatter trees.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
import pytest

from benchmarks.small_bundles import SEED, SmallBundle, make_bundle
from benchmarks.timing import alternate
from broker.topics import DeviceId
from edge_agent.agent import ScoringLoop
from edge_agent.clock import SystemClock
from edge_agent.handover import ClosedWindow, Handover
from edge_agent.scoring.loading import open_runtime
from edge_agent.scoring.scorer import Scorer
from edge_agent.sensing.json_lines_sink import JsonLinesSink
from edge_agent.sensing.source import SourceRow
from edge_agent.settings import TelemetrySettings
from edge_agent.telemetry.sampler import Sampler
from edge_agent.update.engine import Engine
from edge_agent.update.record import Content
from exporter.models.model import Rows

try:
    from tflite_runtime import interpreter as tflite
except ImportError:
    from ai_edge_litert import interpreter as tflite

ROWS: Final = 500
ROUNDS: Final = 40
REACH: Final = 1.5

CASES: Final = (
    ("digits", "mlp", "onnx-int8"),
    ("digits", "forest", "onnx-fp32"),
    ("digits", "mlp", "tflite-int8"),
    ("breast_cancer", "mlp", "onnx-int8"),
    ("breast_cancer", "forest", "onnx-fp32"),
    ("breast_cancer", "mlp", "tflite-int8"),
)


class MemoryRows:
    """A source of rows that are there already; implements `edge_agent.sensing.source.Source`."""

    def __init__(self, rows: list[SourceRow]) -> None:
        self._rows = rows
        self._next = 0

    @property
    def at_end(self) -> bool:
        return self._next >= len(self._rows)

    def next_row(self, timeout_s: float) -> SourceRow | None:  # noqa: ARG002 - it never waits
        rows = self.ready_rows(1)
        return rows[0] if rows else None

    def ready_rows(self, limit: int) -> list[SourceRow]:
        rows = self._rows[self._next : self._next + limit]
        self._next += len(rows)
        return rows

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("data", "kind", "variant"), CASES)
def bench_whole_path_against_the_bare_call(data, kind, variant, tmp_path, record_ratio) -> None:
    bundle = make_bundle(data, kind, variant, tmp_path / "bundle")
    path = bundle.folder / bundle.manifest.variants[0].file
    rows = np.ascontiguousarray(np.resize(bundle.rows, (ROWS, bundle.rows.shape[1])))
    bare = (_bare_onnx if variant.startswith("onnx") else _bare_tflite)(path, rows)
    whole = _whole_path(bundle, rows, tmp_path / "answers.jsonl")
    times = alternate(whole, bare, rounds=ROUNDS)
    record_ratio(
        f"{data} {kind} {variant}: whole path of a row / bare call",
        ours=times.ours_us / ROWS,
        peer=times.peer_us / ROWS,
        reach=REACH,
        unit="us",
        runs=times.runs,
    )


def _whole_path(bundle: SmallBundle, rows: Rows, answers: Path, max_batch_rows: int) -> Callable[[], None]:
    manifest = bundle.manifest
    variant = manifest.variants[0]
    content = Content(manifest.ref, variant.name, "0" * 64)
    engine = Engine("a", content, manifest, Scorer(manifest, open_runtime(variant, bundle.folder, manifest)))
    sink = JsonLinesSink(answers)
    settings = TelemetrySettings()
    source = [SourceRow(number, tuple(values)) for number, values in enumerate(rows.tolist())]

    def run() -> None:
        handover = Handover()
        loop = ScoringLoop(
            DeviceId("bench"),
            open_source=lambda _features, _cursor: MemoryRows(source),
            sink=sink,
            sampler=Sampler(random.Random(SEED), settings.background_rows, settings.max_label_share),
            handover=handover,
            clock=SystemClock(),
            max_window_s=settings.max_window_s,
            stop_at_end=True,
            engine=engine,
            cursor=0,
            max_batch_rows=max_batch_rows,
        )
        loop.run()
        sink.flush()
        _verify_all_counted(handover)

    return run


def _verify_all_counted(handover: Handover) -> None:
    windows = [item.window for item in handover.take(0) if isinstance(item, ClosedWindow)]
    assert sum(window.rows_scored for window in windows) == ROWS, "the whole path scored less than it was given"


def _bare_onnx(path: Path, rows: Rows) -> Callable[[], None]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (output,) = session.get_outputs()
    answer = np.zeros((1, output.shape[1]), dtype=np.float32)
    bindings = []
    for row in rows:
        binding = session.io_binding()
        binding.bind_input(session.get_inputs()[0].name, "cpu", 0, np.float32, (1, len(row)), row.ctypes.data)
        binding.bind_output(output.name, "cpu", 0, np.float32, answer.shape, answer.ctypes.data)
        bindings.append(binding)
    score = session.run_with_iobinding

    def run() -> None:
        for binding in bindings:
            score(binding)

    return run


def _bare_tflite(path: Path, rows: Rows) -> Callable[[], None]:
    interpreter = tflite.Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    entry, answer = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    single = [row.reshape(1, -1) for row in rows]

    def run() -> None:
        for row in single:
            interpreter.set_tensor(entry, row)
            interpreter.invoke()
            interpreter.get_tensor(answer)

    return run
