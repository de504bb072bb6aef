"""The agent's whole path for one row against the bare call of the same runtime.

Ours is the agent's own scoring loop: rows are taken from their source, checked and encoded, scored, scored by the
second model, counted into windows, offered to the sampler, and their answers written into a file, in memory. What the
agent's other thread does with the windows and with the disk is part of the sustained figure. The peer is the runtime's
leanest call from Python, with each row in a buffer that it was given before. Both score the same 500 rows in turn: one
row again and again would flatter trees.

Times of rows are those of the thread, for neither side waits: on a machine that does other work too, the longer round
would otherwise be interrupted more often. The slowest rounds of a hundred are taken by the wall's clock.

*A row* is one call of the runtime for each row, *micro-batches* are as many rows a call as the loop takes together.
"""

import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import onnxruntime as ort
import pytest

from benchmarks.agent_footprint import (  # noqa: F401 - run here, so that their figures are of this area
    bench_agent_with_onnx_runtime_over_a_bare_process,
    bench_agent_with_the_native_runtime,
    bench_installed_size_by_package,
    bench_what_an_update_leaves_in_memory,
    tls_broker,
)
from benchmarks.agent_start import bench_start_to_first_score  # noqa: F401 - as above
from benchmarks.small_bundles import SEED, SmallBundle, make_bundle
from benchmarks.timing import alternate
from broker.messages import Status
from broker.servers.local import start_local_broker
from broker.topics import DeviceId, FleetId
from edge_agent.agent import ScoringLoop
from edge_agent.clock import SystemClock
from edge_agent.handover import Handover
from edge_agent.link import DeviceLink
from edge_agent.recorder import Recorder
from edge_agent.scoring.loading import open_runtime
from edge_agent.scoring.row_block import CAPACITY
from edge_agent.scoring.scorer import Scorer
from edge_agent.sensing.json_lines_sink import JsonLinesSink
from edge_agent.sensing.sink import Sink
from edge_agent.sensing.source import SourceRow
from edge_agent.settings import TelemetrySettings
from edge_agent.telemetry.forwarder import Forwarder
from edge_agent.telemetry.sampler import Sampler
from edge_agent.telemetry.spool import Spool
from edge_agent.update.engine import Engine
from edge_agent.update.record import Content
from exporter.models.model import Rows

try:
    from tflite_runtime import interpreter as tflite
except ImportError:
    from ai_edge_litert import interpreter as tflite

ROWS: Final = 500
# A round of ours goes over the rows so often: what is done once for a loop is not a row's.
TURNS: Final = 4
ROUNDS: Final = 40
# Shorter timings for the slowest rows of a hundred.
TAIL_TIMINGS: Final = 240
IN_MEMORY: Final = "/dev/shm"  # noqa: S108 - a folder of its own is made there
REACH: Final = 1.5
BATCH_REACH: Final = 1.1
NATIVE_REACH: Final = 1.0
SUSTAINED_REACH: Final = 0.8
SUSTAINED_S: Final = 2.0

CASES: Final = (
    ("digits", "mlp", "onnx-int8"),
    ("digits", "forest", "onnx-fp32"),
    ("digits", "mlp", "tflite-int8"),
    ("breast_cancer", "mlp", "onnx-int8"),
    ("breast_cancer", "forest", "onnx-fp32"),
    ("breast_cancer", "mlp", "tflite-int8"),
)

Call = Callable[[], None]


class Case(NamedTuple):
    """A bundle, its one model file, and the rows that are scored."""

    bundle: SmallBundle
    path: Path
    rows: Rows


class MemoryRows:
    """A source of rows that are there already, given so often; implements `edge_agent.sensing.source.Source`."""

    def __init__(self, rows: list[SourceRow], cursor: int) -> None:
        self._rows = rows
        self.next = cursor

    @property
    def at_end(self) -> bool:
        return self.next >= len(self._rows)

    def next_row(self, timeout_s: float) -> SourceRow | None:  # noqa: ARG002 - it never waits
        rows = self.ready_rows(1)
        return rows[0] if rows else None

    def ready_rows(self, limit: int) -> list[SourceRow]:
        rows = self._rows[self.next : self.next + limit]
        self.next += len(rows)
        return rows

    def close(self) -> None:
        pass


class EndlessRows(MemoryRows):
    """The same rows over and over, with numbers that go on; never at its end."""

    at_end = False

    def ready_rows(self, limit: int) -> list[SourceRow]:
        at, number = self.next % len(self._rows), self.next
        rows = [SourceRow(number + i, row.values) for i, row in enumerate(self._rows[at : at + limit])]
        self.next += len(rows)
        return rows


@pytest.fixture
def answers() -> Iterator[Path]:
    """A file for answers, in memory where there is such a place."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None) as folder:
        yield Path(folder) / "answers.jsonl"


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, str], Case]:
    """Makes each bundle once."""

    @cache
    def make(data: str, kind: str, variant: str) -> Case:
        bundle = make_bundle(data, kind, variant, tmp_path_factory.mktemp("bundle"))
        rows = np.ascontiguousarray(np.resize(bundle.rows, (ROWS, bundle.rows.shape[1])))
        return Case(bundle, bundle.folder / bundle.manifest.variants[0].file, rows)

    return make


@pytest.mark.parametrize(("data", "kind", "variant"), CASES)
def bench_whole_path_against_the_bare_call(data, kind, variant, bundle_of, answers, record_ratio) -> None:
    bundle, path, rows = bundle_of(data, kind, variant)
    peers = {"bare call": (_bare_onnx if variant.startswith("onnx") else _bare_tflite)(path, rows)}
    if variant.startswith("tflite"):
        peers["bare call that looks into the tensors, as ours does"] = _bare_tflite_tensors(path, rows)
    whole = _whole_path(bundle, rows, answers, max_batch_rows=1)
    for name, bare in peers.items():
        _record(f"{data} {kind} {variant}: whole path of a row / {name}", whole, bare, REACH, record_ratio)
    _record_tail(f"{data} {kind} {variant}: whole path of a row / bare call", whole, peers["bare call"], record_ratio)


@pytest.mark.parametrize(("data", "kind", "variant"), CASES)
def bench_micro_batches_against_the_bare_call(data, kind, variant, bundle_of, answers, record_ratio) -> None:
    bundle, path, rows = bundle_of(data, kind, variant)
    n_together = min(CAPACITY, bundle.manifest.window_rows)
    if variant.startswith("onnx"):
        peers = {
            "bare call of one row": _bare_onnx(path, rows),
            f"bare call of the same {n_together} rows": _bare_onnx(path, rows, n_together),
        }
    else:
        peers = {"bare call of one row": _bare_tflite(path, rows)}
    whole = _whole_path(bundle, rows, answers, max_batch_rows=CAPACITY)
    for name, bare in peers.items():
        title = f"{data} {kind} {variant}: whole path of a row in micro-batches / {name}"
        _record(title, whole, bare, BATCH_REACH, record_ratio)


@pytest.mark.parametrize("data", ["digits", "breast_cancer"])
def bench_native_forest_against_the_bare_call_of_onnx_runtime(data, bundle_of, answers, record_ratio) -> None:
    _, onnx, rows = bundle_of(data, "forest", "onnx-fp32")
    native, _, _ = bundle_of(data, "forest", "native")
    whole, bare = _whole_path(native, rows, answers, max_batch_rows=1), _bare_onnx(onnx, rows)
    title = f"{data} forest: whole path of a row on the native engine / bare call of ONNX Runtime"
    _record(title, whole, bare, NATIVE_REACH, record_ratio)


def _record(title: str, whole: Call, bare: Call, reach: float, record_ratio: Any) -> None:
    times = alternate(whole, bare, rounds=ROUNDS, clock_ns=time.thread_time_ns)
    ours, peer = times.ours_us / ROWS / TURNS, times.peer_us / ROWS
    record_ratio(title, ours=ours, peer=peer, reach=reach, unit="us", runs=times.runs)


def _record_tail(title: str, whole: Call, bare: Call, record_ratio: Any) -> None:
    """Compare the slowest rounds of a hundred instead of the middle ones."""
    ours: list[int] = []
    peer: list[int] = []

    def bare_turns() -> None:
        for _ in range(TURNS):
            bare()

    for _ in range(TAIL_TIMINGS // TURNS):
        ours.append(_time_ns(whole))
        # As many rows in a round of either, or the longer ones would even out.
        peer.append(_time_ns(bare_turns))
    record_ratio(
        f"{title}, p99 of rounds",
        ours=statistics.quantiles(ours, n=100)[98] / 1e3 / ROWS / TURNS,
        peer=statistics.quantiles(peer, n=100)[98] / 1e3 / ROWS / TURNS,
        reach=REACH,
        unit="us",
        runs=len(ours),
    )


def _time_ns(call: Call) -> int:
    start_ns = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - start_ns


def _engine(bundle: SmallBundle) -> Engine:
    manifest = bundle.manifest
    variant = manifest.variants[0]
    content = Content(manifest.ref, variant.name, "0" * 64)
    return Engine("a", content, manifest, Scorer(manifest, open_runtime(variant, bundle.folder, manifest)))


def _loop(engine: Engine, source: MemoryRows, sink: Sink, handover: Handover, max_batch_rows: int) -> ScoringLoop:
    settings = TelemetrySettings()
    return ScoringLoop(
        DeviceId("bench"),
        open_source=lambda _features, _cursor: source,
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


def _whole_path(bundle: SmallBundle, rows: Rows, answers: Path, max_batch_rows: int) -> Call:
    """Return a round: `TURNS` times all rows, their windows handed over and their answers written."""
    engine, sink = _engine(bundle), JsonLinesSink(answers)
    source = [SourceRow(number, tuple(values)) for number, values in enumerate(rows.tolist() * TURNS)]

    def run() -> None:
        handover = Handover()
        _loop(engine, MemoryRows(source, 0), sink, handover, max_batch_rows).run()
        sink.flush()
        assert handover.take(0)[-1].cursor == len(source), "it counted less than it was given"  # type: ignore[union-attr]  # nothing was asked

    return run


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _bare_onnx(path: Path, rows: Rows, n_together: int = 1) -> Call:
    session = _session(path)
    (output,) = session.get_outputs()
    answer = np.zeros((n_together, output.shape[1]), dtype=np.float32)
    bindings = []
    for block in rows.reshape(-1, n_together, rows.shape[1]):
        binding = session.io_binding()
        binding.bind_input(session.get_inputs()[0].name, "cpu", 0, np.float32, block.shape, block.ctypes.data)
        binding.bind_output(output.name, "cpu", 0, np.float32, answer.shape, answer.ctypes.data)
        bindings.append(binding)
    score = session.run_with_iobinding

    # The bindings know the buffers by their addresses alone: `kept` keeps them alive.
    def run(kept: tuple[Rows, Rows] = (rows, answer)) -> None:  # noqa: ARG001 - as above
        for binding in bindings:
            score(binding)

    return run


def _interpreter(path: Path) -> Any:
    interpreter = tflite.Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _bare_tflite(path: Path, rows: Rows) -> Call:
    interpreter = _interpreter(path)
    entry, answer = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    single = [row.reshape(1, -1) for row in rows]

    def run() -> None:
        for row in single:
            interpreter.set_tensor(entry, row)
            interpreter.invoke()
            interpreter.get_tensor(answer)

    return run


def _bare_tflite_tensors(path: Path, rows: Rows) -> Call:
    interpreter = _interpreter(path)
    tensor = interpreter.tensor(interpreter.get_input_details()[0]["index"])()
    entry, invoke = memoryview(tensor.reshape(-1)).cast("B"), interpreter._interpreter.Invoke  # noqa: SLF001 - as ours
    single = [row.tobytes() for row in rows]

    def run() -> None:
        for row in single:
            entry[:] = row
            invoke()

    return run


# --- everything on ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind", "variant"), [("digits", "mlp", "onnx-int8"), ("breast_cancer", "forest", "onnx-fp32")]
)
def bench_sustained_rows_with_everything_on(data, kind, variant, bundle_of, tmp_path, record_ratio) -> None:
    bundle, path, rows = bundle_of(data, kind, variant)
    bare = _bare_onnx(path, rows)
    with _everything_on(bundle, rows, tmp_path) as score_for:
        ours, peer = [], []
        for _ in range(3):
            ours.append(score_for(SUSTAINED_S))
            peer.append(_rate_of(bare, SUSTAINED_S))
    record_ratio(
        f"{data} {kind} {variant}: sustained rows/s, spool, answers on the disk and MQTT on / bare calls of one row",
        ours=statistics.median(ours),
        peer=statistics.median(peer),
        reach=SUSTAINED_REACH,
        unit="rows/s",
        runs=len(ours),
        higher_is_better=True,
    )


def _rate_of(bare: Call, seconds: float) -> float:
    began_s, n = time.perf_counter(), 0
    while time.perf_counter() - began_s < seconds:
        bare()
        n += ROWS
    return n / (time.perf_counter() - began_s)


@contextmanager
def _everything_on(bundle: SmallBundle, rows: Rows, folder: Path) -> Iterator[Callable[[float], float]]:
    """Run what an agent runs beside its loop: answers and spool on the disk, the spool sent to a broker."""
    broker = start_local_broker(folder / "broker")
    clock, handover = SystemClock(), Handover()
    spool, sink = Spool(folder / "spool.db", random.Random(SEED), 64 << 20), JsonLinesSink(folder / "answers.jsonl")
    link = DeviceLink(broker.endpoint, FleetId("bench"), DeviceId("bench"), 60)
    forwarder = Forwarder(spool, link.publish, clock, random.Random(SEED), resend_after_s=1e6)
    offline = Status(False, clock.utc_s(), "0" * 16, "bench", None, None, "idle")  # noqa: FBT003 - a message
    link.connect(lambda _delivery: None, forwarder.on_link, offline, random.Random(SEED))
    recorder = Recorder(spool, sink, handover, folder)
    source = [SourceRow(number, tuple(values)) for number, values in enumerate(rows.tolist())]
    engine = _engine(bundle)
    numbered = EndlessRows(source, 0)
    is_over = threading.Event()

    def keep_house() -> None:
        while not is_over.is_set() or recorder.is_behind:
            recorder.step(0.05)
            forwarder.step()

    def score_for(seconds: float) -> float:
        loop = _loop(engine, numbered, sink, handover, CAPACITY)
        first = numbered.next
        timer = threading.Timer(seconds, loop.stop)
        began_s = time.perf_counter()
        timer.start()
        loop.run()
        rate = (numbered.next - first) / (time.perf_counter() - began_s)
        while recorder.is_behind:
            time.sleep(0.01)
        return rate

    house = threading.Thread(target=keep_house)
    house.start()
    try:
        yield score_for
    finally:
        is_over.set()
        house.join(30.0)
        link.close(1.0)
        sink.close()
        spool.close()
        broker.stop()
