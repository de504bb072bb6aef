"""Brings TUF's client the files of an update file, in place of a server's. It believes nothing of what it brings."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface

from edge_agent.update_file import UpdateFile

# What stands before the names of files, where a server's address would.
BASE: Final = "carried:"
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class Carried:
    """An update file, and for so long after their expiry the lists in it are believed."""

    file: UpdateFile
    grace_s: float


class CarriedFetcher(FetcherInterface):
    """Fetches files out of an update file; used by one thread."""

    def __init__(self, update: UpdateFile) -> None:
        self._update = update

    def fetch_from(self, url: str, _first: int) -> tuple[int, Iterator[bytes]]:
        """Return the file from its beginning on: there is nothing to save."""
        return 0, self._fetch(url)

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(f"{BASE}/")
        chunks = self._update.chunks(name)
        if chunks is None:
            raise DownloadHTTPError(f"{name} does not lie in the update file", _NOT_FOUND)
        return chunks
