"""Serves an update repository's folder over HTTP on loopback, from a process of its own.

Only GET and HEAD of regular files below ``metadata/`` and ``targets/``; one byte range at a time, so that a broken
download goes on where it was. It trusts nothing in a request and knows nothing of TUF: the files are signed.
"""

import argparse
import json
import os
import re
import select
import subprocess
import sys
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, ClassVar, Final
from urllib.parse import unquote, urlsplit

from exporter.errors import ServingError

SERVED: Final = ("metadata", "targets")
_CHUNK_BYTES: Final = 64 << 10
_START_TIMEOUT_S: Final = 20.0
_STOP_TIMEOUT_S: Final = 5.0
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class RepositoryServer:
    """A running server.

    Attributes:
        url: base of the repository: ``<url>/metadata/…`` and ``<url>/targets/…``.
    """

    url: str
    pid: int
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End the server's process; return when it is gone."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def start_repository_server(folder: Path, port: int | None = None) -> RepositoryServer:
    """Start a server of ``folder`` on loopback, at a free port unless one is given; it ends when this process does.

    Raises:
        ServingError: it did not start; the message carries its last words.
    """
    arguments = ["--folder", str(folder.resolve()), "--port", str(port or 0), "--until-stdin-closes"]
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter.repository.serving", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    line = _first_line(process)
    if not line:
        process.kill()
        process.communicate()
        raise ServingError(f"the server of {folder} did not start; is port {port} taken?")
    return RepositoryServer(json.loads(line)["url"], process.pid, process)


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    if process.stdout is None:
        return b""
    ready, _, _ = select.select([process.stdout], [], [], _START_TIMEOUT_S)
    return process.stdout.readline() if ready else b""


def resolve_path(folder: Path, target: str) -> Path | None:
    """Return the file that a request's target names, or None when it names nothing that is served.

    Hidden names, climbing, links out of the folder and everything beside the served sub-folders are nothing.
    """
    try:
        parts = unquote(urlsplit(target).path).split("/")[1:]
    except ValueError:  # half an address of IPv6
        return None
    if not parts or parts[0] not in SERVED:
        return None
    if any(not part or part.startswith(".") or "\0" in part or "\\" in part for part in parts):
        return None
    try:
        path = folder.joinpath(*parts).resolve(strict=True)
    except (OSError, ValueError):
        return None
    return path if path.is_file() and path.is_relative_to(folder.resolve()) else None


def parse_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """Return (first, past last) of a ``Range`` header, or None when the whole file is meant (RFC 9110, section 14.2).

    Raises:
        ValueError: the range lies outside of the file.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first_text, last_text = match.groups()
    if not first_text:
        first, last = max(0, size_bytes - int(last_text)), size_bytes
    else:
        first = int(first_text)
        last = min(int(last_text) + 1, size_bytes) if last_text else size_bytes
    if first >= last:
        raise ValueError(f"range {header} lies outside of {size_bytes} bytes")
    return first, last


class _Handler(BaseHTTPRequestHandler):
    folder: ClassVar[Path]
    protocol_version = "HTTP/1.1"
    server_version = "fieldloop-repository"
    sys_version = ""
    # A silent client must not hold a thread for ever.
    timeout = 30

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        """Stay silent: standard output belongs to the parent."""

    def _answer(self, *, with_body: bool) -> None:
        path = resolve_path(self.folder, self.path)
        if path is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        try:
            file = path.open("rb")
        except OSError:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        with file:
            self._send(file, with_body=with_body)

    def _send(self, file: BinaryIO, *, with_body: bool) -> None:
        size_bytes = os.fstat(file.fileno()).st_size
        try:
            part = parse_range(self.headers.get("Range"), size_bytes)
        except ValueError:
            self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, ("Content-Range", f"bytes */{size_bytes}"))
            return
        first, last = part or (0, size_bytes)
        self.send_response(HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(last - first))
        self.send_header("Accept-Ranges", "bytes")
        if part is not None:
            self.send_header("Content-Range", f"bytes {first}-{last - 1}/{size_bytes}")
        self.end_headers()
        if with_body:
            self._copy(file, first, last)

    def _copy(self, file: BinaryIO, first: int, last: int) -> None:
        file.seek(first)
        left = last - first
        while left > 0:
            chunk = file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                # Shorter than announced: the connection must break, or the client would wait for the rest.
                self.close_connection = True
                return
            self.wfile.write(chunk)
            left -= len(chunk)

    def _refuse(self, status: HTTPStatus, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Let a client that went away go without a traceback."""


def serve(folder: Path, port: int, *, until_stdin_closes: bool = False) -> None:
    """Serve ``folder`` on loopback until interrupted; print ``{"url": …}`` once it listens.

    Args:
        folder: the repository.
        port: 0 for a free one.
        until_stdin_closes: also end when standard input closes, which is when the parent dies, however it dies.

    Raises:
        ServingError: the port is taken, or there is no such folder.
    """
    if not folder.is_dir():
        raise ServingError(f"{folder} is not a folder")
    handler = type("_FolderHandler", (_Handler,), {"folder": folder.resolve()})
    try:
        server = _Server(("127.0.0.1", port), handler)
    except OSError as error:
        raise ServingError(f"port {port} on loopback cannot be used: {error.strerror or error}") from error
    if until_stdin_closes:
        threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
    with server:
        sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}) + "\n")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


def _end_with_stdin(server: ThreadingHTTPServer) -> None:
    # A pipe instead of PR_SET_PDEATHSIG: that one fires when the parent's *thread* ends, and is Linux only.
    sys.stdin.buffer.read()
    server.shutdown()


def main() -> int:
    """Run ``python -m exporter.repository.serving``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--until-stdin-closes", action="store_true")
    options = parser.parse_args()
    try:
        serve(options.folder, options.port, until_stdin_closes=options.until_stdin_closes)
    except ServingError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
