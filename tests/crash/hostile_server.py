"""An update server that misbehaves in one of several ways, until it is told to be honest."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, Final, Literal

from exporter.repository.serving import resolve_path

Malice = Literal["stalls", "drips", "cuts", "says_less", "says_more", "never_ends", "none"]

_CHUNK: Final = b"x" * 65536
_DRIP_S: Final = 0.3


class HostileServer(ThreadingHTTPServer):
    """Serves a repository; answers for files of one name are spoilt.

    Attributes:
        malice, name: how, and which; may be changed at any time.
        spoilt: answers that were spoilt so far.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, folder: Path) -> None:
        """Listen on a free port of loopback."""
        handler = type("_FolderHandler", (_Handler,), {"folder": folder.resolve()})
        super().__init__(("127.0.0.1", 0), handler)
        self.malice: Malice = "none"
        self.name = ""
        self.spoilt = 0
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """The base of the repository."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Let a client that went away go without a traceback."""


@contextlib.contextmanager
def open_server(folder: Path) -> Iterator[HostileServer]:
    """Serve a repository for the time of the context."""
    server = HostileServer(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    folder: ClassVar[Path]
    server: HostileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = resolve_path(self.folder, self.path)
        malice: Malice = self.server.malice if self.server.name in self.path else "none"
        if path is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.server.spoilt += malice != "none"
        self.close_connection = malice != "none"
        getattr(self, f"_{malice}")(path.read_bytes())

    def log_message(self, *_: object) -> None:
        return

    def _begin(self, length: int | None) -> None:
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _none(self, data: bytes) -> None:
        self._begin(len(data))
        self.wfile.write(data)

    def _stalls(self, data: bytes) -> None:
        self._begin(len(data))
        self.wfile.write(data[: len(data) // 2])
        self.server.closing.wait(30)

    def _drips(self, data: bytes) -> None:
        self._begin(len(data))
        for at in range(len(data) - 1):
            if self.server.closing.wait(_DRIP_S):
                return
            self.wfile.write(data[at : at + 1])

    def _cuts(self, data: bytes) -> None:
        self._begin(len(data))
        self.wfile.write(data[: len(data) // 2])

    def _says_less(self, data: bytes) -> None:
        self._begin(len(data) // 2)
        self.wfile.write(data)

    def _says_more(self, data: bytes) -> None:
        self._begin(2 * len(data))
        self.wfile.write(data)

    def _never_ends(self, data: bytes) -> None:
        self._begin(None)
        self.wfile.write(data)
        while not self.server.closing.is_set():
            self.wfile.write(_CHUNK)
