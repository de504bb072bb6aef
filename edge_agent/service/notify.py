"""Tells the service manager how this process does, by sd_notify(3): datagrams to the socket that the manager names.

Where no manager listens nothing is told. It decides nothing; what is told when is for its callers.
"""

import logging
import os
from collections.abc import Mapping
from typing import Final

logger = logging.getLogger(__name__)

SOCKET_VARIABLE: Final = "NOTIFY_SOCKET"
WATCHDOG_VARIABLE: Final = "WATCHDOG_USEC"
WATCHDOG_PID_VARIABLE: Final = "WATCHDOG_PID"

# A manager that does not read must not hold up the agent.
_TIMEOUT_S: Final = 0.5
# systemd keeps no more of a status.
_MAX_STATUS: Final = 512


class Notifier:
    """One way to the service manager; any thread may tell."""

    def __init__(self, address: str | None) -> None:
        """Keep the address: a path, ``@name`` in the abstract namespace, None where there is no manager."""
        self._address = _socket_address(address)
        self._is_failing = False

    @property
    def is_heard(self) -> bool:
        """Whether a manager was named."""
        return self._address is not None

    def ready(self, status: str = "") -> None:
        """Say that the agent scores; also the end of a reload."""
        self._tell("READY=1", *_status(status))

    def alive(self, status: str) -> None:
        """Say that scoring and housekeeping go on: sets the manager's watchdog back."""
        self._tell("WATCHDOG=1", *_status(status))

    def reloading(self, monotonic_s: float) -> None:
        """Say that new settings are looked at; `ready` ends it.

        Args:
            monotonic_s: the time now on CLOCK_MONOTONIC, which newer managers want to know.
        """
        self._tell("RELOADING=1", f"MONOTONIC_USEC={monotonic_s * 1e6:.0f}", "STATUS=reading its settings again")

    def stopping(self) -> None:
        """Say that the agent ends."""
        self._tell("STOPPING=1", "STATUS=stopping: what was scored becomes durable")

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        import socket  # noqa: PLC0415 - only where a manager listens

        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.settimeout(_TIMEOUT_S)
                out.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            level = logging.DEBUG if self._is_failing else logging.WARNING
            logger.log(level, "the service manager does not hear %s: %s", lines[0], error)
            self._is_failing = True
        else:
            self._is_failing = False


def notifier_from(environment: Mapping[str, str]) -> Notifier:
    """Return the way to the manager that the environment names."""
    return Notifier(environment.get(SOCKET_VARIABLE))


def watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Return after how many seconds of silence the manager ends this process; None: it does not watch it."""
    text, owner = environment.get(WATCHDOG_VARIABLE, ""), environment.get(WATCHDOG_PID_VARIABLE)
    if not (text.isascii() and text.isdigit()) or (owner is not None and owner != str(os.getpid())):
        return None
    return int(text) / 1e6 or None


def _socket_address(address: str | None) -> str | None:
    """Return an address as `socket` takes it; None for what is no Unix socket (a virtual machine's vsock, say)."""
    if not address or address[0] not in "/@":
        return None
    return "\0" + address[1:] if address[0] == "@" else address


def _status(text: str) -> tuple[str, ...]:
    one_line = " ".join(text.split())[:_MAX_STATUS]
    return (f"STATUS={one_line}",) if one_line else ()
