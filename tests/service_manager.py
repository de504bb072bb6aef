"""A service manager as far as sd_notify(3) goes: it binds the socket, and keeps what it is told."""

import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self


class ListeningManager:
    """Keeps every message as a mapping of its variables, in order."""

    def __init__(self, address: str) -> None:
        """Bind a path, or ``@name`` in the abstract namespace."""
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self._messages: list[dict[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    @property
    def messages(self) -> list[dict[str, str]]:
        """All that was told so far."""
        while True:
            try:
                text = self._socket.recv(1 << 16).decode()
            except BlockingIOError:
                return self._messages
            self._messages.append(dict(line.split("=", 1) for line in text.splitlines()))

    def times(self, variable: str) -> int:
        """How often a variable was told."""
        return sum(variable in message for message in self.messages)

    @property
    def status(self) -> str:
        """The last status."""
        return next((m["STATUS"] for m in reversed(self.messages) if "STATUS" in m), "")


def abstract_name() -> str:
    """Return an address in the abstract namespace that nobody else has."""
    return f"@fieldloop-test-{os.getpid()}-{os.urandom(4).hex()}"


def path_in(folder: Path) -> str:
    """Return an address in a folder; the folder's path must be short (a socket's has 107 bytes)."""
    return str(folder / "notify")
