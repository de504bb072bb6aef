"""Keeps a second agent out of a state folder, and tells whether one is at work there."""

import contextlib
import fcntl
import os
import threading
from pathlib import Path
from typing import Final

from edge_agent.durable import make_folder
from edge_agent.errors import AgentError

LOCK_NAME: Final = "agent.lock"

_TRIES: Final = 5
_PAUSE_S: Final = 0.05


class StateInUseError(AgentError):
    """Another agent has this state folder: give up, each agent needs one of its own."""

    exit_code = 7


class StateLock:
    """Holds a state folder until closed, or until this process is gone, however it ends."""

    def __init__(self, state: Path) -> None:
        """Take the folder; made if missing.

        Raises:
            StateInUseError: another agent has it.
            OSError: it cannot be written.
        """
        make_folder(state)
        self._descriptor = os.open(state / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._take()
        except BlockingIOError as error:
            owner = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise StateInUseError(
                f"{state}: the agent with process id {owner or 'unknown'} uses this state folder; "
                "stop it, or set 'state' to a folder of this agent's own"
            ) from error
        owner = f"{os.getpid()}\n"
        # For people only: a full disk may refuse it.
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, owner.encode(), 0)
            os.ftruncate(self._descriptor, len(owner))

    def _take(self) -> None:
        # Whoever asks `is_in_use` holds the lock for a moment.
        for _ in range(_TRIES - 1):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            threading.Event().wait(_PAUSE_S)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Give the folder back."""
        os.close(self._descriptor)


def is_in_use(state: Path) -> bool:
    """Tell whether an agent is at work in a state folder; changes nothing."""
    try:
        descriptor = os.open(state / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
