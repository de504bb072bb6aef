"""SHA-256 of what a bundle is made of, without OpenSSL where little is hashed.

`hashlib` loads OpenSSL, which takes three milliseconds: more than Python itself needs for the files of most bundles.
Of large ones OpenSSL hashes a gigabyte a second, so they are its.
"""

import sys
from pathlib import Path
from typing import Final, Protocol

# ruff: noqa: PLC0415 - one of three is loaded

# What Python's own code hashes in as long as OpenSSL takes to load.
SMALL_BYTES: Final = 512 << 10
_CHUNK_BYTES: Final = 1 << 18


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal digits."""
    digest = _new(len(data))
    digest.update(data)
    return digest.hexdigest()


def sha256_of_file(path: Path, size_bytes: int) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits; its size only tells how.

    Raises:
        OSError: it cannot be read.
    """
    digest = _new(size_bytes)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _new(size_bytes: int) -> _Digest:
    # Loaded already, it costs nothing.
    if size_bytes <= SMALL_BYTES and "_hashlib" not in sys.modules:
        try:
            if sys.version_info >= (3, 12):
                from _sha2 import sha256
            else:
                from _sha256 import sha256  # type: ignore[import-not-found]  # gone since 3.12
        except ImportError:
            # Some builds of Python have OpenSSL's alone.
            pass
        else:
            digest: _Digest = sha256()
            return digest
    import hashlib

    return hashlib.sha256()
