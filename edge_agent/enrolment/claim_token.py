"""Reads a claim token from its file: ``<fleet>.<hex seconds when it was made>.<secret>``."""

import hashlib
import re
from pathlib import Path
from typing import Final

from msgspec import Struct

from edge_agent.errors import SettingsError

_MAX_BYTES: Final = 256
_TOKEN: Final = re.compile(r"(?P<fleet>[a-z0-9_-]{1,63})\.(?P<issued>[0-9a-f]{1,12})\.[A-Za-z0-9_-]{43}")


class ClaimToken(Struct, frozen=True):
    """A claim token; `text` is the secret.

    Attributes:
        path: where it lies.
        fleet: that it is for.
        issued_utc_s: when it was made, which has certainly passed.
        label: how people speak of it; says nothing of the secret.
    """

    path: Path
    text: str
    fleet: str
    issued_utc_s: float
    label: str

    def __repr__(self) -> str:
        """Say which one it is, without the secret."""
        return f"ClaimToken({self.fleet}, {self.label})"


def read_token(path: Path) -> ClaimToken:
    """Read a token.

    Raises:
        SettingsError: the file cannot be read, or holds none; the message does not repeat it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"claim token {path}: {error.strerror or error}") from error
    text = data.decode("ascii", "replace").strip()
    found = _TOKEN.fullmatch(text) if len(data) <= _MAX_BYTES else None
    if found is None:
        raise SettingsError(f"claim token {path}: not a token as `fieldloop device token` makes it")
    label = hashlib.sha256(text.encode()).hexdigest()[:12]
    return ClaimToken(path, text, found["fleet"], float(int(found["issued"], 16)), label)
