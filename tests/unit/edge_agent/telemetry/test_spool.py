"""The spool keeps what it was given through cuts, damage and full disks, until the receiver has it."""

import contextlib
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.fleet_windows import make_window
from broker.messages import Event, Sample, Samples, TelemetryWindow, encode_body, parse
from broker.topics import Channel
from edge_agent.errors import SpoolError
from edge_agent.settings import TelemetrySettings
from edge_agent.telemetry.ageing import AGE_STEPS
from edge_agent.telemetry.recovery import LOST_NUMBERS
from edge_agent.telemetry.spool import RECORDS_SHARE, Spool, load_counts
from edge_agent.telemetry.spool_file import PAGE_BYTES, ChannelCounts
from tests.unit.edge_agent.examples import RAIN, ManualClock, window_of

MakeSpool = Callable[..., Spool]


def event(number: int = 0, size: int = 10) -> tuple[Channel, bytes]:
    return Channel.EVENTS, encode_body(Event(f"e{number}", 1.7e9, "info", "x" * size))


def window(first: int, last: int, version: int = 3) -> tuple[Channel, bytes]:
    return Channel.TELEMETRY, encode_body(window_of(first, last, version))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeSpool]:
    opened: list[Spool] = []

    def build(max_bytes: int = 1 << 20, seed: int | None = None) -> Spool:
        rng = random.Random(len(opened) if seed is None else seed)
        opened.append(Spool(tmp_path / "spool.db", rng, max_bytes))
        return opened[-1]

    yield build
    for spool in opened:
        spool.close()


def sequences(spool: Spool) -> list[int]:
    return [record.key.sequence for record in spool.peek(1000)]


def test_records_come_back_in_order_and_stay(make: MakeSpool):
    spool = make()
    spool.put([event(0), window(0, 3)])
    spool.put([event(1)])
    records = spool.peek(10)
    for _ in range(2):
        assert spool.peek(10) == records
        assert [(r.channel, r.key.sequence) for r in records] == [
            (Channel.EVENTS, 1),
            (Channel.TELEMETRY, 2),
            (Channel.EVENTS, 3),
        ]
    assert [r.key.sequence for r in spool.peek(1, after=1)] == [2]
    assert {r.key.epoch for r in records} == {spool.epoch}
    assert spool.epoch > 0
    assert spool.last_sequence == 3
    key, body = parse(records[1].channel, records[1].payload())
    assert (key, body) == (records[1].key, window_of(0, 3))


def test_everything_is_there_again_after_a_restart(make: MakeSpool):
    first = make()
    first.put([event(0), event(1)], cursor=17, notes={"sampler": b"\x01"})
    records, epoch = first.peek(10), first.epoch
    first.close()
    second = make()
    assert (second.peek(10), second.epoch, second.cursor()) == (records, epoch, 17)
    assert second.note("sampler") == b"\x01"
    assert second.note("other") is None
    assert second.recovered_from is None
    assert second.last_sequence == 2


def test_a_new_spool_starts_at_row_zero(make: MakeSpool):
    assert make().cursor() == 0


def test_release_gives_up_what_the_mark_covers_and_counts_it(make: MakeSpool):
    spool = make()
    spool.put([event(0), window(0, 3), event(1)])
    spool.peek(10)
    assert spool.release_through(spool.epoch, 2) == 2
    assert sequences(spool) == [3]
    assert spool.counts()[Channel.EVENTS] == ChannelCounts(put=2, stored=1)
    assert spool.counts()[Channel.TELEMETRY] == ChannelCounts(put=1, stored=1)
    assert spool.counts()[Channel.EVENTS].waiting == 1


def test_a_sequence_is_never_given_twice_even_after_all_is_released(make: MakeSpool):
    first = make()
    first.put([event(0), event(1)])
    first.peek(10)
    first.release_through(first.epoch, 2)
    first.close()
    second = make()
    second.put([event(2)])
    assert sequences(second) == [3]
    assert second.peek(1)[0].key.previous == 2


def test_marks_of_another_epoch_and_older_marks_change_nothing(make: MakeSpool):
    spool = make()
    spool.put([event(n) for n in range(4)])
    spool.peek(10)
    epoch = spool.epoch
    assert spool.release_through(epoch ^ 1, 4) == 0
    spool.release_through(epoch, 2)
    assert spool.release_through(epoch, 1) == 0
    assert spool.release_through(epoch, 2) == 0
    assert sequences(spool) == [3, 4]
    assert spool.epoch == epoch


def test_previous_is_the_nearest_lower_record_or_the_last_one_stored(make: MakeSpool):
    spool = make()
    spool.put([event(n) for n in range(4)])
    assert [r.key.previous for r in spool.peek(10)] == [0, 1, 2, 3]
    assert [r.key.previous for r in spool.peek(10, after=2)] == [2, 3]
    spool.release_through(spool.epoch, 2)
    assert [r.key.previous for r in spool.peek(10)] == [2, 3]


def test_previous_is_never_a_dropped_record(make: MakeSpool):
    spool = make(max_bytes=1000)
    spool.put([event(0)])
    spool.peek(10)
    spool.release_through(spool.epoch, 1)
    for number in range(10):
        spool.put([event(number, size=200)])
    keys = [record.key for record in spool.peek(10)]
    assert keys[0].sequence > 2
    assert keys[0].previous == 1
    assert [key.previous for key in keys[1:]] == [key.sequence for key in keys[:-1]]


def test_a_mark_that_was_never_offered_means_an_old_copy_and_starts_a_new_epoch(make: MakeSpool):
    spool = make()
    spool.put([event(0), event(1)])
    spool.peek(1)
    epoch = spool.epoch
    assert spool.release_through(epoch, 100) == 0
    assert spool.epoch != epoch
    assert [(r.key.epoch, r.key.sequence, r.key.previous) for r in spool.peek(10)] == [
        (spool.epoch, 1, 0),
        (spool.epoch, 2, 1),
    ]


def test_over_its_bound_it_merges_windows_and_loses_no_count(make: MakeSpool):
    spool = make(max_bytes=1500)
    for start in range(0, 200, 10):
        spool.put([window(start, start + 9)])
    windows = [read for r in spool.peek(100) if isinstance(read := parse(r.channel, r.payload())[1], TelemetryWindow)]
    assert len(windows) < 20
    assert sum(w.rows_scored for w in windows) == 200
    assert windows[0].first_row == 0
    assert all(a.last_row < b.first_row for a, b in itertools.pairwise(windows))
    counts = spool.counts()[Channel.TELEMETRY]
    assert (counts.dropped, counts.merged, counts.waiting) == (0, 20 - len(windows), len(windows))


def test_windows_that_were_offered_are_not_merged_even_after_a_restart(make: MakeSpool):
    first = make(max_bytes=10_000)
    first.put([window(0, 9), window(10, 19)])
    offered = first.peek(10)
    first.close()
    second = make(max_bytes=900)
    for start in range(20, 60, 10):
        second.put([window(start, start + 9)])
    kept = {r.key.sequence: r.body for r in second.peek(10)}
    assert all(kept.get(r.key.sequence, r.body) == r.body for r in offered)


def test_over_its_bound_it_drops_samples_before_events_and_counts_them(make: MakeSpool):
    spool = make(max_bytes=1250)
    sample = (
        Channel.SAMPLES,
        encode_body(msgspec.convert([["rain", 3], [["d.1", 1.0, [1.0], 1.0, 0.5, True, "b"]]], Samples)),
    )
    spool.put([event(0, 100), sample, sample])
    for number in range(4):
        spool.put([event(number, 150)])
    assert [r.channel for r in spool.peek(10)] == [Channel.EVENTS] * 5
    assert spool.counts()[Channel.SAMPLES] == ChannelCounts(put=2, dropped=2)


def test_a_record_larger_than_the_bound_does_not_stay(make: MakeSpool):
    spool = make(max_bytes=100)
    spool.put([event(0, 1000)], cursor=5)
    assert sequences(spool) == []
    assert spool.cursor() == 5
    assert spool.counts()[Channel.EVENTS] == ChannelCounts(put=1, dropped=1)


@pytest.mark.parametrize(
    "body",
    [
        encode_body(Event("e", float("nan"), "info", "")),
        encode_body(Event("e", 1.0, "info", "x" * 3000)),
        b"\xff",
        b"",
        encode_body(Event("e", 1.0, "info", "")) + bytes(10_000),
    ],
)
def test_what_the_wire_would_refuse_is_dropped_and_counted_not_spooled(make: MakeSpool, body: bytes):
    spool = make()
    spool.put([(Channel.EVENTS, body), event(1)])
    assert sequences(spool) == [1]
    assert spool.counts()[Channel.EVENTS] == ChannelCounts(put=2, dropped=1)


def test_a_channel_that_is_not_spooled_is_a_mistake_and_changes_nothing(make: MakeSpool):
    spool = make()
    with pytest.raises(ValueError, match="not spooled"):
        spool.put([event(0), (Channel.STATUS, b"")], cursor=9)
    assert (sequences(spool), spool.cursor()) == ([], 0)


def test_a_full_disk_is_an_error_that_changes_nothing_and_passes(make: MakeSpool):
    spool = make()
    spool.put([event(0)], cursor=1)
    (pages,) = spool._file.database.execute("PRAGMA page_count").fetchone()
    spool._file.database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(SpoolError, match="full"):
        spool.put([event(n, 2000) for n in range(1, 50)], cursor=2, notes={"a": b"b"})
    assert (sequences(spool), spool.cursor(), spool.note("a"), spool.last_sequence) == ([1], 1, None, 1)
    assert spool.counts()[Channel.EVENTS] == ChannelCounts(put=1)
    spool._file.database.execute("PRAGMA max_page_count = 100000")
    spool.put([event(n, 2000) for n in range(1, 50)], cursor=2)
    assert (len(sequences(spool)), spool.cursor()) == (50, 2)


@pytest.mark.parametrize("damage", ["text", "header", "foreign"])
def test_a_damaged_spool_is_put_aside_and_a_new_one_has_a_new_epoch(make: MakeSpool, tmp_path: Path, damage: str):
    path = tmp_path / "spool.db"
    first = make()
    first.put([event(n, 1000) for n in range(30)], cursor=30)
    epoch = first.epoch
    first.close()
    content = bytearray(path.read_bytes())
    if damage == "text":
        content = bytearray(b"this is no database " * 100)
    elif damage == "header":
        content[16:100] = bytes(84)
    path.write_bytes(content)
    if damage == "foreign":
        path.unlink()
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE other (a)")
            database.execute("PRAGMA user_version = 1")
        database.close()
    second = make()
    assert second.recovered_from == tmp_path / "spool.db.damaged"
    assert second.recovered_from.exists()
    assert second.epoch != epoch
    second.put([event(0)])
    assert sequences(second) == [1]
    assert second.cursor() == 0


def damage_pages(path: Path, *numbers: int) -> None:
    """Spoil pages of a database, 1 for the first."""
    content = bytearray(path.read_bytes())
    for number in numbers:
        content[PAGE_BYTES * (number - 1) : PAGE_BYTES * number] = b"\xa5" * PAGE_BYTES
    path.write_bytes(content)


def pages_of(path: Path, table: str) -> int:
    """Return the root page of a table."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        root: int = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        return root


def test_of_a_damaged_spool_everything_readable_is_kept_under_its_old_name_and_the_rest_counted_as_dropped(
    make: MakeSpool, tmp_path: Path
):
    path = tmp_path / "spool.db"
    first = make()
    first.put([event(n, 1000) for n in range(60)], cursor=60, notes={"sampler": b"state"})
    first.peek(10)
    first.release_through(first.epoch, 5)
    before = {record.key.sequence: record for record in first.peek(100)}
    epoch = first.epoch
    first.close()
    n_pages = path.stat().st_size // PAGE_BYTES
    # Pages of records alone: everything that is read when it is opened is whole.
    damage_pages(path, n_pages // 2, n_pages - 2)
    second = make()
    assert second.recovered_from == tmp_path / "spool.db.damaged"
    after = {record.key.sequence: record for record in second.peek(100)}
    assert 40 < len(after) < 55
    assert len(after) == second.recovered
    assert all(record.body == before[sequence].body for sequence, record in after.items())
    assert (second.epoch, second.cursor(), second.note("sampler")) == (epoch, 60, b"state")
    assert second.counts()[Channel.EVENTS] == ChannelCounts(put=60, stored=5, dropped=55 - len(after))
    # What was lost is not waited for, and no name is given a second time.
    keys = [after[sequence].key for sequence in sorted(after)]
    assert [key.previous for key in keys] == [5, *(key.sequence for key in keys[:-1])]
    # Nor one that the damaged spool may have given and forgotten.
    second.put([event(99)])
    assert second.last_sequence == 60 + LOST_NUMBERS + 1
    assert second.release_through(epoch, 60) == len(after)
    assert sequences(second) == [second.last_sequence]


def test_where_the_numbers_of_a_damaged_spool_are_lost_its_records_get_a_new_epoch_and_no_row_is_counted_twice(
    make: MakeSpool, tmp_path: Path
):
    path = tmp_path / "spool.db"
    first = make()
    first.put([window(0, 3), event(0), window(4, 9)], cursor=10, notes={"sampler": b"state"})
    epoch = first.epoch
    first.close()
    damage_pages(path, pages_of(path, "number"), pages_of(path, "sqlite_sequence"))
    second = make()
    assert second.epoch != epoch
    assert (second.cursor(), second.note("sampler")) == (10, b"state")
    assert [(r.key.sequence, r.key.previous) for r in second.peek(10)] == [(1, 0), (2, 1), (3, 2)]
    assert second.counts()[Channel.TELEMETRY] == ChannelCounts(put=2)
    second.put([event(1)])
    assert sequences(second) == [1, 2, 3, 4]


def test_what_the_wire_would_refuse_is_not_taken_over_from_a_damaged_spool(make: MakeSpool, tmp_path: Path):
    path = tmp_path / "spool.db"
    first = make()
    first.put([event(0), event(1)])
    first._file.database.execute("UPDATE record SET body = x'ff' WHERE sequence = 2")
    first.close()
    damage_pages(path, pages_of(path, "note"))
    second = make()
    assert sequences(second) == [1]
    assert second.counts()[Channel.EVENTS] == ChannelCounts(put=2, dropped=1)
    second.put([event(2)])
    assert sequences(second) == [1, 2 + LOST_NUMBERS + 1]


def test_a_spool_of_a_newer_agent_is_no_damage_and_stays_where_it_is(make: MakeSpool, tmp_path: Path):
    first = make()
    first.put([event(0)])
    first._file.database.execute("PRAGMA user_version = 2")
    first.close()
    with pytest.raises(SpoolError, match=r"a newer agent made it \(version 2, this agent knows 1\): update the agent"):
        make()
    assert not (tmp_path / "spool.db.damaged").exists()
    with contextlib.closing(sqlite3.connect(tmp_path / "spool.db")) as database:
        assert database.execute("SELECT count(*) FROM record").fetchone() == (1,)


def test_what_is_put_is_on_the_disk_not_only_on_its_way(make: MakeSpool):
    database = make()._file.database
    full = 2
    assert database.execute("PRAGMA synchronous").fetchone() == (full,)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_second_agent_on_the_same_spool_is_refused(make: MakeSpool):
    make()
    with pytest.raises(SpoolError, match="another agent"):
        make()


def test_a_folder_that_cannot_be_written_is_an_error_not_damage(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="cannot be made"):
        Spool(tmp_path / "file" / "spool.db", random.Random(1))


def test_counts_can_be_read_while_the_agent_uses_the_spool(make: MakeSpool, tmp_path: Path):
    make().put([event(0)])
    assert load_counts(tmp_path / "spool.db")[Channel.EVENTS].waiting == 1
    with pytest.raises(SpoolError, match="no spool"):
        load_counts(tmp_path / "absent.db")


WRITE_UNTIL_KILLED = """
import os, random, sys
from pathlib import Path
from edge_agent.telemetry.spool import Spool
from tests.unit.edge_agent.telemetry.test_spool import event
spool = Spool(Path(sys.argv[1]), random.Random(os.getpid()))
start = spool.cursor()
for number in range(start, 100000):
    spool.put([event(number), event(number)], cursor=number + 1)
    print(number, flush=True)
"""


def test_what_put_returned_for_survives_a_kill_and_cursor_and_records_agree(tmp_path: Path, repository: Path):
    path, acknowledged = tmp_path / "spool.db", -1
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_UNTIL_KILLED, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(repository)},
        ) as child:
            assert child.stdout is not None
            for _ in range(15):
                acknowledged = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *map(int, child.stdout.read().split())])
    spool = Spool(path, random.Random(1))
    assert spool.cursor() >= acknowledged + 1
    assert spool.counts()[Channel.EVENTS].put == 2 * spool.cursor()
    assert sequences(spool) == list(range(1, min(1000, 2 * spool.cursor()) + 1))
    spool.close()


# --- age -------------------------------------------------------------------------------------------------------------

MAX_AGE_S = 64_000.0
STEP_S = MAX_AGE_S / AGE_STEPS


@pytest.fixture
def age(tmp_path: Path) -> Iterator[tuple[ManualClock, Callable[..., Spool]]]:
    """A clock, and what opens the spool anew by it."""
    clock = ManualClock()
    opened: list[Spool] = []

    def build(max_age_s: float = MAX_AGE_S) -> Spool:
        if opened:
            opened[-1].close()
        spool = Spool(tmp_path / "spool.db", random.Random(1), max_age_s=max_age_s, monotonic_s=clock.monotonic_s)
        opened.append(spool)
        return spool

    yield clock, build
    opened[-1].close()


Age = tuple[ManualClock, Callable[..., Spool]]


def test_what_waits_for_too_long_is_given_up_and_counted_and_what_is_younger_stays(age: Age):
    clock, make = age
    spool = make()
    for number in range(200):
        spool.put([event(number)])
        clock.advance(STEP_S)
        ages_s = [STEP_S * (number + 1 - sequence + 1) for sequence in sequences(spool)]
        assert max(ages_s) <= MAX_AGE_S + 2 * STEP_S
        # Never early: everything younger is there.
        assert len(ages_s) >= min(number + 1, AGE_STEPS)
    counts = spool.counts()[Channel.EVENTS]
    assert (counts.put, counts.dropped, counts.waiting) == (200, 0, len(sequences(spool)))
    assert counts.expired == 200 - counts.waiting
    (n_notes,) = spool._file.database.execute("SELECT count(*) FROM number WHERE name GLOB 'put through *'").fetchone()
    assert n_notes <= AGE_STEPS + 2


def test_time_without_power_and_a_clock_that_starts_anew_age_nothing(age: Age):
    clock, make = age
    make().put([event(0)])
    clock.advance(100 * MAX_AGE_S)
    spool = make()
    spool.put([event(1)])
    assert sequences(spool) == [1, 2]
    clock.advance(MAX_AGE_S / 2)
    spool.put([event(2)])
    clock.advance(-MAX_AGE_S / 2)
    spool = make()
    for number in range(3):
        clock.advance(MAX_AGE_S / 4 + 2 * STEP_S)
        spool.put([event(number)])
    assert sequences(spool)[:2] == [3, 4]


def test_another_bound_does_not_make_records_older_than_they_are(age: Age):
    clock, make = age
    spool = make()
    for number in range(150):
        spool.put([event(number)])
        clock.advance(STEP_S)
    shorter = make(MAX_AGE_S / 4)
    shorter.put([event(150)])
    clock.advance(STEP_S)
    shorter.put([event(151)])
    assert AGE_STEPS / 4 - 2 <= len(sequences(shorter)) <= AGE_STEPS / 4 + 2


def test_records_that_expired_are_not_waited_for_by_the_receiver(age: Age):
    clock, make = age
    spool = make()
    spool.put([event(0)])
    spool.peek(10)
    spool.release_through(spool.epoch, 1)
    for number in range(100):
        spool.put([event(number)])
        clock.advance(STEP_S)
    keys = [record.key for record in spool.peek(100)]
    assert keys[0].sequence > 2
    assert keys[0].previous == 1


def test_a_spool_without_a_bound_on_age_keeps_everything(age: Age):
    clock, make = age
    spool = make(float("inf"))
    spool.put([event(0)])
    clock.advance(1e12)
    spool.put([event(1)])
    assert sequences(spool) == [1, 2]


# --- a month without a network ----------------------------------------------------------------------------------------

MONTH_DAYS = 30
WINDOWS_A_DAY = 144


def test_thirty_days_without_a_network_fit_into_the_default_bound(tmp_path: Path):
    # 64 features, six windows an hour, five background rows with each: the defaults.
    rng = np.random.default_rng(1)
    windows = [encode_body(make_window(rng, number)) for number in range(20)]
    rows = tuple(
        Sample(
            f"station-07.{number}", 1.7e9, tuple(rng.random(64).tolist()), 1.0, 0.5, agrees=True, reason="background"
        )
        for number in range(5)
    )
    samples = encode_body(Samples(RAIN, rows))
    path = tmp_path / "spool.db"
    spool = Spool(path, random.Random(1), TelemetrySettings().spool_max_bytes)
    for day in range(MONTH_DAYS):
        of_a_day: list[tuple[Channel, bytes]] = []
        for number in range(WINDOWS_A_DAY):
            of_a_day += [(Channel.TELEMETRY, windows[number % len(windows)]), (Channel.SAMPLES, samples)]
        spool.put([*of_a_day, event(day, 200)], cursor=day)
    counts = spool.counts()
    assert counts[Channel.TELEMETRY] == ChannelCounts(put=MONTH_DAYS * WINDOWS_A_DAY)
    assert counts[Channel.SAMPLES] == ChannelCounts(put=MONTH_DAYS * WINDOWS_A_DAY)
    spool.close()
    assert path.stat().st_size < TelemetrySettings().spool_max_bytes / 2


def test_the_database_of_a_spool_that_thins_stays_within_its_bound(tmp_path: Path):
    path, bound_bytes = tmp_path / "spool.db", 256 << 10
    spool = Spool(path, random.Random(1), int(bound_bytes * RECORDS_SHARE))
    rng = np.random.default_rng(1)
    first = make_window(rng, 0)
    for start in range(0, 800, 20):
        numbered = [msgspec.structs.replace(first, first_row=n, last_row=n) for n in range(start, start + 20)]
        spool.put([(Channel.TELEMETRY, encode_body(window)) for window in numbered])
    assert spool.counts()[Channel.TELEMETRY].merged > 0
    spool.close()
    assert path.stat().st_size <= bound_bytes


class PowerCut(BaseException):
    """Ends a start in its middle."""


def cut(*_arguments: object) -> None:
    raise PowerCut


@pytest.mark.parametrize(
    "where", ["before_the_log_is_moved", "before_anything_is_taken_over", "after_it_was_taken_over"]
)
def test_a_power_cut_while_a_damaged_spool_is_taken_over_loses_nothing_of_it(
    make: MakeSpool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
):
    path = tmp_path / "spool.db"
    first = make()
    first.put([event(n, 1000) for n in range(60)], cursor=60)
    first.close()
    damage_pages(path, path.stat().st_size // PAGE_BYTES // 2)
    place = {
        "before_the_log_is_moved": "edge_agent.telemetry.spool_file.SpoolFile._move_aside",
        "before_anything_is_taken_over": "edge_agent.telemetry.recovery.recover",
        "after_it_was_taken_over": "edge_agent.telemetry.spool_file.SpoolFile.settle_aside",
    }[where]
    monkeypatch.setattr(place, cut)
    with pytest.raises(PowerCut):
        make()
    monkeypatch.undo()
    assert not (tmp_path / "spool.db.damaged").exists()
    second = make()
    assert len(sequences(second)) > 50
    assert second.cursor() == 60
    assert second.recovered_from == tmp_path / "spool.db.damaged"
    assert not (tmp_path / "spool.db.recovering").exists()
    second.put([event(99)])
    kept = sequences(second)
    second.close()
    # It is done once: the next start finds nothing to take over.
    third = make()
    assert third.recovered_from is None
    assert sequences(third) == kept
