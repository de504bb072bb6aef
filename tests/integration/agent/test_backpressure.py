"""Rows that come faster than their answers are taken wait at their source."""

import json
import os
import subprocess
import sys
import threading

from tests.bundles import FEATURES
from tests.integration.agent.conftest import Fleet
from tests.waiting import wait_until

N_ROWS = 40_000


def test_a_file_that_is_replayed_at_full_speed_has_an_answer_for_every_row(one_fleet: Fleet):
    station = one_fleet.station(n_rows=200_000)
    station.telemetry = "background_rows = 1\nmax_window_s = 0.3"
    one_fleet.order(station, one_fleet.updates.publish(1, window_rows=5000))
    station.start()
    wait_until(lambda: (station.status()["live"] or {}).get("rows_scored") == 200_000, 60, "every row is scored")
    assert station.stop() == 0
    assert len(station.answered_rows()) == 200_000
    assert station.status()["live"]["answers_lost"] == 0


def test_a_pipe_whose_reader_is_slow_gets_every_answer(one_fleet: Fleet):
    station = one_fleet.station(
        live='kind = "json_lines"\npath = "-"',
        sink='kind = "stdout"',
        telemetry="background_rows = 1\nmax_window_s = 0.3",
    )
    one_fleet.order(station, one_fleet.updates.publish(1, window_rows=5000))
    station.write_settings()
    row = json.dumps(dict.fromkeys(FEATURES, 0.5)).encode() + b"\n"
    with station.log.open("ab") as log:
        station.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "edge_agent", "run", "--settings", str(station.settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=station.folder,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )
    assert station.process.stdin is not None
    assert station.process.stdout is not None
    writer = threading.Thread(target=_write, args=(station.process.stdin.fileno(), row))
    writer.start()
    numbers = []
    pause = threading.Event()
    for line in station.process.stdout:
        numbers.append(json.loads(line)["row"])
        if len(numbers) % 4_000 == 0:
            pause.wait(0.2)
        if len(numbers) == N_ROWS:
            break
    writer.join()
    station.process.stdin.close()
    assert numbers == list(range(N_ROWS))
    assert station.stop() == 0


def _write(descriptor: int, row: bytes) -> None:
    rest = memoryview(row * N_ROWS)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
