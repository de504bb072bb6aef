"""From the start of a process to the first answer that it writes: the agent as a service runs it, and a bare process.

Ours is ``python -m edge_agent run --settings FILE`` on a state folder with a committed bundle: the settings are read
and checked, the state folder is locked, the spool opened, the bundle's files compared with their hashes, and its first
row read, checked and scored; what comes beside scoring (the link to the broker, housekeeping) begins behind that. The
peer is a script that imports the same runtime, opens the same file, scores one row and writes one line. All have their
bytecode, as installed programs have it. Started by its unit's flags, ours has that which the package makes (ADR 29).

The agent forbids numpy's linear algebra its threads, one for each core, which it has no use for. A script that does not
know of that has them; a second peer does know.

All are started in turn. The wall's clock ends when the first line can be read; the time of the processor is what the
process had until then, on whichever core, and does not hang on what else the machine does.
"""

import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from benchmarks.footprint import STDOUT_SINK, install_bundle, make_bytecode, unit_flags, write_settings
from benchmarks.small_bundles import make_bundle
from broker.client import Endpoint
from edge_agent.cli import ONE_THREAD

REACH: Final = 1.3
STARTS: Final = 15
# Nobody listens there: the first row is scored before anybody is asked.
_NOWHERE: Final = Endpoint("127.0.0.1", 1)
_END_S: Final = 20.0

# Arguments: the model's file, the number of features.
_BARE_ONNX: Final = """
import sys
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
print(session.run(None, {entry.name: np.zeros((1, int(sys.argv[2])), np.float32)})[0].tolist(), flush=True)
"""
_BARE_TFLITE: Final = """
import sys
import numpy as np
try:
    from tflite_runtime import interpreter as tflite
except ImportError:
    from ai_edge_litert import interpreter as tflite
interpreter = tflite.Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.zeros((1, int(sys.argv[2])), np.float32))
interpreter.invoke()
print(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist(), flush=True)
"""
_BARE_NATIVE: Final = """
import sys
from edge_agent.engine.loading import load_engine
with open(sys.argv[1], "rb") as file:
    model = load_engine().open(file.read(), 0)
print(list(model.score([0.0] * int(sys.argv[2]))), flush=True)
"""
_BARE: Final = {"onnx": _BARE_ONNX, "tflite": _BARE_TFLITE, "native": _BARE_NATIVE}


class Start(NamedTuple):
    """How long one start took until its first line, in milliseconds."""

    wall_ms: float
    processor_ms: float


@pytest.mark.parametrize(
    ("data", "kind", "variant"),
    [("digits", "mlp", "onnx-int8"), ("digits", "mlp", "tflite-int8"), ("digits", "mlp", "native")],
)
def bench_start_to_first_score(data, kind, variant, tmp_path, record_ratio) -> None:
    bundle = make_bundle(data, kind, variant, tmp_path / "bundle")
    install_bundle(bundle, tmp_path / "state")
    settings = write_settings(tmp_path, bundle, _NOWHERE, sink=STDOUT_SINK)
    model = bundle.folder / bundle.manifest.variants[0].file
    run = ["-m", "edge_agent", "run", "--settings", str(settings)]
    flags = unit_flags(tmp_path / "made")
    make_bytecode(flags)
    commands = {"start of the agent": ["-P", *run], "start of the agent by its unit's flags": [*flags, *run]}
    bare_command = ["-c", _BARE[variant.split("-")[0]], str(model), str(bundle.rows.shape[1])]
    # The bytecode of either is left by the first start, which does not count.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path / "bytecode")
    peers = {"a bare process": environment}
    if variant != "native":
        peers["a bare process without threads of linear algebra"] = environment | dict.fromkeys(ONE_THREAD, "1")
    ours: dict[str, list[Start]] = {name: [] for name in commands}
    bare: dict[str, list[Start]] = {name: [] for name in peers}
    for _ in range(1 + STARTS):
        for name, command in commands.items():
            ours[name].append(_start(command, tmp_path, environment))
        for name, its_environment in peers.items():
            bare[name].append(_start(bare_command, tmp_path, its_environment))
    for (our_name, our_starts), (name, starts) in itertools.product(ours.items(), bare.items()):
        for place, what in enumerate(("", ", time of the processor")):
            record_ratio(
                f"{data} {kind} {variant}: {our_name} to its first answer / {name}{what}",
                ours=statistics.median(each[place] for each in our_starts[1:]),
                peer=statistics.median(each[place] for each in starts[1:]),
                reach=REACH,
                unit="ms",
                runs=STARTS,
            )


def _start(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Start:
    """Start a process, wait for its first line, and end it."""
    began_s = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        bufsize=0,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        wall_s = time.perf_counter() - began_s
        # It has not been waited for: what it took is told though it may have ended.
        processor_s = _processor_s(process.pid)
        process.terminate()
        _, told = process.communicate(timeout=_END_S)
    finally:
        process.kill()
        process.wait()
    assert line.endswith(b"\n"), told
    return Start(wall_s * 1e3, processor_s * 1e3)


def _processor_s(pid: int) -> float:
    """Return the time that all threads of a process were on a processor (proc(5), schedstat)."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9
