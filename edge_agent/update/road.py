"""The road to the update repository: HTTP by urllib3, with an end to silence and to slowness.

It believes nothing of what it brings. A server that keeps a connection alive with a byte now and then is silent for
never long enough: so an answer must also come at a least average rate, after a time of grace.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from tuf.api.exceptions import DownloadHTTPError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface

from edge_agent.clock import Clock

_CHUNK_BYTES: Final = 64 << 10
_FIRST_ERROR: Final = 400
_PARTIAL_CONTENT: Final = 206
_RANGE_NOT_SATISFIABLE: Final = 416
_HEADERS: Final = {"User-Agent": "fieldloop-agent"}
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-\d{1,18}/(?:\d{1,18}|\*)")


class TimedFetcher(FetcherInterface):
    """Fetches files for TUF's client; used by one thread."""

    def __init__(self, clock: Clock, timeout_s: float, min_bytes_per_s: float) -> None:
        """Describe the road.

        Args:
            clock: measures how long an answer takes.
            timeout_s: longest silence, and the time of grace in which an answer need not come at any rate.
            min_bytes_per_s: least average rate of an answer after that.
        """
        self._clock = clock
        self._timeout_s = timeout_s
        self._min_bytes_per_s = min_bytes_per_s
        self._pools: dict[str | None, urllib3.PoolManager] = {}

    def fetch_from(self, url: str, first: int) -> tuple[int, Iterator[bytes]]:
        """Fetch a file from a byte on, where the server can do that (RFC 9110, section 14), else all of it.

        Returns:
            Where the chunks begin: ``first`` or 0, and the chunks.

        Raises:
            DownloadHTTPError: the server says no.
            SlowRetrievalError: it says nothing.
            HTTPError: of urllib3: the connection cannot be made.
        """
        started_s = self._clock.monotonic_s()
        response = self._request(url, {"Range": f"bytes={first}-"} if first else {})
        if first and not _goes_on_at(first, response):
            # Past the end of what it has now, or another part than was asked for.
            response.close()
            response = self._request(url, {})
        if response.status >= _FIRST_ERROR:
            response.close()
            raise DownloadHTTPError(f"{url}: answered with {response.status}", response.status)
        begins_at = first if response.status == _PARTIAL_CONTENT else 0
        return begins_at, self._chunks(url, response, started_s)

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self.fetch_from(url, 0)[1]

    def _request(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool_to(url).request(
                "GET",
                url,
                headers=_HEADERS | headers,
                preload_content=False,
                timeout=urllib3.Timeout(self._timeout_s),
            )
        except urllib3.exceptions.MaxRetryError as error:
            if isinstance(error.reason, urllib3.exceptions.TimeoutError):
                raise SlowRetrievalError(f"{url}: silent for {self._timeout_s:g} s") from error
            raise

    def _chunks(self, url: str, response: urllib3.BaseHTTPResponse, started_s: float) -> Iterator[bytes]:
        received_bytes = 0
        try:
            # read1 gives what one look at the socket gives: a read of a whole chunk would wait for all of it. As it was
            # sent: what a length is listed for is not what a Content-Encoding makes of it.
            while chunk := response.read1(_CHUNK_BYTES, decode_content=False):
                received_bytes += len(chunk)
                self._verify_rate(url, received_bytes, self._clock.monotonic_s() - started_s)
                yield chunk
        except urllib3.exceptions.TimeoutError as error:
            raise SlowRetrievalError(f"{url}: silent for {self._timeout_s:g} s") from error
        finally:
            response.close()

    def _verify_rate(self, url: str, received_bytes: int, elapsed_s: float) -> None:
        if elapsed_s > self._timeout_s + received_bytes / self._min_bytes_per_s:
            raise SlowRetrievalError(
                f"{url}: {received_bytes} bytes in {elapsed_s:.0f} s; {self._min_bytes_per_s:g} a second are due"
            )

    def _pool_to(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxies = {} if parts.hostname is None or proxy_bypass(parts.netloc) else getproxies()
        proxy = proxies.get(parts.scheme) or proxies.get("all")
        if proxy not in self._pools:
            self._pools[proxy] = urllib3.PoolManager() if proxy is None else urllib3.ProxyManager(proxy)
        return self._pools[proxy]


def _goes_on_at(first: int, response: urllib3.BaseHTTPResponse) -> bool:
    """Tell whether the answer to a request for the bytes from `first` on can be used: they, or the whole file."""
    if response.status == _PARTIAL_CONTENT:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        return match is not None and int(match[1]) == first
    return response.status != _RANGE_NOT_SATISFIABLE
