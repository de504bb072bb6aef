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

**Bounds.** Over ``max_bytes`` the spool thins (`edge_agent.telemetry.spool_bound`), in the transaction of the
`put`, and counts what it gave up. To merge only what was never sent, what `peek` gives out is noted as offered before
it is given.

**Age and damage.** What is too old is given up by the next `put`, and counted (`edge_agent.telemetry.ageing`). A
damaged database is put aside; what can be read of it goes into a new one (`edge_agent.telemetry.recovery`).
"""

import contextlib
import logging
import math
import random
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from broker.messages import Epoch, RecordKey, encode_record
from broker.topics import Channel
from edge_agent.errors import SpoolError
from edge_agent.telemetry.ageing import Ageing
from edge_agent.telemetry.bodies import group_of
from edge_agent.telemetry.spool_file import ChannelCounts, SpoolFile, counts_in

# What only damage or a record needs is imported then: a start only reads.
# ruff: noqa: PLC0415

# Of the bytes of the database, so many are the records' in the worst case: thinning leaves pages half full.
RECORDS_SHARE: Final = 0.75

_log = logging.getLogger(__name__)


class SpoolRecord(Struct, frozen=True):
    """A record as it goes on the wire."""

    channel: Channel
    key: RecordKey
    body: bytes

    def payload(self) -> bytes:
        """Return the message that carries it."""
        return encode_record(self.key, self.body)


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
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._file = SpoolFile(path, rng)
        self._ageing = Ageing(self._file, max_age_s, monotonic_s)
        self.recovered_from: Path | None = None
        self.recovered = 0
        if self._file.aside is not None:
            from edge_agent.telemetry.recovery import take_over

            try:
                self.recovered, self.recovered_from = take_over(self._file, self._file.aside)
            except BaseException:
                self._file.close()
                raise
        self._last_sequence = self._file.number("last")

    @property
    def epoch(self) -> Epoch:
        """The epoch of this spool."""
        with self._lock:
            return Epoch(self._file.number("epoch"))

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
        with self._lock, self._file.transaction():
            for channel, body in records:
                self._file.add(f"put.{channel.value}", 1)
                group = group_of(channel, body)
                if group is None:
                    self._file.add(f"dropped.{channel.value}", 1)
                    continue
                self._file.insert(channel, body, group)
            self._file.set_number("last", self._file.fetch("SELECT coalesce(max(seq), 0) FROM sqlite_sequence")[0][0])
            if cursor is not None:
                self._file.set_number("cursor", cursor)
            for name, value in (notes or {}).items():
                self._file.database.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))
            self._ageing.expire(self._last_sequence)
            from edge_agent.telemetry.spool_bound import thin

            thin(self._file, self._max_bytes)
        self._last_sequence = self._file.number("last")

    def cursor(self) -> int:
        """Return the number of the first source row that is not yet counted; 0 in a new spool."""
        with self._lock:
            return self._file.number("cursor")

    def note(self, name: str) -> bytes | None:
        """Return a note that `put` kept."""
        with self._lock:
            rows = self._file.fetch("SELECT value FROM note WHERE name = ?", (name,))
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
            found = self._file.fetch(
                "SELECT sequence, channel, body FROM record WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (after, limit),
            )
            if not found:
                return []
            if is_offered and found[-1][0] > self._file.number("offered"):
                with self._file.transaction():
                    self._file.set_number("offered", found[-1][0])
            epoch = self._file.number("epoch")
            below = self._file.fetch("SELECT max(sequence) FROM record WHERE sequence < ?", (found[0][0],))[0][0]
            previous = self._file.number("released") if below is None else below
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
            if epoch != self._file.number("epoch") or sequence <= self._file.number("released"):
                return 0
            with self._file.transaction():
                if sequence > self._file.number("offered"):
                    _log.warning("%s: mark %d was never offered; starting a new epoch", self._file.path, sequence)
                    self._file.begin_epoch()
                    return 0
                released = self._file.delete_through(sequence, "stored")
                self._file.set_number("released", sequence)
        return released

    def waiting_through(self, sequence: int) -> int:
        """Return how many records up to ``sequence`` are still here."""
        with self._lock:
            return int(self._file.fetch("SELECT count(*) FROM record WHERE sequence <= ?", (sequence,))[0][0])

    def counts(self) -> dict[Channel, ChannelCounts]:
        """Return what became of all records, by channel."""
        with self._lock:
            return self._file.counts()

    def close(self) -> None:
        """Close the database; everything put is durable already."""
        with self._lock:
            self._file.close()


def load_counts(path: Path) -> dict[Channel, ChannelCounts]:
    """Read the counts of a spool that an agent may be using, without disturbing it.

    Raises:
        SpoolError: there is none, or it cannot be read.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return counts_in(database)
    except sqlite3.Error as error:
        msg = f"{path}: no spool to read: {error}"
        raise SpoolError(msg) from error
