"""Whatever a peer sends, or does not send, it is answered in bounded time and memory, and the next one is served."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import SourceError
from edge_agent.sensing.http_message import MAX_HEAD_BYTES, MAX_HEADERS, Head, HttpError, Response, parse_head
from edge_agent.sensing.http_server import HttpBounds, HttpServer
from tests.waiting import wait_until

BOUNDS = HttpBounds(max_connections=3, max_body_bytes=1000, timeout_s=0.4, idle_s=0.4)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def answer(head: Head, body: bytes) -> Response:
    if head.path == "/surprise":
        raise ZeroDivisionError
    if head.path == "/refused":
        raise HttpError(HTTPStatus.NOT_FOUND, "nothing there")
    return Response(HTTPStatus.OK, b"%d bytes" % len(body))


@pytest.fixture
def server() -> Iterator[HttpServer]:
    running = HttpServer("127.0.0.1", 0, answer, BOUNDS, SystemClock())
    running.start()
    yield running
    running.close()


@contextlib.contextmanager
def connected(server: HttpServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        yield connection


def told(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(4096):
            parts.append(part)
    return b"".join(parts)


def exchange(server: HttpServer, data: bytes) -> bytes:
    with connected(server) as connection:
        connection.sendall(data)
        return told(connection)


def test_several_requests_are_served_on_one_connection_though_they_come_at_once(server: HttpServer):
    post = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
    answers = exchange(
        server, GET + post + b"GET /refused HTTP/1.1\r\n\r\n" + b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    )
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert answers.count(b"HTTP/1.1 404") == 1
    assert b"3 bytes" in answers


def test_a_peer_that_asks_first_is_told_to_go_on(server: HttpServer):
    with connected(server) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"rows")
        assert b"4 bytes" in told(connection)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: x\ny: z\r\n\r\n", 400),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: x\r\n" * (MAX_HEADERS + 1) + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001, 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nOrigin: https://elsewhere.example\r\nContent-Length: 0\r\n\r\n", 403),
        # Half a request, and then nothing.
        (b"GET / HT", 408),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", 408),
        (b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc", 408),
    ],
)
def test_what_is_no_request_is_refused_and_the_next_peer_is_served(
    server: HttpServer, request_bytes: bytes, status: int
):
    assert exchange(server, request_bytes).startswith(b"HTTP/1.1 %d " % status)
    assert server.refused_requests == 1
    assert b"200 OK" in exchange(server, b"GET / HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\nA: ", b"POST / HTTP/1.1\r\nContent-Length: 900\r\n\r\n"])
def test_a_request_that_drips_byte_by_byte_is_refused_when_its_time_is_over(server: HttpServer, begin: bytes):
    with connected(server) as connection:
        connection.sendall(begin)
        connection.settimeout(0.05)
        heard = b""
        for _ in range(200):
            with contextlib.suppress(TimeoutError):
                heard = connection.recv(100)
                break
            connection.sendall(b"x")
        assert heard.startswith(b"HTTP/1.1 408")


def test_a_connection_without_a_request_is_closed(server: HttpServer):
    with connected(server) as connection:
        assert told(connection) == b""


def test_a_peer_that_never_reads_its_answer_does_not_stay(server: HttpServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "_handle", lambda *_: Response(HTTPStatus.OK, b"x" * (64 << 20)))
    with connected(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(GET)
        wait_until(lambda: not server._served, 10, "the server has given the peer up")


def test_one_connection_too_many_is_refused_and_told_and_counted(server: HttpServer):
    with contextlib.ExitStack() as held:
        for _ in range(BOUNDS.max_connections):
            held.enter_context(connected(server)).sendall(GET[:-2])
        wait_until(lambda: len(server._served) == BOUNDS.max_connections, 10, "all are taken")
        with connected(server) as connection:
            assert told(connection).startswith(b"HTTP/1.1 503")
    assert server.refused_connections == 1
    wait_until(lambda: b"200 OK" in exchange(server, b"GET / HTTP/1.0\r\n\r\n"), 10, "others are served again")


def test_a_surprise_ends_its_connection_only(server: HttpServer, caplog: pytest.LogCaptureFixture):
    assert exchange(server, b"GET /surprise HTTP/1.1\r\n\r\n") == b""
    assert "a surprise" in caplog.text
    assert b"200 OK" in exchange(server, b"GET / HTTP/1.0\r\n\r\n")


def test_a_server_that_closes_cuts_who_is_connected(server: HttpServer):
    with connected(server) as connection:
        connection.sendall(GET)
        wait_until(lambda: b"0 bytes" in connection.recv(4096), 10, "it is answered")
        server.close()
        assert told(connection) == b""
    wait_until(lambda: not any(t.name.startswith("http") for t in threading.enumerate()), 10, "its threads have ended")


def test_an_address_that_is_taken_is_named(server: HttpServer):
    with pytest.raises(SourceError, match=rf"127\.0\.0\.1:{server.port}: cannot listen there.*source\.port"):
        HttpServer("127.0.0.1", server.port, answer, BOUNDS, SystemClock())


def test_a_head_is_taken_apart():
    head = parse_head(b"POST /v2/models/a%20b?x=1 HTTP/1.1\r\nContent-Length: 12\r\nX-Y:  z \r\nConnection: close")
    assert (head.method, head.path, head.length, head.is_kept_alive) == ("POST", "/v2/models/a%20b", 12, False)
    assert head.headers["x-y"] == "z"
