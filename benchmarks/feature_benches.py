"""What the feature store costs: a join as of a time against DuckDB's bare one, and a look-up against its millisecond.

`bench_trainer` takes these in, so that they stand with the trainer's other figures.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.timing import alternate
from edge_agent.clock import SystemClock
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.online.lookup import Lookup
from trainer.features.online.materialise import materialise
from trainer.features.online.sqlite_store import SqliteOnline
from trainer.features.views.view import Entity, FeatureView, Source, ViewFeature

ROWS: Final = 1_000_000
ASKED: Final = 100_000
FEATURES: Final = 8
ENTITIES: Final = 2_000
JOIN_ROUNDS: Final = 7
JOIN_REACH: Final = 1.3
# Two views of five: what a model asks for stands in more than one.
ONLINE_VIEWS: Final = 2
ONLINE_FEATURES: Final = 10
LOOKUPS: Final = 20_000
LOOKUP_REACH_US: Final = 1_000.0
_START_US: Final = 1_767_225_600_000_000
_SPAN_US: Final = 90 * 86_400_000_000


def bench_point_in_time_join(tmp_path: Path, record_ratio: Callable[..., object]) -> None:
    rng = np.random.default_rng(1)
    names = [f"f{number}" for number in range(FEATURES)]
    table = draw_rows(rng, ROWS, names)
    asked = pa.table({"machine": draw_machines(rng, ASKED), "event_timestamp": draw_times(rng, ASKED)})
    store = FeatureStore(str(tmp_path / "store"), SystemClock())
    store.catalogue.register(view_of("wide", names))
    store.push("wide", [("rows", table)])
    bare = tmp_path / "bare.parquet"
    pq.write_table(table, bare)
    query = (
        f"SELECT asked.*, {', '.join(names)} FROM asked ASOF LEFT JOIN read_parquet('{bare}') AS rows "  # noqa: S608
        "ON asked.machine = rows.machine AND asked.event_timestamp >= rows.at"
    )
    plain = pa.table({"machine": asked.column("machine"), "event_timestamp": _naive(asked.column("event_timestamp"))})

    def peer() -> Any:
        with duckdb.connect() as connection:
            connection.register("asked", plain)
            return connection.sql(query).to_arrow_table()

    def ours() -> Any:
        return store.extract(asked, ["wide"])

    assert in_order(ours()) == in_order(peer())
    pair = alternate(ours, peer, rounds=JOIN_ROUNDS, warm_up=1)
    record_ratio(
        f"features as of a time, {ASKED // 1000}k × {ROWS // 1_000_000}M × {FEATURES} / DuckDB's bare ASOF JOIN",
        ours=pair.ours_us / 1e6,
        peer=pair.peer_us / 1e6,
        reach=JOIN_REACH,
        unit="s",
        runs=JOIN_ROUNDS,
    )


def bench_online_lookup(tmp_path: Path, record_ratio: Callable[..., object]) -> None:
    rng = np.random.default_rng(2)
    store, online = FeatureStore(str(tmp_path / "store"), SystemClock()), SqliteOnline(tmp_path / "online.db")
    lookups = []
    for number in range(ONLINE_VIEWS):
        names = [f"f{number}_{each}" for each in range(ONLINE_FEATURES // ONLINE_VIEWS)]
        view = view_of(f"view{number}", names)
        store.catalogue.register(view)
        store.push(view.name, [("rows", draw_rows(rng, 20 * ENTITIES, names))])
        materialise(store, view.name, online, SystemClock())
        lookups.append(Lookup(online, view, SystemClock()))
    keys = draw_machines(rng, LOOKUPS)
    taken_us = np.empty(LOOKUPS)
    for place, key in enumerate(keys):
        start_ns = time.perf_counter_ns()
        found = {name: value for lookup in lookups for name, value in lookup.find(key).values.items()}
        taken_us[place] = (time.perf_counter_ns() - start_ns) / 1000
        assert len(found) == ONLINE_FEATURES
    online.close()
    record_ratio(
        f"p99 of a look-up of {ONLINE_FEATURES} features of {ONLINE_VIEWS} views / 1 ms",
        ours=float(np.quantile(taken_us, 0.99)),
        peer=LOOKUP_REACH_US,
        reach=1.0,
        unit="µs",
        runs=LOOKUPS,
    )


def view_of(name: str, names: list[str]) -> FeatureView:
    return FeatureView(
        name=name,
        entities=(Entity(name="machine", key="machine"),),
        features=tuple(ViewFeature(name=each) for each in names),
        source=Source(timestamp="at", zone="UTC"),
        # Longer than the span: what is measured is the same answer.
        ttl_s=1e9,
    )


def draw_rows(rng: np.random.Generator, n_rows: int, names: list[str]) -> Any:
    return pa.table(
        {
            "machine": draw_machines(rng, n_rows),
            "at": _naive(draw_times(rng, n_rows)),
            **{name: rng.normal(size=n_rows) for name in names},
        }
    )


def draw_machines(rng: np.random.Generator, n_rows: int) -> list[str]:
    return [f"machine-{number:05}" for number in rng.integers(0, ENTITIES, n_rows)]


def draw_times(rng: np.random.Generator, n_rows: int) -> Any:
    # No two alike: DuckDB's bare join has no rule for which one counts.
    at = _START_US + rng.permutation(n_rows) * (_SPAN_US // n_rows)
    return pa.array(at, pa.timestamp("us", "UTC"))


def _naive(times: Any) -> Any:
    return times.cast(pa.timestamp("us"))


def in_order(table: Any) -> Any:
    table = table.select([name for name in table.column_names if name.startswith("f")])
    return table.sort_by([(name, "ascending") for name in table.column_names])
