"""Memory of the whole agent while it scores, and what is installed for it.

The method is that of AWS's report on its lite nucleus: PSS of ``smaps_rollup``, the median of samples; AWS takes one
each 10 s for 10 minutes, this short form twenty, one a second. The link to the broker is not encrypted yet: `ssl` is
loaded all the same, as paho-mqtt imports it, but a TLS context with its certificates is not in the figures. PSS counts
libraries that other processes hold in part: take it on a quiet machine.
"""

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

from benchmarks.footprint import (
    ENVIRONMENT,
    install_bundle,
    median_pss_bytes,
    process,
    wait_for_lines,
    write_settings,
)
from benchmarks.small_bundles import make_bundle
from broker.local import LocalBroker, start_local_broker

SAMPLES: Final = 20
PAUSE_S: Final = 1.0
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
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
row = np.zeros((1, int(sys.argv[2])), dtype=np.float32)
name = session.get_inputs()[0].name
with open("bare.jsonl", "a") as answers:
    while True:
        session.run(None, {name: row})
        answers.write("scored\\n")
        answers.flush()
        time.sleep(0.1)
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalBroker]:
    running = start_local_broker(tmp_path / "broker")
    yield running
    running.stop()


def _agent_mb(variant: str, folder: Path, broker: LocalBroker) -> float:
    bundle = make_bundle("breast_cancer", "forest", variant, folder / "bundle")
    install_bundle(bundle, folder / "state")
    settings = write_settings(folder, bundle, broker.endpoint)
    with process(["-P", "-m", "edge_agent", "run", "--settings", str(settings)], folder, ENVIRONMENT) as pid:
        wait_for_lines(folder / "answers.jsonl", _FIRST_LINES)
        return median_pss_bytes(pid, samples=SAMPLES, pause_s=PAUSE_S) / _MB


def bench_agent_with_the_native_runtime(tmp_path, broker, record_ratio) -> None:
    record_ratio(
        "PSS of the agent, native forest, 10 rows/s, without TLS / 20 MB",
        ours=_agent_mb("native", tmp_path, broker),
        peer=REACH_NATIVE_MB,
        reach=1.0,
        unit="MB",
        runs=SAMPLES,
    )


def bench_agent_with_onnx_runtime_over_a_bare_process(tmp_path, broker, record_ratio) -> None:
    ours_mb = _agent_mb("onnx-fp32", tmp_path, broker)
    model = next((tmp_path / "bundle").glob("*.onnx"))
    with process(["-c", BARE, str(model), "30"], tmp_path, ENVIRONMENT) as pid:
        wait_for_lines(tmp_path / "bare.jsonl", _FIRST_LINES)
        bare_mb = median_pss_bytes(pid, samples=SAMPLES, pause_s=PAUSE_S) / _MB
    record_ratio(
        "PSS of the agent, ONNX forest, 10 rows/s, without TLS / bare process + 14 MB",
        ours=ours_mb,
        peer=bare_mb + REACH_OVER_BARE_MB,
        reach=1.0,
        unit="MB",
        runs=SAMPLES,
    )


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
