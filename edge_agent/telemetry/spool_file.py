"""The database of a spool: its tables, its numbers, how it is opened and how a damaged one is put aside."""

import contextlib
import fcntl
import logging
import os
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from broker.topics import RULES, Channel
from edge_agent.durable import make_folder, sync_folder
from edge_agent.errors import SpoolError

SCHEMA_VERSION: Final = 1
# What a record costs beside its body: its row, its place in the tree, its frame in the write-ahead log.
RECORD_OVERHEAD_BYTES: Final = 64
# Ends the name of a damaged database until its records are taken over.
RECOVERING: Final = ".recovering"
PAGE_BYTES: Final = 1024

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

_BESIDE: Final = ("-wal", "-shm")

_log = logging.getLogger(__name__)


class ChannelCounts(Struct, frozen=True):
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


class SpoolFile:
    """The open database, used by one process alone; whoever has it takes care that one thread at a time does.

    Attributes:
        path: where it is.
        aside: where a damaged database stands whose records are not taken over yet; it has its last name after
            `settle_aside`.
    """

    def __init__(self, path: Path, rng: random.Random) -> None:
        """Open the database at ``path``, or make it; a damaged one is put aside, and a new one made.

        Args:
            path: the database; other files of its name stand beside it.
            rng: draws epochs.

        Raises:
            SpoolError: another process uses it, the disk refuses it, or a newer agent made it.
        """
        self.path = path
        self.aside: Path | None = None
        self._rng = rng
        try:
            make_folder(path.parent)
            self._guard = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            msg = f"{path}: the spool cannot be made there: {error.strerror or error}"
            raise SpoolError(msg) from error
        try:
            self._verify_alone()
            self.database = self._open()
        except BaseException:
            os.close(self._guard)
            raise

    def close(self) -> None:
        """Close the database and let others have it."""
        self.database.close()
        if self._guard >= 0:
            os.close(self._guard)
            self._guard = -1

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all of it durably, or nothing of it."""
        try:
            self.database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.database.execute("COMMIT")
            except BaseException:
                # SQLite itself has rolled back after a full disk; then there is nothing left to undo.
                if self.database.in_transaction:
                    self.database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            msg = f"{self.path}: the record is not durable: {error}"
            raise SpoolError(msg) from error

    def fetch(self, query: str, parameters: tuple[int | str, ...] = ()) -> list[Any]:
        """Return the rows of a query.

        Raises:
            SpoolError: it cannot be read.
        """
        try:
            return self.database.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            msg = f"{self.path}: cannot be read: {error}"
            raise SpoolError(msg) from error

    def number(self, name: str) -> int:
        """Return a number of the spool by its name; 0 where there is none."""
        rows = self.fetch("SELECT value FROM number WHERE name = ?", (name,))
        return int(rows[0][0]) if rows else 0

    def set_number(self, name: str, value: int) -> None:
        """Keep a number of the spool."""
        self.database.execute("INSERT OR REPLACE INTO number VALUES (?, ?)", (name, value))

    def add(self, name: str, count: int) -> None:
        """Count a number of the spool up."""
        self.set_number(name, self.number(name) + count)

    def insert(self, channel: Channel, body: bytes, group: str, sequence: int | None = None, parts: int = 1) -> None:
        """Add a record, under the next sequence where none is given."""
        self.database.execute(
            "INSERT INTO record VALUES (?, ?, ?, ?, ?)", (sequence, channel.value, body, group, parts)
        )
        self.add("bytes", len(body) + RECORD_OVERHEAD_BYTES)

    def delete_through(self, sequence: int, reason: str) -> int:
        """Delete every record up to ``sequence`` and count it under a reason; return how many there were."""
        deleted = 0
        for channel, count, size_bytes in self.fetch(
            "SELECT channel, count(*), sum(length(body)) FROM record WHERE sequence <= ? GROUP BY channel", (sequence,)
        ):
            self.add(f"{reason}.{channel}", count)
            self.add("bytes", -size_bytes - count * RECORD_OVERHEAD_BYTES)
            deleted += count
        self.database.execute("DELETE FROM record WHERE sequence <= ?", (sequence,))
        return deleted

    def begin_epoch(self) -> None:
        """Draw an epoch; 0 is never one, so that it can stand for none. What is here counts as never offered."""
        self.set_number("epoch", self._rng.randrange(1, 2**32))
        self.set_number("released", 0)
        self.set_number("offered", 0)

    def settle_aside(self) -> Path:
        """Say that nothing more is taken over from `aside`; return where it is kept, in place of the one before it.

        Raises:
            SpoolError: the disk refuses.
        """
        pending = self.path.with_name(f"{self.path.name}{RECOVERING}")
        kept = self.path.with_name(f"{self.path.name}.damaged")
        try:
            for suffix in _BESIDE:
                Path(f"{kept}{suffix}").unlink(missing_ok=True)
                if Path(f"{pending}{suffix}").exists():
                    Path(f"{pending}{suffix}").replace(f"{kept}{suffix}")
            # Last of all: while it has its first name, the next start looks after it.
            pending.replace(kept)
            sync_folder(self.path.parent)
        except OSError as error:
            msg = f"{pending}: it cannot be renamed to {kept.name}: {error.strerror or error}"
            raise SpoolError(msg) from error
        self.aside = None
        return kept

    def counts(self) -> dict[Channel, ChannelCounts]:
        """Return what became of all records, by channel."""
        return counts_in(self.database)

    def _verify_alone(self) -> None:
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            msg = f"{self.path}: another agent uses this spool; each agent needs a state folder of its own"
            raise SpoolError(msg) from error

    def _open(self) -> sqlite3.Connection:
        pending = self.path.with_name(f"{self.path.name}{RECOVERING}")
        try:
            if pending.exists():
                # An earlier start was cut while it put this aside, or while it took it over.
                self._move_aside(pending)
                self.aside = pending
            return self._open_database()
        except OSError as refusal:
            msg = f"{self.path}: the spool is damaged and cannot be put aside: {refusal.strerror or refusal}"
            raise SpoolError(msg) from refusal
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                msg = f"{self.path}: the spool cannot be opened: {error}"
                raise SpoolError(msg) from error
            self.aside = self._put_aside(pending, error)
        try:
            return self._open_database()
        except sqlite3.DatabaseError as error:
            msg = f"{self.path}: a new spool cannot be made: {error}"
            raise SpoolError(msg) from error

    def _open_database(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
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
                self.database = database
                self._create()
        except BaseException:
            database.close()
            raise
        return database

    def _create(self) -> None:
        with self.transaction():
            for statement in _TABLES.split(";\n"):
                self.database.execute(statement)
            self.begin_epoch()
            self.database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _put_aside(self, pending: Path, error: Exception) -> Path:
        """Move a damaged database out of the way; while one waits there already, nothing was accepted into this one."""
        try:
            if pending.exists():
                for suffix in ("", *_BESIDE):
                    Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            else:
                _log.error("%s: the spool is damaged (%s); it is kept, and a new one is made", self.path, error)
                self.path.replace(pending)
                self._move_aside(pending)
        except OSError as refusal:
            msg = f"{self.path}: the spool is damaged and cannot be put aside: {refusal.strerror or refusal}"
            raise SpoolError(msg) from refusal
        return pending

    def _move_aside(self, pending: Path) -> None:
        """Bring what stands beside a database to where that was moved, before a new one is made: it would read it."""
        if not self.path.exists():
            for suffix in _BESIDE:
                if Path(f"{self.path}{suffix}").exists():
                    Path(f"{self.path}{suffix}").replace(f"{pending}{suffix}")
            sync_folder(self.path.parent)


def counts_in(database: sqlite3.Connection) -> dict[Channel, ChannelCounts]:
    """Return what became of all records of a spool, by channel."""
    numbers = dict(database.execute("SELECT name, value FROM number").fetchall())
    return {
        channel: ChannelCounts(
            *(numbers.get(f"{what}.{channel.value}", 0) for what in ("put", "merged", "dropped", "stored", "expired"))
        )
        for channel in Channel
        if RULES[channel].spooled
    }


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
