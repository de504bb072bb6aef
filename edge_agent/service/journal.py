"""How the agent's log looks: for journald with priorities and without times, for people with times and names."""

import logging
import os
from collections.abc import Mapping
from typing import Final, TextIO

# journald reads the number in front as the priority (sd-daemon(3)); people at a terminal read names.
_PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_STEPS: Final = sorted(_PRIORITIES, reverse=True)
STREAM_VARIABLE: Final = "JOURNAL_STREAM"


def is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Tell whether a stream goes to journald: the variable names its device and inode (systemd.exec(5)).

    The variable alone says nothing: it is inherited by programs whose output goes elsewhere.
    """
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get(STREAM_VARIABLE) == f"{found.st_dev}:{found.st_ino}"


def log_handler(stream: TextIO, environment: Mapping[str, str]) -> logging.Handler:
    """Return what writes the log to a stream, in the form of its reader."""
    handler = logging.StreamHandler(stream)
    if is_journal(stream, environment):
        handler.setFormatter(JournalFormatter("%(name)s: %(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


class JournalFormatter(logging.Formatter):
    """Puts the priority in front, as journald takes it from stderr; journald knows the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record, every line of it with its priority."""
        priority = next((_PRIORITIES[step] for step in _STEPS if record.levelno >= step), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())
