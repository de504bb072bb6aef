"""Takes rows from programs of this device over a Unix socket: one line of JSON, one row.

Any number of writers may come one after the other, `MAX_WRITERS` at once; one more is cut and counted. Where rows come
faster than they are scored, nothing more is read: a writer's buffer fills, and its own write waits. There is no
acknowledgement, so what a writer has written and the agent has not yet read is lost when the agent is killed: a writer
that must know takes MQTT or HTTP.
"""

import contextlib
import logging
import socket
import stat
import threading
from pathlib import Path
from typing import Final

from edge_agent.errors import SourceError
from edge_agent.sensing.inlet import Inlet
from edge_agent.sensing.json_rows import MAX_ROW_BYTES

logger = logging.getLogger(__name__)

MAX_WRITERS: Final = 16

_MODE: Final = 0o660
_BACKLOG: Final = 16
_CHUNK_BYTES: Final = 64 << 10
_WAIT_S: Final = 1.0
_JOIN_S: Final = 0.2


class SocketServer:
    """A socket in the file system, that hands lines to an inlet.

    Attributes:
        refused_writers: connections that were one too many.
    """

    def __init__(self, path: Path, inlet: Inlet) -> None:
        """Listen; a socket that an agent left behind is replaced, one that somebody listens on is not.

        Raises:
            SourceError: nobody can listen there.
        """
        self.refused_writers = 0
        self._path = path
        self._inlet = inlet
        self._closing = threading.Event()
        self._writers: set[socket.socket] = set()
        self._changing = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftover(path)
            self._listener.bind(str(path))
            path.chmod(_MODE)
            self._listener.listen(_BACKLOG)
        except OSError as error:
            self._listener.close()
            raise SourceError(f"{path}: no socket can be made there: {error}; choose another source.path") from error
        self._thread = threading.Thread(target=self._accept_all, name="socket", daemon=True)

    def start(self) -> None:
        """Take writers."""
        self._thread.start()

    def close(self) -> None:
        """Listen no more, and cut every writer."""
        self._closing.set()
        for each in (self._listener, *tuple(self._writers)):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept_all(self) -> None:
        while not self._closing.is_set():
            try:
                writer, _ = self._listener.accept()
            except OSError as error:
                # Closed, or no descriptor is left: writers wait in the backlog meanwhile.
                logger.debug("%s: no writer could be taken: %s", self._path, error)
                self._closing.wait(_JOIN_S)
                continue
            with self._changing:
                is_one_too_many = len(self._writers) >= MAX_WRITERS
                if not is_one_too_many:
                    self._writers.add(writer)
            if is_one_too_many:
                self.refused_writers += 1
                logger.warning("%s: a writer was cut: there are %d already", self._path, MAX_WRITERS)
                writer.close()
            else:
                threading.Thread(target=self._read, args=(writer,), name="socket-writer", daemon=True).start()

    def _read(self, writer: socket.socket) -> None:
        lines = Lines()
        try:
            while not self._closing.is_set() and (chunk := writer.recv(_CHUNK_BYTES)):
                self._hand_in(lines.split(chunk))
            self._hand_in(lines.end())
        except OSError as error:
            logger.debug("%s: a writer broke off: %s", self._path, error)
        finally:
            with self._changing:
                self._writers.discard(writer)
            writer.close()

    def _hand_in(self, rows: list[bytes]) -> None:
        """Wait until there is room for the rows; the writer waits with us."""
        step = min(64, self._inlet.max_rows)
        for at in range(0, len(rows), step):
            while self._inlet.offer(rows[at : at + step], _WAIT_S) is None and not self._closing.is_set():
                pass


class Lines:
    """Cuts what one writer sends into lines; of a line that is too long, only so much is kept as says so."""

    def __init__(self) -> None:
        self._rest = b""

    def split(self, chunk: bytes) -> list[bytes]:
        """Return the lines that are whole now; blank ones are none."""
        *whole, rest = chunk.split(b"\n")
        if whole:
            whole[0] = self._rest + whole[0]
            self._rest = rest
        else:
            self._rest = (self._rest + rest)[: MAX_ROW_BYTES + 1]
        return [line for line in whole if line.strip()]

    def end(self) -> list[bytes]:
        """Return the last line, which needs no newline."""
        return [self._rest] if self._rest.strip() else []


def _remove_leftover(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.stat(follow_symlinks=False).st_mode):
            raise FileExistsError(f"{path} is a file, and stays")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_WAIT_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise FileExistsError("somebody listens there")
