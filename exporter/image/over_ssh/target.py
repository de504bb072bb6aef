"""Parses where a board is: ``ssh://pi@host:22``, as OpenSSH writes it, or a name of the user's ``~/.ssh/config``."""

import re
from dataclasses import dataclass
from typing import Final

from exporter.image.over_ssh.errors import BoardError

_SCHEME: Final = "ssh://"
# No name may look like an option of ssh.
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.%:-]{0,253})")
_MAX_PORT: Final = 65535
# Of an address of version 6, which stands in brackets where a port may follow.
_BRACKETS: Final = re.compile(r"\[(?P<host>[0-9A-Fa-f:.%a-z]+)\](?::(?P<port>\d+))?")


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Where a board is.

    Attributes:
        user, port: None: what the user's configuration of ssh says.
    """

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        return self.host if self.user is None else f"{self.user}@{self.host}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """What ssh is told of it."""
        port = () if self.port is None else ("-p", str(self.port))
        user = () if self.user is None else ("-l", self.user)
        return (*port, *user, "--", self.host)


def parse_target(text: str) -> SshTarget:
    """Parse it.

    Raises:
        BoardError: it is none; a password in it is not repeated.
    """
    rest = text.removeprefix(_SCHEME).removesuffix("/")
    before, at, place = rest.rpartition("@")
    if ":" in before:
        raise BoardError("a password has no place in an address: ssh asks for it, or better takes a key")
    host, port = _split(place)
    if at and _USER.fullmatch(before) is None:
        raise BoardError(f"{before!r} is no user; write ssh://pi@host")
    if _HOST.fullmatch(host) is None or (port and not 0 < int(port) <= _MAX_PORT):
        raise BoardError(f"{text!r} is no address of a board; write ssh://pi@host, or ssh://pi@host:2222")
    return SshTarget(host, before or None, int(port) if port else None)


def _split(place: str) -> tuple[str, str]:
    bracketed = _BRACKETS.fullmatch(place)
    if bracketed is not None:
        return bracketed["host"], bracketed["port"] or ""
    host, colon, port = place.partition(":")
    if colon and not (port.isascii() and port.isdecimal()):
        return "", ""
    return host, port
