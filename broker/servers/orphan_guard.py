"""Starts a program that the kernel ends when its parent dies: ``orphan_guard.py PARENT -- COMMAND ARGS...``.

The guard asks for the signal and then becomes the command (exec), so the command keeps its process id. This is done in
a program of its own because code between fork and exec (``preexec_fn``) is not safe in a parent with threads. Linux
ties the signal to the *thread* that started the program: start it from one that lives as long as it is needed.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def guarded(command: Sequence[str]) -> list[str]:
    """Return ``command`` wrapped so that it ends when the calling process does."""
    # -I -S: no site packages, so that the guard costs milliseconds and depends on nothing.
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), str(os.getpid()), "--", *command]  # noqa: PTH100


def main(arguments: Sequence[str]) -> None:
    """Ask for the signal, then become the command.

    Raises:
        SystemExit: the call was wrong, the parent is dead already, or the command cannot be run.
    """
    match list(arguments):
        case [parent, "--", *command] if command and parent.isdecimal():
            pass
        case _:
            raise SystemExit("usage: orphan_guard.py PARENT_PID -- COMMAND [ARGS...]")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise SystemExit(f"prctl: {os.strerror(ctypes.get_errno())}")
    # The order is the safety: a parent that died before the call above left nobody to send the signal.
    if os.getppid() != int(parent):
        raise SystemExit("the parent is gone")
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the command is the purpose
    except OSError as error:
        raise SystemExit(f"{command[0]}: {error.strerror}") from error


if __name__ == "__main__":
    main(sys.argv[1:])
