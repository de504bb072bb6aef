"""Keeps records on disk until the receiver says that it stored them.

A record is named by (epoch, sequence). The epoch is drawn when a spool is made; a sequence is given once, also after
the record is gone. `put` returns when the records are durable, together with the source's cursor and the agent's
notes: rows count when their window is durable, so after any cut the agent reads again from the cursor and every row is
counted once.

**previous.** The receiver knows only what arrives, and takes a record for the next one in line if and only if
``key.previous <= stored through``. So `previous` is asserted when a record is sent: no record lies between `previous`
and it, nor ever will. It is the sequence of the nearest lower record that is still in the spool, or, if there is none,
the highest sequence that the receiver has said to have stored: never that of a dropped record, for which it would wait
for ever. A record that was sent before its lower neighbour was dropped is sent again, with a lower `previous`; the
receiver must look at the key of a record that it holds already.

**Bounds.** Over ``max_bytes`` the spool thins by the rule of `edge_agent.telemetry.thinning`, in the transaction of the
`put`, and counts what it gave up. To merge only what was never sent, what `peek` gives out is noted as offered before
it is given.

**Age.** What is older than ``max_age_s`` is given up by the next `put`, and counted as expired. Age is the time that
the agent has run since the record was put: a device's clock may jump by years, and a night without power ages nothing.
It is noted in steps of a sixty-fourth of the bound, so a record may go a step late, and never goes early.

**Damage.** A damaged database is put aside. What can be read of it goes into a new one, and the records that cannot
count as dropped. They keep their epoch where the numbers can be read, so that what is on its way is not stored twice.
"""

import contextlib
import fcntl
import logging
import math
import os
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker.errors import WireError
from broker.messages import Epoch, RecordKey, TelemetryWindow, encode_body, encode_record, parse
from broker.topics import RULES, Channel
from edge_agent.durable import make_folder
from edge_agent.errors import SpoolError
from edge_agent.telemetry.salvage import DamagedSpool
from edge_agent.telemetry.thinning import Drop, Entry, Merge, plan_thinning
from edge_agent.telemetry.window import merge_windows

SCHEMA_VERSION: Final = 1
# What a record costs beside its body: its row, its place in the tree, its frame in the write-ahead log.
RECORD_OVERHEAD_BYTES: Final = 64
# More records than a damaged database can have forgotten: those of a write-ahead log that was lost.
LOST_NUMBERS: Final = 10_000
LOW_WATER: Final = 15 / 16
AGE_STEPS: Final = 64
PAGE_BYTES: Final = 1024
# Of the bytes of the database, so many are the records' in the worst case: thinning leaves pages half full.
RECORDS_SHARE: Final = 0.75

_MS_PER_S: Final = 1000
# Numbers of this name and a time in the life of the spool: the last sequence that was put until then.
_THROUGH_MS: Final = "put through "

_TABLES: Final = """
CREATE TABLE record (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    channel  TEXT NOT NULL,
    body     BLOB NOT NULL,
    "group"  TEXT NOT NULL,
    parts    INTEGER NOT NULL
);
CREATE TABLE number (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE note (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SpoolRecord:
    """A record as it goes on the wire."""

    channel: Channel
    key: RecordKey
    body: bytes

    def payload(self) -> bytes:
        """Return the message that carries it."""
        return encode_record(self.key, self.body)


@dataclass(frozen=True, slots=True)
class ChannelCounts:
    """What became of the records of one channel since the spool was made.

    Attributes:
        put: made durable.
        merged: put into an older window by thinning; their counts live on there.
        dropped: given up by thinning, or refused because the wire would refuse them.
        stored: released, because the receiver said so.
        expired: given up because they were too old.
    """

    put: int = 0
    merged: int = 0
    dropped: int = 0
    stored: int = 0
    expired: int = 0

    @property
    def waiting(self) -> int:
        """Records still in the spool."""
        return self.put - self.merged - self.dropped - self.stored - self.expired


class Spool:
    """One device's records; safe to use from several threads, but never from the one that scores: it does I/O.

    Attributes:
        recovered_from: where a damaged database was put aside when this spool was opened, for the caller to report.
        recovered: records that were saved from it.
    """

    def __init__(
        self,
        path: Path,
        rng: random.Random,
        max_bytes: int = 64 << 20,
        *,
        max_age_s: float = math.inf,
        monotonic_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Open the spool at ``path``, or make it; a damaged one is put aside, and what it still gives put in a new one.

        Args:
            path: the database; other files of its name stand beside it.
            rng: draws epochs; seed it from the operating system, as two spools of a device must not draw the same.
            max_bytes: bound on what the records occupy.
            max_age_s: bound on the time that the agent runs while a record waits.
            monotonic_s: tells that time.

        Raises:
            SpoolError: another process uses it, the disk refuses it, or a newer agent made it.
        """
        self._path = path
        self._rng = rng
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._monotonic_s = monotonic_s
        self._looked_at_s = monotonic_s()
        self._lock = threading.Lock()
        self.recovered_from: Path | None = None
        self.recovered = 0
        try:
            make_folder(path.parent)
            self._guard = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            msg = f"{path}: the spool cannot be made there: {error.strerror or error}"
            raise SpoolError(msg) from error
        try:
            self._verify_alone()
            self._database = self._open()
        except BaseException:
            os.close(self._guard)
            raise
        self._last_sequence = self._number("last")

    @property
    def epoch(self) -> Epoch:
        """The epoch of this spool."""
        with self._lock:
            return Epoch(self._number("epoch"))

    @property
    def last_sequence(self) -> int:
        """The highest sequence ever given; costs no I/O."""
        return self._last_sequence

    def put(
        self,
        records: Sequence[tuple[Channel, bytes]],
        cursor: int | None = None,
        notes: Mapping[str, bytes] | None = None,
    ) -> None:
        """Make records, the source's cursor and notes durable in one transaction, then return.

        A record that the wire would refuse (too large, not finite) is dropped and counted here: it could never be
        stored, and everything behind it would wait for it.

        Args:
            records: bodies, as `broker.messages.encode_body` gives them, in the order in which they are sent.
            cursor: number of the first source row that is not yet counted; None: unchanged.
            notes: small values by name, kept until they are replaced.

        Raises:
            SpoolError: nothing has changed; keep the records and try again.
        """
        with self._lock, self._transaction():
            for channel, body in records:
                self._add(f"put.{channel.value}", 1)
                group = _group_of(channel, body)
                if group is None:
                    self._add(f"dropped.{channel.value}", 1)
                    continue
                self._database.execute(
                    'INSERT INTO record (channel, body, "group", parts) VALUES (?, ?, ?, 1)',
                    (channel.value, body, group),
                )
                self._add("bytes", len(body) + RECORD_OVERHEAD_BYTES)
            self._set("last", self._fetch("SELECT coalesce(max(seq), 0) FROM sqlite_sequence")[0][0])
            if cursor is not None:
                self._set("cursor", cursor)
            for name, value in (notes or {}).items():
                self._database.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))
            self._expire()
            self._thin()
        self._last_sequence = self._number("last")

    def cursor(self) -> int:
        """Return the number of the first source row that is not yet counted; 0 in a new spool."""
        with self._lock:
            return self._number("cursor")

    def note(self, name: str) -> bytes | None:
        """Return a note that `put` kept."""
        with self._lock:
            rows = self._fetch("SELECT value FROM note WHERE name = ?", (name,))
        return bytes(rows[0][0]) if rows else None

    def peek(self, limit: int, after: int = 0) -> list[SpoolRecord]:
        """Return the oldest records with a sequence over ``after``, at most ``limit``, in order; they stay.

        They may be sent from now on, and that is durable before this returns.

        Raises:
            SpoolError: the disk refuses.
        """
        return self._read(limit, after, is_offered=True)

    def look(self, limit: int, after: int = 0) -> list[SpoolRecord]:
        """Return what `peek` would, without saying that it may be sent: it may still be merged."""
        return self._read(limit, after, is_offered=False)

    def _read(self, limit: int, after: int, *, is_offered: bool) -> list[SpoolRecord]:
        with self._lock:
            found = self._fetch(
                "SELECT sequence, channel, body FROM record WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (after, limit),
            )
            if not found:
                return []
            if is_offered and found[-1][0] > self._number("offered"):
                with self._transaction():
                    self._set("offered", found[-1][0])
            epoch = self._number("epoch")
            below = self._fetch("SELECT max(sequence) FROM record WHERE sequence < ?", (found[0][0],))[0][0]
            previous = self._number("released") if below is None else below
        records = []
        for sequence, channel, body in found:
            records.append(SpoolRecord(Channel(channel), RecordKey(epoch, sequence, previous), bytes(body)))
            previous = sequence
        return records

    def release_through(self, epoch: int, sequence: int) -> int:
        """Give up every record up to ``sequence``, as the receiver has stored them; return how many there were.

        A mark of another epoch, or an older mark, changes nothing. A mark beyond what was ever offered says that this
        database is an old copy, put back: its next sequences name other records at the receiver, so what it holds
        gets a new epoch and is sent under that. (Records that were stored before the copy was put back are then stored
        twice; losing none is the better error.)

        Raises:
            SpoolError: nothing has changed.
        """
        with self._lock:
            if epoch != self._number("epoch") or sequence <= self._number("released"):
                return 0
            with self._transaction():
                if sequence > self._number("offered"):
                    _log.warning("%s: mark %d was never offered; starting a new epoch", self._path, sequence)
                    self._begin_epoch()
                    return 0
                released = self._delete_through(sequence, "stored")
                self._set("released", sequence)
        return released

    def waiting_through(self, sequence: int) -> int:
        """Return how many records up to ``sequence`` are still here."""
        with self._lock:
            return int(self._fetch("SELECT count(*) FROM record WHERE sequence <= ?", (sequence,))[0][0])

    def counts(self) -> dict[Channel, ChannelCounts]:
        """Return what became of all records, by channel."""
        with self._lock:
            return _counts_in(self._database)

    def close(self) -> None:
        """Close the database; everything put is durable already."""
        with self._lock:
            self._database.close()
            if self._guard >= 0:
                os.close(self._guard)
                self._guard = -1

    def _verify_alone(self) -> None:
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            msg = f"{self._path}: another agent uses this spool; each agent needs a state folder of its own"
            raise SpoolError(msg) from error

    def _open(self) -> sqlite3.Connection:
        try:
            return self._open_database()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                msg = f"{self._path}: the spool cannot be opened: {error}"
                raise SpoolError(msg) from error
            aside = self._put_aside(error)
        try:
            self._database = self._open_database()
        except sqlite3.DatabaseError as error:
            msg = f"{self._path}: a new spool cannot be made: {error}"
            raise SpoolError(msg) from error
        self.recovered_from = aside
        try:
            self._recover(aside)
        except (SpoolError, sqlite3.Error) as error:
            _log.error("%s: nothing could be taken over from %s: %s", self._path, aside, error)
        return self._database

    def _recover(self, aside: Path) -> None:
        """Put what a damaged database still gives into this one, which is empty."""
        with DamagedSpool(aside) as damaged, self._transaction():
            numbers = damaged.numbers()
            keeps_epoch = numbers.get("epoch", 0) > 0 and "last" in numbers
            if keeps_epoch:
                for name, value in (numbers | {"bytes": 0}).items():
                    self._set(name, value)
            for name, note in damaged.notes().items():
                self._database.execute("INSERT INTO note VALUES (?, ?)", (name, note))
            n_saved = dict.fromkeys(Channel, 0)
            last, rows_end = self._number("last"), self._number("cursor")
            for record in damaged.records(after=self._number("released")):
                group = _group_of(record.channel, record.body)
                if group is None:
                    continue
                self._database.execute(
                    "INSERT INTO record VALUES (?, ?, ?, ?, ?)",
                    (record.sequence, record.channel.value, record.body, group, record.parts),
                )
                self._add("bytes", len(record.body) + RECORD_OVERHEAD_BYTES)
                n_saved[record.channel] += 1
                if record.channel is Channel.TELEMETRY:
                    # The cursor itself may be lost: these rows are counted already.
                    rows_end = max(rows_end, _parse_window(record.body).last_row + 1)
                last = max(last, record.sequence)
            # A sequence that was given once is not given again, whether its record was saved or not: of the newest the
            # numbers may not know, and the receiver would take what comes under one of theirs for what it has.
            last += LOST_NUMBERS if keeps_epoch else 0
            self._set("last", last)
            self._set("cursor", rows_end)
            self._database.execute("DELETE FROM sqlite_sequence")
            self._database.execute("INSERT INTO sqlite_sequence VALUES ('record', ?)", (last,))
            for channel, counts in _counts_in(self._database).items():
                n_missing = counts.waiting - n_saved[channel]
                # Without the old counts, what was saved is all that is known of.
                self._add(f"{'dropped' if n_missing > 0 else 'put'}.{channel.value}", abs(n_missing))
        self.recovered = sum(n_saved.values())
        _log.warning("%s: %d records were taken over from %s", self._path, self.recovered, aside)

    def _open_database(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            # The order matters: the page cache is set before the first read, the journal before the first write. Small
            # pages halve what is written to the flash: each `put` changes a few bytes of four pages. They hold for new
            # databases only.
            database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            database.execute("PRAGMA cache_size = -256")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA journal_size_limit = 1048576")
            if _read_version(database) == 0:
                self._database = database
                self._create()
        except BaseException:
            database.close()
            raise
        return database

    def _create(self) -> None:
        with self._transaction():
            for statement in _TABLES.split(";\n"):
                self._database.execute(statement)
            self._begin_epoch()
            self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _begin_epoch(self) -> None:
        """Draw an epoch; 0 is never one, so that it can stand for none. What is here counts as never offered."""
        self._set("epoch", self._rng.randrange(1, 2**32))
        self._set("released", 0)
        self._set("offered", 0)

    def _put_aside(self, error: Exception) -> Path:
        """Move a damaged database out of the way, in place of the one before it: one is enough to look into."""
        aside = self._path.with_name(f"{self._path.name}.damaged")
        _log.error("%s: the spool is damaged (%s); it is kept as %s, a new one is made", self._path, error, aside)
        try:
            for suffix in ("-wal", "-shm", ""):
                source = Path(f"{self._path}{suffix}")
                Path(f"{aside}{suffix}").unlink(missing_ok=True)
                if source.exists():
                    source.replace(f"{aside}{suffix}")
        except OSError as refusal:
            msg = f"{self._path}: the spool is damaged and cannot be put aside: {refusal.strerror or refusal}"
            raise SpoolError(msg) from refusal
        return aside

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Do all of it durably, or nothing of it."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                # SQLite itself has rolled back after a full disk; then there is nothing left to undo.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            msg = f"{self._path}: the record is not durable: {error}"
            raise SpoolError(msg) from error

    def _fetch(self, query: str, parameters: tuple[int | str, ...] = ()) -> list[Any]:
        try:
            return self._database.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            msg = f"{self._path}: cannot be read: {error}"
            raise SpoolError(msg) from error

    def _number(self, name: str) -> int:
        rows = self._fetch("SELECT value FROM number WHERE name = ?", (name,))
        return int(rows[0][0]) if rows else 0

    def _set(self, name: str, value: int) -> None:
        self._database.execute("INSERT OR REPLACE INTO number VALUES (?, ?)", (name, value))

    def _add(self, name: str, count: int) -> None:
        self._set(name, self._number(name) + count)

    def _delete_through(self, sequence: int, reason: str) -> int:
        deleted = 0
        for channel, count, size_bytes in self._fetch(
            "SELECT channel, count(*), sum(length(body)) FROM record WHERE sequence <= ? GROUP BY channel", (sequence,)
        ):
            self._add(f"{reason}.{channel}", count)
            self._add("bytes", -size_bytes - count * RECORD_OVERHEAD_BYTES)
            deleted += count
        self._database.execute("DELETE FROM record WHERE sequence <= ?", (sequence,))
        return deleted

    def _expire(self) -> None:
        """Give up what is too old; note, once a step, through which record all had been put by then."""
        if self._max_age_s == math.inf:
            return
        now_s = self._monotonic_s()
        # That of the last `put`: when what is here now was put, at the latest.
        before_ms = self._number("lived_ms")
        lived_ms = before_ms + max(0, round((now_s - self._looked_at_s) * _MS_PER_S))
        self._looked_at_s = now_s
        self._set("lived_ms", lived_ms)
        step = int(lived_ms * AGE_STEPS // (self._max_age_s * _MS_PER_S))
        if step == self._number("age_step"):
            return
        self._set("age_step", step)
        self._set(f"{_THROUGH_MS}{before_ms}", self._last_sequence)
        passed = [
            (name, sequence)
            for name, sequence in self._fetch("SELECT name, value FROM number WHERE name GLOB ?", (f"{_THROUGH_MS}*",))
            if lived_ms - int(name.removeprefix(_THROUGH_MS)) >= self._max_age_s * _MS_PER_S
        ]
        for name, _ in passed:
            self._database.execute("DELETE FROM number WHERE name = ?", (name,))
        n_expired = self._delete_through(max((sequence for _, sequence in passed), default=0), "expired")
        if n_expired:
            _log.warning("%s: %d records were too old and are given up", self._path, n_expired)

    def _thin(self) -> None:
        """Thin down to `LOW_WATER` of the bound, so that it is not every `put` of a full spool that has to."""
        if self._number("bytes") <= self._max_bytes:
            return
        offered = self._number("offered")
        while steps := plan_thinning(self._entries(), offered):
            for step in steps:
                if self._number("bytes") <= self._max_bytes * LOW_WATER:
                    return
                if isinstance(step, Drop):
                    self._drop(step.sequence)
                else:
                    self._merge(step)

    def _entries(self) -> list[Entry]:
        rows = self._fetch('SELECT sequence, channel, "group", parts FROM record ORDER BY sequence')
        return [Entry(sequence, Channel(channel), group, parts) for sequence, channel, group, parts in rows]

    def _drop(self, sequence: int) -> None:
        ((channel, size_bytes),) = self._fetch(
            "SELECT channel, length(body) FROM record WHERE sequence = ?", (sequence,)
        )
        self._database.execute("DELETE FROM record WHERE sequence = ?", (sequence,))
        self._add(f"dropped.{channel}", 1)
        self._add("bytes", -size_bytes - RECORD_OVERHEAD_BYTES)

    def _merge(self, step: Merge) -> None:
        (first, first_parts), (second, second_parts) = self._fetch(
            "SELECT body, parts FROM record WHERE sequence IN (?, ?) ORDER BY sequence", (step.first, step.second)
        )
        body = encode_body(merge_windows([_parse_window(bytes(first)), _parse_window(bytes(second))]))
        self._database.execute(
            "UPDATE record SET body = ?, parts = ? WHERE sequence = ?", (body, first_parts + second_parts, step.first)
        )
        self._database.execute("DELETE FROM record WHERE sequence = ?", (step.second,))
        self._add(f"merged.{Channel.TELEMETRY.value}", 1)
        self._add("bytes", len(body) - len(first) - len(second) - RECORD_OVERHEAD_BYTES)


def load_counts(path: Path) -> dict[Channel, ChannelCounts]:
    """Read the counts of a spool that an agent may be using, without disturbing it.

    Raises:
        SpoolError: there is none, or it cannot be read.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return _counts_in(database)
    except sqlite3.Error as error:
        msg = f"{path}: no spool to read: {error}"
        raise SpoolError(msg) from error


class _DamagedError(sqlite3.DatabaseError):
    """The file is a database, but not a spool that can be used."""


def _read_version(database: sqlite3.Connection) -> int:
    """Return the version of the spool's tables, 0 where there are none yet; raise when the file is damaged."""
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _DamagedError(verdict)
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        # No damage: nothing of it may be put aside.
        msg = f"a newer agent made it (version {version}, this agent knows {SCHEMA_VERSION}): update the agent"
        raise sqlite3.DatabaseError(msg)
    if version not in (0, SCHEMA_VERSION):
        msg = f"version {version} of the spool is unknown, this agent knows {SCHEMA_VERSION}"
        raise _DamagedError(msg)
    if version and not database.execute("SELECT count(*) FROM number WHERE name = 'epoch' AND value > 0").fetchone()[0]:
        raise _DamagedError("it has no epoch")
    return int(version)


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Tell damage, which a new file mends, from a disk or a lock that refuses, which it does not."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, _DamagedError) or (
        code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
    )


def _group_of(channel: Channel, body: bytes) -> str | None:
    """Return the group in which a record may be merged; None when the wire would refuse the record."""
    if not RULES[channel].spooled:
        msg = f"channel {channel.value} is not spooled"
        raise ValueError(msg)
    try:
        _, content = parse(channel, encode_record(_WIDEST_KEY, body))
    except WireError as error:
        _log.error("a record is dropped: the receiver would refuse it: %s", error)
        return None
    return f"{content.bundle} {content.variant}" if isinstance(content, TelemetryWindow) else ""


def _parse_window(body: bytes) -> TelemetryWindow:
    _, window = parse(Channel.TELEMETRY, encode_record(_WIDEST_KEY, body))
    if not isinstance(window, TelemetryWindow):
        msg = f"a {type(window).__name__} stands where a window should"
        raise TypeError(msg)
    return window


def _counts_in(database: sqlite3.Connection) -> dict[Channel, ChannelCounts]:
    numbers = dict(database.execute("SELECT name, value FROM number").fetchall())
    return {
        channel: ChannelCounts(
            *(numbers.get(f"{what}.{channel.value}", 0) for what in ("put", "merged", "dropped", "stored", "expired"))
        )
        for channel in Channel
        if RULES[channel].spooled
    }


# What a record measures on the wire under the longest of names.
_WIDEST_KEY: Final = RecordKey(2**32 - 1, 2**53, 2**53)
