"""Asks an HTTP server over connections that stay open, as fast as it answers or at a rate, and keeps the latencies.

One thread, sockets without a library: what the client itself computes is the same for every server, and little.
"""

import selectors
import socket
import time
from dataclasses import dataclass, field
from typing import Final

_CHUNK_BYTES: Final = 1 << 16
_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a server was asked.

    Attributes:
        latencies_s: of each request; at a rate, from when it was due.
        seconds: from the first request to the last answer.
    """

    latencies_s: list[float]
    seconds: float

    @property
    def a_second(self) -> float:
        """Answers a second."""
        return len(self.latencies_s) / self.seconds

    def quantile_s(self, share: float) -> float:
        """Return the latency that this share of the requests had at most."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    due_s: float = 0.0
    received: bytearray = field(default_factory=bytearray)


def request_of(path: str, body: bytes) -> bytes:
    """Return a request as it goes over the connection."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def ask(port: int, request: bytes, *, n_requests: int, n_connections: int, rate: float | None = None) -> Asked:
    """Ask the same again and again.

    Args:
        port: of loopback.
        request: as `request_of` makes it; its answer must be 200.
        n_requests: in all.
        n_connections: how many are asked at the same time.
        rate: requests a second over all connections; None: each as soon as its connection has its answer.
    """
    latencies: list[float] = []
    idle: list[_Connection] = []
    with selectors.DefaultSelector() as selector:
        for _ in range(n_connections):
            opened = socket.create_connection(("127.0.0.1", port))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(opened)
            selector.register(opened, selectors.EVENT_READ, connection)
            idle.append(connection)
        began_s = time.perf_counter()
        n_sent = 0
        while len(latencies) < n_requests:
            now_s = time.perf_counter()
            while idle and n_sent < n_requests:
                due_s = now_s if rate is None else began_s + n_sent / rate
                if due_s > now_s:
                    break
                connection = idle.pop()
                connection.due_s = due_s
                connection.socket.sendall(request)
                n_sent += 1
            wait_s = None if rate is None or not idle else max(0.0, began_s + n_sent / rate - now_s)
            for key, _ in selector.select(wait_s):
                connection = key.data
                if _is_whole(connection):
                    latencies.append(time.perf_counter() - connection.due_s)
                    idle.append(connection)
        seconds = time.perf_counter() - began_s
        for key in list(selector.get_map().values()):
            key.data.socket.close()
    return Asked(latencies, seconds)


def _is_whole(connection: _Connection) -> bool:
    data = connection.socket.recv(_CHUNK_BYTES)
    if not data:
        raise ConnectionError("the server closed a connection")
    received = connection.received
    received += data
    end = received.find(_END)
    if end < 0:
        return False
    head = bytes(received[:end]).lower()
    if not head.startswith(b"http/1.1 200"):
        raise ConnectionError(f"the server answered {head[:200]!r}")
    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    if len(received) < end + len(_END) + length:
        return False
    received.clear()
    return True
