"""A mirror of an update repository over HTTP on loopback that lies where it is told to."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import ClassVar, Final, Self

# What it says in place of a file: other bytes, a status, or whatever a function writes.
Lie = bytes | int | Callable[[BaseHTTPRequestHandler], None]

ENOUGH_BYTES: Final = 64 << 20


class Mirror:
    """Serves a folder; change `folder` or `lies` while it runs.

    Attributes:
        lies: by the end of a path, as ``timestamp.json``.
        requests: the paths that were asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lies: dict[str, Lie] = {}
        self.requests: list[str] = []
        handler = type("_MirrorHandler", (_Handler,), {"mirror": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def endlessly(handler: BaseHTTPRequestHandler) -> None:
    """Send without end, or at least far more than anybody may take."""
    handler.send_response(200)
    handler.end_headers()
    chunk = b" " * (1 << 16)
    for _ in range(ENOUGH_BYTES // len(chunk)):
        handler.wfile.write(chunk)


def by_the_byte(handler: BaseHTTPRequestHandler) -> None:
    """Send one byte after the other: never silent, never done."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(ENOUGH_BYTES))
    handler.end_headers()
    for _ in range(100_000):
        handler.wfile.write(b"{")
        handler.wfile.flush()


class _Handler(BaseHTTPRequestHandler):
    mirror: ClassVar[Mirror]

    def do_GET(self) -> None:
        self.mirror.requests.append(self.path)
        lie = next((lie for end, lie in self.mirror.lies.items() if self.path.endswith(end)), None)
        if callable(lie):
            lie(self)
        elif isinstance(lie, int):
            self.send_error(lie)
        else:
            self._send(lie)

    def _send(self, data: bytes | None) -> None:
        path = self.mirror.folder / self.path.lstrip("/")
        if data is None and not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes() if data is None else data
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Let a client that had enough go without a traceback."""
