"""Reads and writes the files of a store by their path below its address."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import fsspec

from edge_agent.durable import make_folder, replace_file, sync_folder
from trainer.errors import DataError
from trainer.features.storage.reaching import why_unreachable
from trainer.project.stores import hidden

_LOCAL: Final = ("file", "local")


class StoreFiles:
    """The files below one address; paths are relative, with ``/``, and a file appears whole or not at all.

    On this machine's disk writing is durable and creating exclusive. An object store shows an object only once it is
    whole; two that create the same at the same moment are told apart there only by who looks later.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        scheme, found, place = address.partition("://")
        try:
            self._fs: Any = fsspec.filesystem(scheme if found else "file")
        except (ImportError, ValueError) as error:
            raise DataError(f"{hidden(address)}: {why_unreachable(address, error)}") from error
        self._local = not found or scheme in _LOCAL
        self._root = str(Path(place if found else address).absolute()) if self._local else address.rstrip("/")
        self._scheme = scheme

    def __str__(self) -> str:
        """Return the address, for messages."""
        return hidden(self._address)

    @property
    def filesystem(self) -> Any:  # noqa: ANN401 - fsspec has no types
        """What reads it, for DuckDB; None: the disk of this machine, which it reads itself."""
        return None if self._local else self._fs

    def where(self, path: str) -> str:
        """Return the whole address of a file."""
        return f"{self._root}/{path}"

    def list(self, pattern: str) -> tuple[str, ...]:
        """Return the paths that suit a pattern, sorted."""
        if self._local:
            return tuple(sorted(path.relative_to(self._root).as_posix() for path in Path(self._root).glob(pattern)))
        self._fs.invalidate_cache()
        prefix = self._fs._strip_protocol(self._root).rstrip("/")  # noqa: SLF001 - fsspec's name for what implementers use
        with self._told(self._address):
            found = self._fs.glob(f"{prefix}/{pattern}")
        return tuple(sorted(str(path)[len(prefix) + 1 :] for path in found))

    def read(self, path: str) -> bytes:
        """Return the content of a file; raise DataError if there is none."""
        with self._told(self.where(path)):
            return bytes(self._fs.cat_file(self.where(path)))

    def write(self, path: str, data: bytes) -> None:
        """Write or replace a file; raise DataError if it cannot be."""
        if not self._local:
            with self._told(self.where(path)):
                self._fs.pipe_file(self.where(path), data)
            return
        whole = Path(self.where(path))
        try:
            make_folder(whole.parent)
            replace_file(whole, data)
        except OSError as error:
            raise DataError(f"{whole}: cannot be written: {error}") from error

    def create(self, path: str, data: bytes) -> bool:
        """Write a file that is not there yet; return whether it was not."""
        if not self._local:
            with self._told(self.where(path)):
                if self._fs.exists(self.where(path)):
                    return False
            self.write(path, data)
            return True
        whole = Path(self.where(path))
        part = whole.with_name(f".{whole.name}.{os.urandom(8).hex()}")
        try:
            make_folder(whole.parent)
            replace_file(part, data)
            try:
                # Fails where there is one; whole at once, other than an exclusive open that is then written.
                os.link(part, whole)
            except FileExistsError:
                return False
            finally:
                part.unlink()
            sync_folder(whole.parent)
        except OSError as error:
            raise DataError(f"{whole}: cannot be written: {error}") from error
        return True

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files; one that is gone already is fine."""
        for path in paths:
            with self._told(self.where(path)), contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(self.where(path))

    @contextlib.contextmanager
    def _told(self, where: str) -> Iterator[None]:
        """Turn what the way to an address raises into an error for people: each way has classes of its own."""
        try:
            yield
        except Exception as error:
            raise DataError(f"{hidden(where)}: {why_unreachable(where, error)}") from error
