"""The join as of a time beside Feast's file store, in an environment of its own: it wants other versions than ours.

`bench_trainer` takes it in. `make bench-trainer` prepares the environment; FIELDLOOP_FEAST_PYTHON names another one.
"""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.feature_benches import ASKED, FEATURES, ROWS, draw_machines, draw_rows, draw_times, in_order, view_of
from edge_agent.clock import SystemClock
from trainer.features.offline.feature_store import FeatureStore

# Theirs takes minutes.
ROUNDS: Final = 1
REACH: Final = 0.1
_REPOSITORY: Final = Path(__file__).resolve().parent.parent


@pytest.mark.timeout(3600)
def bench_join_beside_feast(tmp_path: Path, record_ratio: Callable[..., object]) -> None:
    python = Path(os.environ.get("FIELDLOOP_FEAST_PYTHON", _REPOSITORY / ".venv-feast" / "bin" / "python"))
    if not python.exists():
        pytest.skip("no environment with Feast; `make bench-trainer` prepares it, FIELDLOOP_FEAST_PYTHON names another")
    rng = np.random.default_rng(1)
    names = [f"f{number}" for number in range(FEATURES)]
    table = draw_rows(rng, ROWS, names)
    asked = pa.table({"machine": draw_machines(rng, ASKED), "event_timestamp": draw_times(rng, ASKED)})
    pq.write_table(table.set_column(1, "at", table["at"].cast(pa.timestamp("us", "UTC"))), tmp_path / "rows.parquet")
    pq.write_table(asked, tmp_path / "asked.parquet")
    store = FeatureStore(str(tmp_path / "store"), SystemClock())
    store.catalogue.register(view_of("wide", names))
    store.push("wide", [("rows", table)])
    ours_s, peer_s = [], []
    with _feast(python, tmp_path) as join:
        # The first of each warms caches.
        join()
        answer = store.extract(asked, ["wide"])
        # Theirs leaves out whom nothing was known of at that time.
        answered = answer.filter(pc.is_valid(answer[names[0]]))
        assert in_order(answered) == in_order(pq.read_table(tmp_path / "feast.parquet"))
        for _ in range(ROUNDS):
            start = time.perf_counter()
            store.extract(asked, ["wide"])
            ours_s.append(time.perf_counter() - start)
            peer_s.append(join())
    record_ratio(
        f"features as of a time, {ASKED // 1000}k × {ROWS // 1_000_000}M × {FEATURES} / Feast's file store",
        ours=statistics.median(ours_s),
        peer=statistics.median(peer_s),
        reach=REACH,
        unit="s",
        runs=ROUNDS,
    )


@contextmanager
def _feast(python: Path, folder: Path) -> Iterator[Callable[[], float]]:
    """Give a function that has Feast join once, and returns the seconds that it took."""
    # Without our folder on its path: what it imports is its environment's.
    command = [str(python), "-P", str(Path(__file__).with_name("feast_join.py")), str(folder)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["FEAST_USAGE"] = "False"
    with (folder / "feast.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=folder
        )
    told, said_by = process.stdin, process.stdout
    assert told is not None
    assert said_by is not None

    def asked(line: str | None) -> str:
        if line is not None:
            told.write(line)
            told.flush()
        said = said_by.readline().strip()
        assert said, (folder / "feast.log").read_text()[-4000:]
        return said

    try:
        assert asked(None) == "ready"
        yield lambda: float(asked("join\n"))
    finally:
        process.kill()
        process.communicate()
