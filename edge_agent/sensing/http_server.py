"""A small HTTP/1.1 server with bounds on everything a peer can make it hold: connections, bytes, time.

One thread waits for connections, and one serves each, `HttpBounds.max_connections` at most; one more is answered 503
and closed. A request has `timeout_s` from its first byte to its last, however slowly the bytes drip; a connection
without a request is closed after `idle_s`. There is no TLS and nobody is asked who he is: it listens on loopback unless
told otherwise. Requests of web pages (they carry ``Origin``) are refused, so no page in a browser can have rows scored.
"""

import contextlib
import logging
import selectors
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct

from edge_agent.clock import Clock
from edge_agent.errors import SourceError
from edge_agent.sensing.http_message import MAX_HEAD_BYTES, Head, HttpError, Response, encode_response, parse_head
from edge_agent.surprises import Surprises

logger = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 64 << 10
_BACKLOG: Final = 16
_END: Final = b"\r\n\r\n"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_JOIN_S: Final = 0.2
# For the answer to a peer that is not served; it may not read.
_GOODBYE_S: Final = 0.2
# What a peer still sends when it is refused is read, so that the answer is not lost with a reset.
_DRAINED_BYTES: Final = 256 << 10

Handle = Callable[[Head, bytes], Response]


class HttpBounds(Struct, frozen=True):
    """What one server holds at most."""

    max_connections: int = 16
    max_body_bytes: int = 1 << 20
    timeout_s: float = 10.0
    idle_s: float = 30.0


class HttpServer:
    """Listens from its construction on, and serves after `start`.

    Attributes:
        refused_connections: connections that were one too many.
        refused_requests: requests that were refused for what they are; those that only came too soon are not of them.
    """

    def __init__(self, host: str, port: int, handle: Handle, bounds: HttpBounds, clock: Clock) -> None:
        """Listen.

        Args:
            host: address, or name of one.
            port: 0 picks a free one.
            handle: answers a request, in the thread of its connection; it may raise HttpError.
            bounds: of connections, bytes and time.
            clock: monotonic for the time of a request.

        Raises:
            SourceError: nobody can listen there.
        """
        self.refused_connections = 0
        self.refused_requests = 0
        self._handle = handle
        self._bounds = bounds
        self._clock = clock
        self._surprises = Surprises(logger)
        self._closing = threading.Event()
        # After closing: whether nobody is served any more.
        self._is_empty = threading.Event()
        self._served: set[socket.socket] = set()
        self._changing = threading.Lock()
        try:
            self._listener = socket.create_server((host, port), backlog=_BACKLOG)
        except (OSError, OverflowError) as error:
            raise SourceError(f"{host}:{port}: cannot listen there: {error}; choose another source.port") from error
        self._listener.settimeout(0.0)
        self._woken, self._waking = socket.socketpair()
        self._thread = threading.Thread(target=self._accept_all, name="http", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    def close(self) -> None:
        """Listen no more, let answers that are on their way be sent for a moment, and cut every connection."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._waking.send(b"x")
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        for each in (self._listener, self._woken, self._waking):
            each.close()
        # No request comes any more; an answer may still be written.
        self._shut(socket.SHUT_RD)
        self._is_empty.wait(_GOODBYE_S)
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        with self._changing:
            for connection in self._served:
                with contextlib.suppress(OSError):
                    connection.shutdown(how)
            if not self._served:
                self._is_empty.set()

    def _accept_all(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._closing.is_set():
                selector.select()
                try:
                    connection, _ = self._listener.accept()
                except OSError as error:
                    # Gone again, or no descriptor is left: the peers wait in the backlog meanwhile.
                    if not isinstance(error, BlockingIOError):
                        self._closing.wait(_GOODBYE_S)
                    continue
                self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        with self._changing:
            is_one_too_many = len(self._served) >= self._bounds.max_connections
            if not is_one_too_many:
                self._served.add(connection)
        try:
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not is_one_too_many:
                threading.Thread(target=self._serve, args=(connection,), name="http-peer", daemon=True).start()
                return
        except (OSError, RuntimeError) as error:
            logger.debug("a connection cannot be served: %s", error)
        self.refused_connections += 1
        if self.refused_connections.bit_count() == 1:
            logger.warning("%d connections were refused so far: too many at once", self.refused_connections)
        busy = _error_response(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
        with contextlib.suppress(OSError):
            connection.settimeout(0.0)
            connection.send(encode_response(busy, is_kept_alive=False))
        self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        with self._changing:
            self._served.discard(connection)
            if self._closing.is_set() and not self._served:
                self._is_empty.set()
        connection.close()

    # --- one connection ----------------------------------------------------------------------------------------------

    def _serve(self, connection: socket.socket) -> None:
        peer = _Peer(connection, self._clock, self._bounds)
        try:
            while not self._closing.is_set() and self._serve_one(peer):
                pass
        except OSError as error:
            # Slow, gone, or cut by `close`.
            logger.debug("a connection ended: %s", error)
        except Exception as error:  # noqa: BLE001 - what a peer brings about ends its connection, and is told
            self._surprises.tell("serving HTTP", error)
        finally:
            self._forget(connection)

    def _serve_one(self, peer: "_Peer") -> bool:
        """Serve one request; return whether another one may follow."""
        is_kept_alive = False
        try:
            head = peer.read_head()
            if head is None:
                return False
            self._verify(head)
            body = peer.read_body(head)
            is_kept_alive = head.is_kept_alive and not self._closing.is_set()
            response = self._handle(head, body)
        except HttpError as error:
            is_kept_alive = is_kept_alive and not error.ends_connection
            if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                self._count_refused(error)
            response = _error_response(error.status, str(error))
        peer.send(encode_response(response, is_kept_alive=is_kept_alive))
        if not is_kept_alive:
            peer.drain()
        return is_kept_alive

    def _count_refused(self, error: HttpError) -> None:
        with self._changing:
            self.refused_requests += 1
            is_told = self.refused_requests.bit_count() == 1
        if is_told:
            logger.warning("%d requests were refused so far, the last one: %s", self.refused_requests, error)

    def _verify(self, head: Head) -> None:
        if head.length > self._bounds.max_body_bytes:
            raise HttpError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"a body of {head.length} bytes, at most {self._bounds.max_body_bytes} are read: send fewer rows",
                ends_connection=True,
            )
        if "origin" in head.headers:
            raise HttpError(HTTPStatus.FORBIDDEN, "requests of web pages are not served", ends_connection=True)


class _Peer:
    """One connection: reads requests and sends answers within their time."""

    def __init__(self, connection: socket.socket, clock: Clock, bounds: HttpBounds) -> None:
        self._connection = connection
        self._clock = clock
        self._bounds = bounds
        self._buffer = bytearray()
        self._ends_s = 0.0

    def read_head(self) -> Head | None:
        """Wait for a request and read its head; None when the peer has gone, or nothing came.

        Raises:
            HttpError: too long, too slow, or no head.
            OSError: the connection is broken.
        """
        if not self._buffer:
            self._connection.settimeout(self._bounds.idle_s)
            try:
                chunk = self._connection.recv(_CHUNK_BYTES)
            except TimeoutError:
                return None
            if not chunk:
                return None
            self._buffer += chunk
        self._ends_s = self._clock.monotonic_s() + self._bounds.timeout_s
        while (end := self._buffer.find(_END, 0, MAX_HEAD_BYTES)) < 0:
            if len(self._buffer) >= MAX_HEAD_BYTES:
                raise HttpError(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    f"a head of more than {MAX_HEAD_BYTES} bytes",
                    ends_connection=True,
                )
            self._receive()
        head = parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + len(_END)]
        return head

    def read_body(self, head: Head) -> bytes:
        """Read the body; raise as `read_head` does."""
        if head.length > len(self._buffer) and head.headers.get("expect", "").lower() == "100-continue":
            self.send(_CONTINUE)
        while len(self._buffer) < head.length:
            self._receive()
        body = bytes(self._buffer[: head.length])
        del self._buffer[: head.length]
        return body

    def send(self, data: bytes) -> None:
        """Send all of it; raise TimeoutError if the peer does not take it in time."""
        self._connection.settimeout(self._bounds.timeout_s)
        self._connection.sendall(data)

    def drain(self) -> None:
        """Say that nothing follows, and read for a moment what the peer still sends."""
        self._connection.shutdown(socket.SHUT_WR)
        self._connection.settimeout(_GOODBYE_S)
        ends_s, drained = self._clock.monotonic_s() + _GOODBYE_S, 0
        with contextlib.suppress(OSError):
            while drained < _DRAINED_BYTES and self._clock.monotonic_s() < ends_s:
                chunk = self._connection.recv(_CHUNK_BYTES)
                if not chunk:
                    return
                drained += len(chunk)

    def _receive(self) -> None:
        """Take what comes next of a request that has begun."""
        left_s = self._ends_s - self._clock.monotonic_s()
        try:
            # No time left is no time to wait, not for ever.
            self._connection.settimeout(max(left_s, 1e-6))
            chunk = self._connection.recv(_CHUNK_BYTES)
        except TimeoutError as error:
            raise HttpError(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the request was not whole after {self._bounds.timeout_s:g} s",
                ends_connection=True,
            ) from error
        if not chunk:
            raise ConnectionError("the peer ended in the middle of a request")
        self._buffer += chunk


def error_body(message: str) -> bytes:
    """Return an error as the Open Inference Protocol tells it."""
    return msgspec.json.encode({"error": message})


def _error_response(status: HTTPStatus, message: str) -> Response:
    return Response(status, error_body(message))
