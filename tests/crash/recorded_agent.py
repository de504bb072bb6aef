"""``python -m tests.crash.recorded_agent``: ``fieldloop-agent`` under the shim, which also notes what `put` promised.

Each record that `Spool.put` returned from is in the log as a note, behind the calls that made it durable: epoch,
sequence and hash of its body, one record a line.
"""

import hashlib
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

from broker.topics import Channel
from edge_agent.cli import main
from edge_agent.telemetry import spool
from tests.crash.shim import note


class NotingSpool(spool.Spool):
    """A spool whose promises are written down."""

    def put(
        self,
        records: Sequence[tuple[Channel, bytes]],
        cursor: int | None = None,
        notes: Mapping[str, bytes] | None = None,
    ) -> None:
        """Put, then note what is durable now."""
        before = self.last_sequence
        super().put(records, cursor, notes)
        if self.last_sequence > before:
            note("\n".join(self._promises(before)).encode())

    def _promises(self, after: int) -> list[str]:
        with self._lock:
            rows: list[tuple[int, bytes]] = self._file.database.execute(
                "SELECT sequence, body FROM record WHERE sequence > ? ORDER BY sequence", (after,)
            ).fetchall()
            epoch = self._file.number("epoch")
        return [f"{epoch} {sequence} {body_hash(bytes(body))}" for sequence, body in rows]


def body_hash(body: bytes) -> str:
    """Return what a record's body is known by."""
    return hashlib.sha256(body).hexdigest()


def read_spool(path: Path) -> list[tuple[int, str]]:
    """Return sequence and hash of what lies in a spool."""
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        return [(int(n), body_hash(bytes(body))) for n, body in database.execute("SELECT sequence, body FROM record")]
    finally:
        database.close()


if __name__ == "__main__":
    with patch("edge_agent.wiring.Spool", NotingSpool):
        sys.exit(main())
