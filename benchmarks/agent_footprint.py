"""Memory of the whole agent while it scores, what an update leaves of it, and what is installed.

The method is that of AWS's report on its lite nucleus: PSS of ``smaps_rollup``, the median of samples, one each 10 s
for 10 minutes with ``FIELDLOOP_BENCH_FOOTPRINT=long``; the short form takes twenty, one a second. The agent scores ten
rows a second, with its spool and telemetry, on a link with TLS 1.3 and its own certificate to a Mosquitto, and under
the variables and flags that its service's unit sets. With the native runtime it is run by the Python of the unit,
Debian's: of another one this very process would hold a half, 2.6 MB. PSS counts libraries that other processes hold in
part: take it on a quiet machine.
"""

import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from packaging.requirements import Requirement

from benchmarks.footprint import (
    Interpreter,
    install_bundle,
    interpreter_of_the_unit,
    make_bytecode,
    median_pss_bytes,
    process,
    unit_environment,
    unit_flags,
    wait_for_lines,
    write_settings,
)
from benchmarks.small_bundles import SmallBundle, make_bundle
from broker.servers.local import start_local_broker
from edge_agent.bundle import MANIFEST_NAME, parse_manifest
from edge_agent.clock import SystemClock
from exporter.repository.repository import init_repository
from exporter.repository.serving import start_repository_server
from tests.integration.agent.conftest import Fleet, UpdateRepository
from tests.receiver import Receiver
from tests.tls_broker import TlsBroker, running_tls_broker, why_not
from tests.waiting import wait_until

IS_LONG: Final = os.environ.get("FIELDLOOP_BENCH_FOOTPRINT") == "long"
SAMPLES: Final = 60 if IS_LONG else 20
PAUSE_S: Final = 10.0 if IS_LONG else 1.0
REACH_NATIVE_MB: Final = 20.0
REACH_OVER_BARE_MB: Final = 14.0
_FIRST_LINES: Final = 30
_MB: Final = 1e6

# Imports the same runtime, and scores ten rows a second.
BARE: Final = """
import sys, time
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.enable_cpu_mem_arena = options.enable_mem_pattern = sys.argv[3] == "arena"
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
row = np.zeros((1, int(sys.argv[2])), dtype=np.float32)
name = session.get_inputs()[0].name
with open("bare.jsonl", "w") as answers:
    while True:
        session.run(None, {name: row})
        answers.write("scored\\n")
        answers.flush()
        time.sleep(0.1)
"""


@pytest.fixture
def tls_broker(tmp_path: Path) -> Iterator[TlsBroker]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with running_tls_broker(tmp_path / "broker") as running:
        yield running


def _agent_mb(bundle: SmallBundle, folder: Path, broker: TlsBroker, interpreter: Interpreter | None = None) -> float:
    install_bundle(bundle, folder / "state")
    settings = write_settings(folder, bundle, broker.endpoint, tls=broker)
    flags = unit_flags(folder / "bytecode")
    make_bytecode(flags, interpreter)
    command = [*flags, "-m", "edge_agent", "run", "--settings", str(settings)]
    with process(command, folder, unit_environment(), interpreter) as pid:
        wait_for_lines(folder / "answers.jsonl", _FIRST_LINES)
        return median_pss_bytes(pid, samples=SAMPLES, pause_s=PAUSE_S) / _MB


def _bare_mb(model: Path, n_features: int, folder: Path, arena: str) -> float:
    (folder / "bare.jsonl").unlink(missing_ok=True)
    with process(["-c", BARE, str(model), str(n_features), arena], folder, unit_environment()) as pid:
        wait_for_lines(folder / "bare.jsonl", _FIRST_LINES)
        return median_pss_bytes(pid, samples=SAMPLES, pause_s=PAUSE_S) / _MB


def bench_agent_with_the_native_runtime(tmp_path, tls_broker, record_ratio) -> None:
    bundle = make_bundle("breast_cancer", "forest", "native", tmp_path / "bundle")
    record_ratio(
        "PSS of the agent, native forest, 10 rows/s, TLS with client certificate / 20 MB",
        ours=_agent_mb(bundle, tmp_path, tls_broker, interpreter_of_the_unit(tmp_path)),
        peer=REACH_NATIVE_MB,
        reach=1.0,
        unit="MB",
        runs=SAMPLES,
    )


def bench_agent_with_onnx_runtime_over_a_bare_process(tmp_path, tls_broker, record_ratio) -> None:
    bundle = make_bundle("breast_cancer", "forest", "onnx-fp32", tmp_path / "bundle")
    ours_mb = _agent_mb(bundle, tmp_path, tls_broker)
    model, n_features = next((tmp_path / "bundle").glob("*.onnx")), len(bundle.manifest.features)
    bare_mb = _bare_mb(model, n_features, tmp_path, "arena")
    record_ratio(
        "PSS of the agent, ONNX forest, 10 rows/s, TLS with client certificate / bare process + 14 MB",
        ours=ours_mb,
        peer=bare_mb + REACH_OVER_BARE_MB,
        reach=1.0,
        unit="MB",
        runs=SAMPLES,
    )
    record_ratio(
        "PSS of a bare process with ONNX Runtime's arena and memory pattern, as ours has them / without either",
        ours=bare_mb,
        peer=_bare_mb(model, n_features, tmp_path, "none"),
        reach=1.02,
        unit="MB",
        runs=SAMPLES,
    )


# --- what an update leaves -------------------------------------------------------------------------------------------


def bench_what_an_update_leaves_in_memory(tmp_path, record_ratio) -> None:
    """Two agents run as long as each other; one of them takes an update, by a child that fetches and proves it."""
    root = init_repository(tmp_path / "repository", tmp_path / "keys", clock=SystemClock())
    server, broker = start_repository_server(tmp_path / "repository"), start_local_broker(tmp_path / "broker")
    updates = UpdateRepository(tmp_path / "repository", tmp_path / "keys", root, server, tmp_path / "bundles")
    receiver = Receiver(broker.endpoint)
    receiver.start()
    fleet = Fleet(receiver, broker, updates, tmp_path)
    updates.publish(1)
    update = updates.publish(2)
    manifest = parse_manifest((updates.work / "v1" / MANIFEST_NAME).read_bytes())
    stations = [fleet.station(name, n_rows=100_000, source="rows_per_second = 10") for name in ("updated", "left")]
    try:
        for station in stations:
            install_bundle(
                SmallBundle(updates.work / "v1", manifest, np.zeros((0, 0), dtype=np.float32)), station.folder / "state"
            )
            station.start()
        pids = [station.process.pid for station in stations if station.process is not None]
        fleet.order(stations[0], update)
        fleet.wait_committed(stations[0], update)
        wait_until(lambda: not _children(pids[0]), 10, "its child is gone")
        updated, left = (median_pss_bytes(pid, samples=SAMPLES, pause_s=PAUSE_S) / _MB for pid in pids)
        assert not _children(pids[0])
    finally:
        for station in stations:
            station.stop()
        receiver.close()
        server.stop()
        broker.stop()
    record_ratio(
        "PSS of an agent with ONNX Runtime after an update / of one beside it that took none",
        ours=updated,
        peer=left,
        reach=1.03,
        unit="MB",
        runs=SAMPLES,
    )


def _children(pid: int) -> list[str]:
    """Return the ids of the processes that threads of a process started and did not wait for."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [child for task in tasks for child in task.read_text(encoding="ascii").split()]


# --- what is installed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", ["", "agent-tflite", "agent-onnx"])
def bench_installed_size_by_package(extra, capsys) -> None:
    sizes = installed_sizes(extra)
    with capsys.disabled():
        print(f"\ninstalled for {extra or 'the agent with native tables'}: {sum(sizes.values()) / _MB:.1f} MB")
        for name, n_bytes in sorted(sizes.items(), key=lambda item: -item[1]):
            print(f"  {name:24} " + (f"{n_bytes:>12,} bytes" if n_bytes else "not installed here"))
    assert "msgspec" in sizes


def installed_sizes(extra: str) -> dict[str, int]:
    """Return by distribution the bytes of what an extra of ours brings here; 0 of what is not installed here.

    Of fieldloop itself the parts that a device runs, from this checkout.
    """
    root = Path(__file__).resolve().parent.parent
    ours = [path for part in ("broker", "edge_agent") for path in (root / part).rglob("*") if path.is_file()]
    sizes = {"fieldloop (agent)": sum(path.stat().st_size for path in ours if "__pycache__" not in path.parts)}
    waiting = _needed("fieldloop", extra)
    while waiting:
        name = waiting.pop()
        if name in sizes:
            continue
        try:
            files = importlib.metadata.distribution(name).files or []
        except importlib.metadata.PackageNotFoundError:
            sizes[name] = 0
            continue
        sizes[name] = sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file())
        waiting += _needed(name, "")
    return sizes


def _needed(name: str, extra: str) -> list[str]:
    required = map(Requirement, importlib.metadata.requires(name) or [])
    return [each.name.lower() for each in required if each.marker is None or each.marker.evaluate({"extra": extra})]
