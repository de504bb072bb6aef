"""The road to the update repository: HTTP by urllib3, with an end to silence and to slowness.

It believes nothing of what it brings. A server that keeps a connection alive with a byte now and then is silent for
never long enough: so an answer must also come at a least average rate, after a time of grace.
"""

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
_HEADERS: Final = {"User-Agent": "fieldloop-agent"}


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

    def _fetch(self, url: str) -> Iterator[bytes]:
        started_s = self._clock.monotonic_s()
        try:
            response = self._pool_to(url).request(
                "GET", url, preload_content=False, timeout=urllib3.Timeout(self._timeout_s)
            )
        except urllib3.exceptions.MaxRetryError as error:
            if isinstance(error.reason, urllib3.exceptions.TimeoutError):
                raise SlowRetrievalError(f"{url}: silent for {self._timeout_s:g} s") from error
            raise
        if response.status >= _FIRST_ERROR:
            response.close()
            raise DownloadHTTPError(f"{url}: answered with {response.status}", response.status)
        return self._chunks(url, response, started_s)

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
            self._pools[proxy] = (
                urllib3.PoolManager(headers=_HEADERS)
                if proxy is None
                else urllib3.ProxyManager(proxy, headers=_HEADERS)
            )
        return self._pools[proxy]
