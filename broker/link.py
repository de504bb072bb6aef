"""One connection to a broker, encrypted or not: bytes out, bytes in, and a way to wake whoever waits for them.

One thread uses it; only `wake` and `cut` may come from others.
"""

import contextlib
import select
import socket
import ssl
from typing import Final, cast

from broker.errors import LinkError

_CONNECT_S: Final = 10.0
HANDSHAKE_S: Final = 60.0
_CHUNK_BYTES: Final = 1 << 16
# After so many bytes what has come is looked at, however much more waits.
_MOST_AT_ONCE_BYTES: Final = 1 << 18
# What was sent and is not acknowledged by the other machine for so long ends the link. Without this the kernel goes on
# for a quarter of an hour, and a link that is seldom tested would be found dead that late. It costs no byte.
_UNACKNOWLEDGED_MS: Final = 60_000
_MS_PER_S: Final = 1000


class Link:
    """A connection that is open."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Connect, and agree on TLS.

        Raises:
            OSError: no connection, or not to whom it should be.
        """
        name = _plain(host)
        plain = socket.create_connection((name, port), _CONNECT_S)
        try:
            _bound_silence(plain)
            # What is sent is collected here: the kernel need not wait for more.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.settimeout(HANDSHAKE_S)
            self._socket = plain if tls is None else tls.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise
        self._socket.settimeout(0)
        self._woken, self._waker = socket.socketpair()
        self._woken.settimeout(0)
        self._waker.settimeout(0)
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)
        self._wants_write = False

    def wake(self) -> None:
        """End the other thread's wait in `exchange`."""
        # Full: it is woken already. Closed: nobody waits.
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def cut(self) -> None:
        """Break the connection, as a bad network does."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def exchange(self, output: bytearray, timeout_s: float) -> bytes:
        """Send what can be sent and take it from ``output``; return what arrived, nothing after ``timeout_s``.

        Raises:
            OSError: the connection is broken.
            LinkError: the other side has ended it.
        """
        self.send(output)
        received = self._receive()
        if received:
            return received
        events = select.POLLIN | (select.POLLOUT if output or self._wants_write else 0)
        self._poll.register(self._socket, events)
        self._poll.poll(timeout_s * _MS_PER_S)
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(_CHUNK_BYTES):
                pass
        return self._receive()

    def send(self, output: bytearray) -> None:
        """Send what can be sent without waiting, and take it from ``output``.

        Raises:
            OSError: the connection is broken.
        """
        while output:
            try:
                sent = self._socket.send(output)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            del output[:sent]

    def close(self) -> None:
        """Close the connection without a word."""
        for each in (self._socket, self._woken, self._waker):
            each.close()

    def _receive(self) -> bytes:
        chunks: list[bytes] = []
        size = 0
        self._wants_write = False
        while size < _MOST_AT_ONCE_BYTES:
            try:
                chunk = self._socket.recv(_CHUNK_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                break
            except ssl.SSLWantWriteError:
                self._wants_write = True
                break
            if not chunk:
                if chunks:
                    # The end comes again at the next call; first what came before it.
                    break
                raise LinkError("the broker closed the connection")
            chunks.append(chunk)
            size += len(chunk)
            if len(chunk) < _CHUNK_BYTES and not isinstance(self._socket, ssl.SSLSocket):
                # Asking again would only tell that there is no more.
                break
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _bound_silence(link: socket.socket) -> None:
    """Have the kernel give up a link on which nothing is acknowledged; where it cannot, the keepalive has to do."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        with contextlib.suppress(OSError):
            link.setsockopt(socket.IPPROTO_TCP, option, _UNACKNOWLEDGED_MS)


def _plain(host: str) -> str:
    """Return a name of ASCII characters as bytes, which sockets and TLS take too.

    For a text they load the tables of Unicode's names, half a megabyte on a device.
    """
    return cast("str", host.encode()) if host.isascii() else host
