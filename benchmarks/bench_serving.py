"""What serving costs: a request of one row against a bare FastAPI echo, rows of a file against the bare runtime.

Both peers are as bare as can be: the echo reads no JSON, the loop around ONNX Runtime checks no row, keeps no part and
writes the same two columns. The model is small (a logistic regression of three features), so that what is measured is
what stands around it. ``FIELDLOOP_BENCH_ROUNDS`` bounds the rounds, ``FIELDLOOP_BENCH_MILLIONS`` the large file.
"""

import json
import os
import statistics
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.http_load import Asked, ask, request_of
from benchmarks.served import mlserver, mlserver_program, our_module
from benchmarks.timing import alternate
from broker.servers.local import start_local_broker
from tests.bundles import FEATURES, LABELS, MODEL_FILE, make_bundle
from tests.integration.serving.test_score_command import MILLION, score, write_rows
from tests.waiting import wait_until
from trainer.project.fleet import MonitoringSection
from trainer.serving.batch.model import opened_model
from trainer.serving.batch.run import Options, score_file

# By this name the results stand in build/bench.
AREA: Final = "trainer"

ROUNDS: Final = int(os.environ.get("FIELDLOOP_BENCH_ROUNDS", "30"))
MILLIONS: Final = int(os.environ.get("FIELDLOOP_BENCH_MILLIONS", "10"))
BURST: Final = 400
CONNECTIONS: Final = 4
REACH: Final = 0.7
MEMORY_REACH: Final = 1.1
_ROW: Final = {"inputs": [{"name": "rows", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 0.5]}]}
_BATCH_ROWS: Final = 1 << 16


@pytest.mark.timeout(1800)
def bench_requests_of_one_row(tmp_path, record_ratio) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    body = json.dumps(_ROW).encode()
    ours_request, echo_request = request_of("/v2/models/toy/infer", body), request_of("/echo", body)
    with (
        our_module("trainer.cli", "serve", bundle, "--port") as ours_port,
        our_module("benchmarks.echo_server") as echo_port,
    ):
        ours: list[Asked] = []
        echo: list[Asked] = []
        # Side by side, in short bursts: what else the machine does slows both alike.
        for _ in range(ROUNDS):
            ours.append(ask(ours_port, ours_request, n_requests=BURST, n_connections=CONNECTIONS))
            echo.append(ask(echo_port, echo_request, n_requests=BURST, n_connections=CONNECTIONS))
        ours_rate, echo_rate = (statistics.median(each.a_second for each in side) for side in (ours, echo))
        # Half of what the slower one can do, from both.
        rate = min(ours_rate, echo_rate) / 2
        ours_p99, echo_p99 = (
            statistics.median(
                ask(port, request, n_requests=BURST, n_connections=CONNECTIONS, rate=rate).quantile_s(0.99)
                for _ in range(ROUNDS)
            )
            for port, request in ((ours_port, ours_request), (echo_port, echo_request))
        )
    record_ratio(
        "REST: requests of one row / bare FastAPI echo",
        ours=ours_rate,
        peer=echo_rate,
        reach=REACH,
        unit="requests/s",
        runs=ROUNDS,
        higher_is_better=True,
    )
    record_ratio(
        f"REST: p99 of one row at {rate:.0f} requests/s / bare FastAPI echo",
        ours=ours_p99 * 1e3,
        peer=echo_p99 * 1e3,
        reach=1 / REACH,
        unit="ms",
        runs=ROUNDS,
    )


@pytest.mark.timeout(1800)
def bench_requests_of_one_row_beside_mlserver(tmp_path, record_ratio) -> None:
    program = mlserver_program()
    bundle = make_bundle(tmp_path / "bundle")
    body = json.dumps(_ROW).encode()
    request, echo_request = request_of("/v2/models/toy/infer", body), request_of("/echo", body)
    with (
        our_module("trainer.cli", "serve", bundle, "--port") as ours,
        our_module("benchmarks.echo_server") as echo,
        mlserver(program, tmp_path / "mlserver", bundle / MODEL_FILE) as peer,
    ):
        # It listens before its model is there.
        wait_until(lambda: _answers(peer, request), 120, "MLServer answers")
        servers = ((ours, request), (peer, request), (echo, echo_request))
        rates = [
            [ask(port, asked, n_requests=BURST, n_connections=CONNECTIONS).a_second for port, asked in servers]
            for _ in range(ROUNDS)
        ]
        ours_rate, peer_rate, echo_rate = map(statistics.median, zip(*rates, strict=True))
        # Half of what the slowest can do, from all three.
        rate = min(ours_rate, peer_rate, echo_rate) / 2
        tails = [
            [
                ask(port, asked, n_requests=BURST, n_connections=CONNECTIONS, rate=rate).quantile_s(0.99)
                for port, asked in servers
            ]
            for _ in range(ROUNDS)
        ]
        ours_p99, peer_p99, echo_p99 = map(statistics.median, zip(*tails, strict=True))
    record_ratio(
        "REST: requests of one row / MLServer with the same ONNX file",
        ours=ours_rate,
        peer=peer_rate,
        reach=1.0,
        unit="requests/s",
        runs=ROUNDS,
        higher_is_better=True,
    )
    for name, peers, reach in (("MLServer", peer_p99, 1.0), ("bare FastAPI echo", echo_p99, 1 / REACH)):
        record_ratio(
            f"REST: p99 of one row at {rate:.0f} requests/s, all three alike / {name}",
            ours=ours_p99 * 1e3,
            peer=peers * 1e3,
            reach=reach,
            unit="ms",
            runs=ROUNDS,
        )


@pytest.mark.timeout(1800)
def bench_requests_of_one_row_while_it_reports(tmp_path, record_ratio) -> None:
    """The same service twice, one of which tells a broker its windows, samples and status as a device does."""
    bundle = make_bundle(tmp_path / "bundle", window_rows=MonitoringSection().window_rows)
    request = request_of("/v2/models/toy/infer", json.dumps(_ROW).encode())
    broker = start_local_broker(tmp_path / "broker")
    reporting = ("--report-as", "serve-1", "--fleet", "plant", "--broker", f"127.0.0.1:{broker.endpoint.port}")
    serve = ("trainer.cli", "serve", bundle, "--project", tmp_path)
    try:
        with our_module(*serve, *reporting, "--port") as told_port, our_module(*serve, "--port") as quiet_port:
            rates = [
                [
                    ask(port, request, n_requests=BURST, n_connections=CONNECTIONS).a_second
                    for port in (told_port, quiet_port)
                ]
                for _ in range(ROUNDS)
            ]
        told, quiet = map(statistics.median, zip(*rates, strict=True))
    finally:
        broker.stop()
    record_ratio(
        "REST: requests of one row, reporting to a broker on the same machine / without",
        ours=told,
        peer=quiet,
        reach=None,
        unit="requests/s",
        runs=ROUNDS,
        higher_is_better=True,
    )


def _answers(port: int, request: bytes) -> bool:
    try:
        ask(port, request, n_requests=1, n_connections=1)
    except ConnectionError:
        return False
    return True


@pytest.mark.timeout(1800)
def bench_rows_of_a_file(tmp_path, record_ratio) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    rows = write_rows(tmp_path / "rows.parquet", MILLION)
    rounds = max(3, ROUNDS // 3)
    with opened_model(bundle) as model:
        pair = alternate(
            lambda: score_file(rows, tmp_path / "ours.parquet", model, Options(), lambda *_: None),
            lambda: _score_bare(bundle / MODEL_FILE, rows, tmp_path / "bare.parquet"),
            rounds=rounds,
            warm_up=1,
        )
    found, expected = (pq.read_table(tmp_path / name) for name in ("ours.parquet", "bare.parquet"))
    is_scored = [reason is None for reason in found["refused"].to_pylist()]
    assert found["label"].filter(is_scored).to_pylist() == expected["label"].filter(is_scored).to_pylist()
    record_ratio(
        "batch: rows of a Parquet file / bare ONNX Runtime",
        ours=MILLION / pair.ours_us * 1e6,
        peer=MILLION / pair.peer_us * 1e6,
        reach=REACH,
        unit="rows/s",
        runs=rounds,
        higher_is_better=True,
    )


@pytest.mark.timeout(1800)
def bench_memory_of_a_large_file(tmp_path, record_ratio) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    small, large = (
        score(write_rows(tmp_path / f"{n}.parquet", n * MILLION), tmp_path / f"{n}.answers.parquet", bundle)[1]
        for n in (1, MILLIONS)
    )
    record_ratio(
        f"batch: most memory for {MILLIONS} million rows / for one million",
        ours=large / 1e6,
        peer=small / 1e6,
        reach=MEMORY_REACH,
        unit="MB",
        runs=1,
    )


def _score_bare(model: Path, rows: Path, out: Path) -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    (name,) = [output.name for output in session.get_outputs() if output.type == "tensor(float)"]
    schema = pa.schema([("label", pa.dictionary(pa.int32(), pa.string())), ("confidence", pa.float32())])
    labels = pa.array(LABELS)
    with pq.ParquetFile(rows) as file, pq.ParquetWriter(out, schema) as writer:
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(FEATURES)):
            block = np.column_stack([column.to_numpy(zero_copy_only=False) for column in batch.columns])
            (answers,) = session.run([name], {session.get_inputs()[0].name: block.astype(np.float32)})
            chosen = answers.argmax(axis=1)
            label = pa.DictionaryArray.from_arrays(pa.array(chosen.astype(np.int32)), labels)
            confidence = pa.array(answers[np.arange(len(answers)), chosen])
            writer.write_batch(pa.record_batch([label, confidence], schema=schema))
