"""API keys: a file that holds their names and hashes, never the keys themselves.

One line a key, ``NAME SHA256``; lines that begin with # say nothing. A key has 256 bits of chance, so that one SHA-256
is enough: there is nothing to be guessed. A key is looked for among all of them, each compared in constant time.
"""

import hmac
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from edge_agent.durable import replace_file
from trainer.serving.errors import ServingError

KEY_BYTES: Final = 32
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_MODE: Final = 0o600


class ApiKeys:
    """The keys of one service; none: nobody is asked for one."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        """Take hashes, ``(64,)`` hexadecimal digits, by name."""
        self._hashes = tuple(hashes.items())

    @property
    def are_asked_for(self) -> bool:
        """Whether a request must carry a key."""
        return bool(self._hashes)

    def name_of(self, key: str) -> str | None:
        """Return whose key it is; None: nobody's."""
        given = sha256(key.encode()).hexdigest()
        found: str | None = None
        # Without leaving early: how long it takes must not tell which one it nearly was.
        for name, known in self._hashes:
            if hmac.compare_digest(given, known):
                found = name
        return found


def load_keys(path: Path) -> ApiKeys:
    """Read a file of keys.

    Raises:
        ServingError: it cannot be read, a line is none of a key, or it has no key at all.
    """
    hashes = _read(path)
    if not hashes:
        raise ServingError(f"{path}: there is no key in it: fieldloop serve --add-key NAME --keys {path} makes one")
    return ApiKeys(hashes)


def add_key(path: Path, name: str, chance: Callable[[int], str]) -> str:
    """Make a key, write its hash to the file, and return it: nobody can read it from the file again.

    Args:
        path: of the file; made if missing.
        name: whose it is.
        chance: returns a text with so many bytes of chance, as `secrets.token_urlsafe`.

    Raises:
        ServingError: the name is taken, or none; or the file cannot be read or written.
    """
    if _NAME.fullmatch(name) is None:
        raise ServingError(f"{name!r} is no name of a key: letters, digits, '.', '_' and '-', 64 at most")
    hashes = _read(path) if path.exists() else {}
    if name in hashes:
        raise ServingError(f"{path}: there is a key {name!r} already; remove its line first to make it invalid")
    key = chance(KEY_BYTES)
    old = path.read_bytes() if path.exists() else b"# NAME SHA256, one line a key; without a line a key is invalid\n"
    line = f"{name} {sha256(key.encode()).hexdigest()}\n".encode()
    try:
        replace_file(path, old + (b"" if old.endswith(b"\n") else b"\n") + line, _MODE)
    except OSError as error:
        raise ServingError(f"{path}: cannot be written: {error.strerror or error}") from error
    return key


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(f"{path}: cannot be read: {error}") from error
    hashes: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, known = line.strip().partition(" ")
        if _NAME.fullmatch(name) is None or _HASH.fullmatch(known.strip()) is None:
            raise ServingError(f"{path}, line {number}: not NAME and SHA-256 of a key")
        if name in hashes:
            raise ServingError(f"{path}, line {number}: the key {name!r} is there twice")
        hashes[name] = known.strip()
    return hashes
