"""What rows cost on their way into the agent, against the least that a program of one's own would do.

Ours is ``python -m edge_agent run`` on a state folder with a committed native bundle; the peers (`bare_peers`) score
with the same engine and the same model, and neither check rows, nor keep them, nor count them.

HTTP: one client on one connection asks both in turn, a row a request. Its wait is by the wall's clock; the time of the
processor is that of the server's whole process, from ``/proc``. ``keep = "process"`` is compared, since the peer keeps
nothing; what a sync for each request costs stands beside it, against the agent without. With windows of 50 rows, the
default, a busy client has many windows a second made durable; windows of 5,000 rows show the request alone.

Lines: a writer writes as fast as they are taken, until the last one is answered in a file. Rows a second of the
processor's time is what does not hang on what else the machine does.
"""

import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from benchmarks import bare_peers
from benchmarks.footprint import install_bundle, median_pss_bytes, unit_environment
from benchmarks.small_bundles import SmallBundle, make_bundle

ROUNDS: Final = 20
REQUESTS: Final = 50
LINES: Final = 20_000
TURNS: Final = 3
LATENCY_REACH: Final = 1.5
CPU_REACH: Final = 1.5
MEMORY_REACH: Final = 1.1
LINES_REACH: Final = 0.8
SYNC_REACH: Final = 3.0
SAMPLES: Final = 10
_DEADLINE_S: Final = 120.0
_LOOK_S: Final = 0.01
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_MB: Final = 1e6
_US_PER_S: Final = 1e6


class Asked(NamedTuple):
    """What became of some requests: each one's wait, and the time of the server's processor for one."""

    waits_us: list[float]
    cpu_us: float


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> SmallBundle:
    return make_bundle("breast_cancer", "mlp", "native", tmp_path_factory.mktemp("bundle"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("window_rows", [50, 5000])
def bench_http_against_a_minimal_server(window_rows, tmp_path, record_ratio) -> None:
    bundle = make_bundle("breast_cancer", "mlp", "native", tmp_path / "bundle", window_rows)
    windows = f"windows of {window_rows} rows"
    names = ("process", "power", "bare")
    with contextlib.ExitStack() as running:
        ports = {name: _free_port() for name in names}
        pids = {
            keep: running.enter_context(
                _agent(
                    bundle,
                    tmp_path / keep,
                    f'kind = "http"\nport = {ports[keep]}\nkeep = "{keep}"',
                    window_s=600.0,
                    sink='kind = "none"',
                )
            ).pid
            for keep in ("process", "power")
        }
        pids["bare"] = running.enter_context(
            _process(["-c", bare_peers.HTTP, _model_of(bundle), str(ports["bare"])], tmp_path)
        ).pid
        clients = {name: running.enter_context(_client(ports[name])) for name in names}
        bodies = [_body(row) for row in bundle.rows[:REQUESTS].tolist()]
        for name in names:
            _wait(partial(_is_answered, clients[name], bodies[0]), f"{name} answers")
            _ask(clients[name], bodies, pids[name])
        taken: dict[str, list[Asked]] = {name: [] for name in names}
        for turn in range(ROUNDS):
            for name in names if turn % 2 else reversed(names):
                taken[name].append(_ask(clients[name], bodies, pids[name]))
    for ours, peer, title, reach in (
        (
            "process",
            "bare",
            f"HTTP, a row a request, {windows}, keep = process / http.server and the bare call",
            LATENCY_REACH,
        ),
        ("power", "process", f"HTTP, a row a request, {windows}, keep = power / keep = process", SYNC_REACH),
    ):
        for what, value_of in (("median", _median_us), ("slowest of a hundred", _p99_us)):
            record_ratio(
                f"{title}: {what}",
                ours=value_of(taken[ours]),
                peer=value_of(taken[peer]),
                reach=reach,
                unit="us",
                runs=ROUNDS * REQUESTS,
            )
    record_ratio(
        f"HTTP, a row a request, {windows}: time of the server's processor / http.server and the bare call",
        ours=statistics.fmean(each.cpu_us for each in taken["process"]),
        peer=statistics.fmean(each.cpu_us for each in taken["bare"]),
        reach=CPU_REACH,
        unit="us",
        runs=ROUNDS * REQUESTS,
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["http", "socket", "python"])
def bench_memory_of_a_source_over_a_file(kind, bundle, tmp_path, record_ratio) -> None:
    """What a live source adds: threads, entrance, journal; the peer is the same agent that follows a file."""
    port = _free_port()
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(_line(bundle, row) for row in bundle.rows[:REQUESTS].tolist()), encoding="utf-8")
    (tmp_path / "given.py").write_text(_GIVEN, encoding="utf-8")
    sources = {
        "http": f'kind = "http"\nport = {port}\nkeep = "process"',
        "socket": 'kind = "socket"\npath = "rows.sock"',
        "python": f'kind = "python"\nfactory = "given:open_rows"\noptions = {{ path = "{rows}" }}',
    }
    with (
        _agent(bundle, tmp_path / "ours", sources[kind], PYTHONPATH=str(tmp_path)) as ours,
        _agent(bundle, tmp_path / "file", f'kind = "json_lines"\npath = "{rows}"\nfollow = true') as peer,
    ):
        _wait(lambda: _n_lines(tmp_path / "file" / "answers.jsonl") == REQUESTS, "the rows of the file are answered")
        if kind == "http":
            with _client(port) as client:
                _wait(lambda: _is_answered(client, _body(bundle.rows[0].tolist())), "it answers")
                for row in bundle.rows[1:REQUESTS].tolist():
                    assert _is_answered(client, _body(row))
        if kind == "socket":
            _write_to_socket(tmp_path / "ours" / "rows.sock", rows.read_bytes())
        _wait(lambda: _n_lines(tmp_path / "ours" / "answers.jsonl") >= REQUESTS, "the rows are answered")
        weights = [median_pss_bytes(each.pid, samples=SAMPLES, pause_s=0.2) / _MB for each in (ours, peer)]
    record_ratio(
        f"PSS of an agent with the source {kind} / with a file of lines",
        ours=weights[0],
        peer=weights[1],
        reach=MEMORY_REACH,
        unit="MB",
        runs=SAMPLES,
    )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["stdin", "socket"])
def bench_lines_against_a_bare_loop(kind, bundle, tmp_path, record_ratio) -> None:
    rows = bundle.rows.tolist()
    data = "".join(_line(bundle, rows[number % len(rows)]) for number in range(LINES)).encode()
    names = ",".join(feature.name for feature in bundle.manifest.features)
    ours: list[float] = []
    bare: list[float] = []
    for turn in range(TURNS):
        folder = tmp_path / str(turn)
        source = 'kind = "json_lines"\npath = "-"' if kind == "stdin" else 'kind = "socket"\npath = "rows.sock"'
        with _agent(bundle, folder, source, window_s=0.2) as process:
            ours.append(_rows_per_cpu_s(process, data, folder / "rows.sock", folder / "answers.jsonl", kind))
        where = "-" if kind == "stdin" else "bare.sock"
        with _process(["-c", bare_peers.LINES, _model_of(bundle), names, where], folder) as process:
            bare.append(_rows_per_cpu_s(process, data, folder / "bare.sock", folder / "bare.jsonl", kind))
    record_ratio(
        f"JSON lines by {kind}: rows a second of the processor / json.loads and the bare call in a loop",
        ours=statistics.median(ours),
        peer=statistics.median(bare),
        reach=LINES_REACH,
        unit="rows/s",
        runs=TURNS,
        higher_is_better=True,
    )


# --- both sides ------------------------------------------------------------------------------------------------------

_GIVEN: Final = """
import json, time

def open_rows(options):
    with open(options["path"]) as file:
        for line in file:
            yield json.loads(line)
    while True:
        time.sleep(1)
        yield {}
"""


@contextlib.contextmanager
def _agent(
    bundle: SmallBundle,
    folder: Path,
    source: str,
    *,
    window_s: float = 0.5,
    sink: str = 'kind = "json_lines"\npath = "answers.jsonl"',
    **environment: str,
) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir(parents=True, exist_ok=True)
    install_bundle(bundle, folder / "state")
    (folder / "root.json").write_text("{}", encoding="utf-8")
    settings = folder / "agent.toml"
    settings.write_text(
        f"""
device = "bench"
fleet = "bench"
state = "state"
[broker]
port = 1
[repository]
url = "http://127.0.0.1:1/"
root = "root.json"
model = "{bundle.manifest.name}"
[source]
{source}
[sink]
{sink}
[telemetry]
max_window_s = {window_s}
""",
        encoding="utf-8",
    )
    command = ["-P", "-m", "edge_agent", "run", "--settings", str(settings)]
    with _process(command, folder, unit_environment() | environment) as process:
        yield process


@contextlib.contextmanager
def _process(
    arguments: Sequence[str], folder: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    changed = os.environ | (environment or {})
    if environment and "PYTHONPATH" in environment:
        changed["PYTHONPATH"] = os.pathsep.join(
            part for part in (environment["PYTHONPATH"], os.environ.get("PYTHONPATH", "")) if part
        )
    with (folder / "process.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, stdin=subprocess.PIPE, stdout=log, stderr=log, env=changed
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=20)


def _rows_per_cpu_s(process: subprocess.Popen[bytes], data: bytes, path: Path, answers: Path, kind: str) -> float:
    """Write all lines, wait until the last one is answered; return rows for a second of the process's processors."""
    if kind == "socket":
        _wait(path.exists, "the socket is there")
    else:
        assert process.stdin is not None
        # Its start is over when its first row is answered.
        process.stdin.write(data[: data.index(b"\n") + 1])
        process.stdin.flush()
        _wait(lambda: _n_lines(answers) >= 1, "the first row is answered")
    began_s = _cpu_s(process.pid)
    n_before = _n_lines(answers)
    if kind == "socket":
        _write_to_socket(path, data)
    else:
        assert process.stdin is not None
        process.stdin.write(data)
        process.stdin.flush()
    _wait(lambda: _n_lines(answers) >= n_before + LINES, "every row is answered")
    return LINES / (_cpu_s(process.pid) - began_s)


def _write_to_socket(path: Path, data: bytes) -> None:
    _wait(path.exists, f"{path} is there")
    with socket.socket(socket.AF_UNIX) as writer:
        writer.connect(str(path))
        writer.sendall(data)


def _ask(client: http.client.HTTPConnection, bodies: Sequence[bytes], pid: int) -> Asked:
    waits_us: list[float] = []
    began_s = _cpu_s(pid)
    for body in bodies:
        asked_s = time.perf_counter()
        assert _is_answered(client, body)
        waits_us.append((time.perf_counter() - asked_s) * _US_PER_S)
    return Asked(waits_us, (_cpu_s(pid) - began_s) * _US_PER_S / len(bodies))


def _is_answered(client: http.client.HTTPConnection, body: bytes) -> bool:
    try:
        client.request("POST", "/v2/models/bench/infer", body, {"Content-Type": "application/json"})
        response = client.getresponse()
        response.read()
    except OSError:
        client.close()
        return False
    return response.status == 200


@contextlib.contextmanager
def _client(port: int) -> Iterator[http.client.HTTPConnection]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        yield client
    finally:
        client.close()


def _body(row: Sequence[float]) -> bytes:
    tensor: dict[str, Any] = {"name": "rows", "datatype": "FP32", "shape": [1, len(row)], "data": [list(row)]}
    return json.dumps({"inputs": [tensor]}).encode()


def _line(bundle: SmallBundle, row: Sequence[float]) -> str:
    named = {feature.name: value for feature, value in zip(bundle.manifest.features, row, strict=True)}
    return json.dumps(named) + "\n"


def _model_of(bundle: SmallBundle) -> str:
    return str(bundle.folder / bundle.manifest.variants[0].file)


def _median_us(taken: Sequence[Asked]) -> float:
    return statistics.median(wait for each in taken for wait in each.waits_us)


def _p99_us(taken: Sequence[Asked]) -> float:
    return statistics.quantiles((wait for each in taken for wait in each.waits_us), n=100)[98]


def _cpu_s(pid: int) -> float:
    """Return the time of the processor that a process has had, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _n_lines(path: Path) -> int:
    return sum(each.read_bytes().count(b"\n") for each in path.parent.glob(f"{path.name}*") if each.is_file())


def _wait(is_so: Callable[[], bool], what: str) -> None:
    ends_s = time.monotonic() + _DEADLINE_S
    while not is_so():
        if time.monotonic() > ends_s:
            raise RuntimeError(f"{_DEADLINE_S:g} s in vain: {what}")
        time.sleep(_LOOK_S)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
