"""Takes over what can still be read of a damaged spool."""

import logging
import sqlite3
from pathlib import Path
from typing import Final

from broker.topics import Channel
from edge_agent.errors import SpoolError
from edge_agent.telemetry.bodies import group_of, parse_window
from edge_agent.telemetry.salvage import DamagedSpool
from edge_agent.telemetry.spool_file import SpoolFile

# More records than a damaged database can have forgotten: those of a write-ahead log that was lost.
LOST_NUMBERS: Final = 10_000

# A number of the new spool: everything was taken over that could be.
TAKEN_OVER: Final = "taken_over"

_log = logging.getLogger(__name__)


def take_over(file: SpoolFile, aside: Path) -> tuple[int, Path]:
    """Put what a damaged database still gives into the new one, once, whenever the power goes meanwhile.

    Returns:
        how many records were saved, and where the damaged database is kept.

    Raises:
        SpoolError: the disk refuses even a name.
    """
    saved = 0
    if not file.number(TAKEN_OVER):
        try:
            saved = recover(file, aside)
        except (SpoolError, sqlite3.Error) as error:
            _log.error("%s: nothing could be taken over from %s: %s", file.path, aside, error)
    return saved, file.settle_aside()


def recover(file: SpoolFile, aside: Path) -> int:
    """Put what a damaged database still gives into a new one; return how many records were saved.

    They keep their epoch where the numbers can be read, so that what is on its way is not stored twice. Those that
    cannot be read count as dropped.

    Raises:
        SpoolError: the disk refuses.
        sqlite3.Error: nothing of it can be read.
    """
    with DamagedSpool(aside) as damaged, file.transaction():
        numbers = damaged.numbers()
        keeps_epoch = numbers.get("epoch", 0) > 0 and "last" in numbers
        if keeps_epoch:
            for name, value in (numbers | {"bytes": 0}).items():
                file.set_number(name, value)
        for name, note in damaged.notes().items():
            file.database.execute("INSERT INTO note VALUES (?, ?)", (name, note))
        n_saved = dict.fromkeys(Channel, 0)
        last, rows_end = file.number("last"), file.number("cursor")
        for record in damaged.records(after=file.number("released")):
            group = group_of(record.channel, record.body)
            if group is None:
                continue
            file.insert(record.channel, record.body, group, record.sequence, record.parts)
            n_saved[record.channel] += 1
            if record.channel is Channel.TELEMETRY:
                # The cursor itself may be lost: these rows are counted already.
                rows_end = max(rows_end, parse_window(record.body).last_row + 1)
            last = max(last, record.sequence)
        # A sequence that was given once is not given again, whether its record was saved or not: of the newest the
        # numbers may not know, and the receiver would take what comes under one of theirs for what it has.
        last += LOST_NUMBERS if keeps_epoch else 0
        file.set_number("last", last)
        file.set_number("cursor", rows_end)
        file.set_number(TAKEN_OVER, 1)
        file.database.execute("DELETE FROM sqlite_sequence")
        file.database.execute("INSERT INTO sqlite_sequence VALUES ('record', ?)", (last,))
        for channel, counts in file.counts().items():
            n_missing = counts.waiting - n_saved[channel]
            # Without the old counts, what was saved is all that is known of.
            file.add(f"{'dropped' if n_missing > 0 else 'put'}.{channel.value}", abs(n_missing))
    recovered = sum(n_saved.values())
    _log.warning("%s: %d records were taken over from %s", file.path, recovered, aside)
    return recovered
