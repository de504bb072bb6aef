"""Flash wear: what an agent writes in a day at its default settings, against an ordinary queue in SQLite.

The day: 144 windows of 64 features × 10 bins over 600 rows, each with its background rows, the source's cursor, the
sampler's state and the counters for ``fieldloop-agent status``; everything is sent, and released when it is stored. The
peer keeps the same records with SQLite's own defaults: a row is inserted and committed, and deleted and committed.

The kernel counts: ``write_bytes`` of /proc/self/io, the bytes that this process caused to be sent to the disk, in pages
of the page cache (4 KB), rewritten ones each time. What the file system writes for itself (its journal, its tables) and
what the flash's own translation multiplies come on top, for both sides. On tmpfs nothing is counted: it is skipped.
"""

import contextlib
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pytest

from benchmarks.fleet_windows import BUNDLE, N_FEATURES, START_UTC_S, WINDOW_S, make_window
from broker.messages import Sample, Samples, Stored, encode_body, parse
from broker.packs import unpack
from broker.topics import Channel
from edge_agent.live import LIVE_NAME, SPOOL_NAME, Live, in_short, write_live
from edge_agent.settings import TelemetrySettings
from edge_agent.telemetry.forwarder import Forwarder
from edge_agent.telemetry.sampler import SAMPLER_NOTE
from edge_agent.telemetry.spool import Spool

SEED: Final = 1
WINDOWS_A_DAY: Final = 144
# As many as the default settings make of one row in two being worth a look: a reservoir's state is some hundred bytes.
SAMPLER_STATE: Final = bytes(300)
_IO: Final = Path("/proc/self/io")

Records = list[tuple[Channel, bytes]]


class Day:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def utc_s(self) -> float:
        return START_UTC_S + self.now_s


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder on a disk whose writes are counted."""
    before = _written_bytes()
    (tmp_path / "probe").write_bytes(bytes(1 << 20))
    with (tmp_path / "probe").open("rb+") as probe:
        os.fsync(probe.fileno())
    if _written_bytes() - before < 1 << 20:
        pytest.skip(f"{tmp_path} is on no disk that counts: give pytest --basetemp on one")
    return tmp_path


def bench_bytes_written_in_a_day(folder, record_ratio) -> None:
    defaults = TelemetrySettings()
    for background_rows, name in ((defaults.background_rows, "at default settings"), (0, "without background rows")):
        day = _records_of_a_day(background_rows)
        ours_folder, peer_folder = folder / f"ours-{background_rows}", folder / f"peer-{background_rows}"
        ours = _counted(_live_a_day, ours_folder, day)
        peer = _counted(_queue_a_day, peer_folder, day)
        carried = sum(len(body) for records in day for _, body in records)
        print(
            f"\n{name}: {ours / 1e6:.2f} MB a day for {carried / 1e6:.2f} MB of records; the queue {peer / 1e6:.2f} MB"
        )
        record_ratio(
            f"bytes written to the disk in a day, {name} / an ordinary queue in SQLite",
            ours=ours,
            peer=peer,
            reach=0.5,
            unit="bytes",
            runs=WINDOWS_A_DAY,
        )


def _records_of_a_day(background_rows: int) -> list[Records]:
    rng = np.random.default_rng(SEED)
    day: list[Records] = []
    for number in range(WINDOWS_A_DAY):
        records: Records = [(Channel.TELEMETRY, encode_body(make_window(rng, number)))]
        rows = tuple(
            Sample(
                f"press-1.{number * 600 + row}",
                START_UTC_S + number * WINDOW_S,
                tuple(rng.random(N_FEATURES).tolist()),
                1.0,
                0.5,
                agrees=True,
                reason="background",
            )
            for row in range(background_rows)
        )
        if rows:
            records.append((Channel.SAMPLES, encode_body(Samples(BUNDLE, rows))))
        day.append(records)
    return day


def _live_a_day(state: Path, day: list[Records]) -> None:
    """Do what recorder, forwarder and housekeeping do with a day's records."""
    state.mkdir()
    clock = Day()
    defaults = TelemetrySettings()
    spool = Spool(
        state / SPOOL_NAME,
        random.Random(SEED),
        max_age_s=defaults.spool_max_age_days * 86_400,
        monotonic_s=clock.monotonic_s,
    )

    def publish(channel: Channel, payload: bytes) -> None:
        *_, last = unpack(channel, payload)
        key, _ = parse(channel, last)
        assert key is not None
        forwarder.on_stored(Stored(key.epoch, key.sequence, clock.utc_s()))

    forwarder = Forwarder(spool, publish, clock, random.Random(SEED), together=defaults.windows_together)
    forwarder.on_link(True)  # noqa: FBT003 - as a link's listener gets it
    live = Live("press-1", "plant", "0.1.0", "0" * 16, 1, START_UTC_S, START_UTC_S, connected=True)
    rng = np.random.default_rng(SEED)
    for number, records in enumerate(day):
        spool.put(records, cursor=number * 600, notes={SAMPLER_NOTE: SAMPLER_STATE})
        write_live(state, msgspec.structs.replace(live, windows=number, last_window=in_short(make_window(rng, number))))
        while forwarder.step():
            pass
        clock.now_s += WINDOW_S
    forwarder.flush()
    while forwarder.step():
        pass
    forwarder.step()
    assert spool.waiting_through(spool.last_sequence) == 0
    assert (state / LIVE_NAME).exists()
    spool.close()


def _queue_a_day(state: Path, day: list[Records]) -> None:
    """Keep a day's records as most queues do."""
    state.mkdir()
    with contextlib.closing(sqlite3.connect(state / "queue.db", isolation_level=None)) as database:
        database.execute("CREATE TABLE queue (id INTEGER PRIMARY KEY, channel TEXT, body BLOB)")
        for records in day:
            for channel, body in records:
                database.execute("INSERT INTO queue (channel, body) VALUES (?, ?)", (channel.value, body))
            for (number,) in database.execute("SELECT id FROM queue").fetchall():
                database.execute("DELETE FROM queue WHERE id = ?", (number,))


def _counted(spend: Callable[[Path, list[Records]], None], state: Path, day: list[Records]) -> int:
    before = _written_bytes()
    spend(state, day)
    return _written_bytes() - before


def _written_bytes() -> int:
    lines = dict(line.split(": ") for line in _IO.read_text(encoding="ascii").splitlines())
    return int(lines["write_bytes"])
