"""Remembers which messages of a broker have their answer, so that one that comes again is not answered twice.

A broker sends a message again, marked as such and under the same packet identifier, if its acknowledgement did not
arrive (MQTT 3.1.1, 4.4). What was answered under an identifier is known by the checksum of its payload; it is kept on
the disk, so that a service which was killed knows it too. Of what was killed between its answer and this note the
answer goes out again, with the same prediction id: QoS 1 allows no less.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from edge_agent.sensing.mqtt_link import Arrival
from trainer.serving.errors import ServingError

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS messages (
    packet INTEGER NOT NULL PRIMARY KEY, checksum INTEGER NOT NULL, id TEXT NOT NULL, is_answered INTEGER NOT NULL)
"""
_TAKE: Final = "INSERT OR REPLACE INTO messages (packet, checksum, id, is_answered) VALUES (?, ?, ?, 0)"
_ANSWERED: Final = "UPDATE messages SET is_answered = 1 WHERE packet = ? AND id = ?"


class Taken(Struct, frozen=True):
    """A message that has a prediction id.

    Attributes:
        is_answered: whether the broker has its answer.
    """

    arrival: Arrival
    id: str
    is_answered: bool = False


class _Known(Struct, frozen=True):
    checksum: int
    id: str
    is_answered: bool


class Ledger:
    """One topic's messages; used by one thread after it was opened."""

    def __init__(self, file: Path) -> None:
        """Open it; made if missing.

        Raises:
            ServingError: it cannot be written.
        """
        self._file = file
        with self._translated():
            file.parent.mkdir(parents=True, exist_ok=True)
            # `close` may be another thread's.
            self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            # A kill loses nothing; what a power cut does is answered again.
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(_TABLE)
            rows = self._database.execute("SELECT packet, checksum, id, is_answered FROM messages").fetchall()
        self._known = {packet: _Known(checksum, id_, bool(done)) for packet, checksum, id_, done in rows}

    def take(self, arrivals: Sequence[Arrival], new_ids: Iterator[str]) -> list[Taken]:
        """Give each message its prediction id: one that came before has the one that it had then.

        Raises:
            ServingError: the disk refuses.
        """
        taken: list[Taken] = []
        new: list[tuple[int, int, str]] = []
        for arrival in arrivals:
            checksum = zlib.crc32(arrival.payload)
            known = self._known.get(arrival.packet) if arrival.is_repeated and arrival.qos else None
            if known is not None and known.checksum == checksum:
                taken.append(Taken(arrival, known.id, known.is_answered))
                continue
            taken.append(Taken(arrival, next(new_ids)))
            if arrival.qos:
                new.append((arrival.packet, checksum, taken[-1].id))
        if new:
            with self._transaction():
                self._database.executemany(_TAKE, new)
            self._known |= {packet: _Known(checksum, id_, is_answered=False) for packet, checksum, id_ in new}
        return taken

    def answered(self, taken: Iterable[Taken]) -> None:
        """Note that the broker has the answers of these; raises as `take` does."""
        done = [(each.arrival.packet, each.id) for each in taken if each.arrival.qos]
        with self._transaction():
            self._database.executemany(_ANSWERED, done)
        for packet, id_ in done:
            known = self._known.get(packet)
            if known is not None and known.id == id_:
                self._known[packet] = _Known(known.checksum, id_, is_answered=True)

    def close(self) -> None:
        """Close it."""
        self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise ServingError(f"{self._file}: what was answered cannot be noted: {error}") from error
