"""Lines over a Unix socket: cut right, bounded, and never taken from somebody else."""

import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.errors import SourceError
from edge_agent.scoring.schema import Unreadable
from edge_agent.sensing import socket_source
from edge_agent.sensing.inlet import Inlet
from edge_agent.sensing.journal import Journal
from edge_agent.sensing.json_rows import MAX_ROW_BYTES, parse_row
from edge_agent.sensing.socket_source import SocketServer
from edge_agent.sensing.source import SourceRow
from tests.waiting import wait_until

FEATURES = ("a", "b")


class Station:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "run" / "rows.sock"
        journal = Journal(folder / "kept", 0, lambda: 0, max_bytes=8 << 20, is_synced=False)
        self.inlet = Inlet(journal, parse_row, 0, 64)
        self.server = SocketServer(self.path, self.inlet)
        self.server.start()
        self.source = self.inlet.open(FEATURES, 0)

    def connect(self) -> socket.socket:
        writer = socket.socket(socket.AF_UNIX)
        writer.settimeout(20)
        writer.connect(str(self.path))
        return writer

    def take(self, n: int) -> list[SourceRow]:
        rows: list[SourceRow] = []

        def are_all_there() -> bool:
            rows.extend(self.source.ready_rows(n - len(rows)))
            return len(rows) == n

        wait_until(are_all_there, 20, f"{n} rows come")
        return rows

    def close(self) -> None:
        self.inlet.close()
        self.server.close()


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    made = Station(tmp_path)
    yield made
    made.close()


def test_lines_are_rows_wherever_the_writer_s_pieces_end(station: Station):
    with station.connect() as writer:
        for piece in (b"[1,", b"2]\n[3,4]", b"\n\n \r\n", b"[5,6]\r\n[7", b",8]"):
            writer.sendall(piece)
    rows = station.take(4)
    assert [list(row.values) for row in rows] == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert [row.number for row in rows] == [0, 1, 2, 3]


def test_a_line_without_an_end_is_refused_and_takes_no_memory_and_the_next_is_read(station: Station):
    with station.connect() as writer:
        for _ in range(40):
            writer.sendall(b"1" * (MAX_ROW_BYTES // 8))
        writer.sendall(b"\n[1,2]\n")
    bad, good = station.take(2)
    assert isinstance(bad.values, Unreadable)
    assert list(good.values) == [1, 2]
    assert sum(path.stat().st_size for path in (station.path.parent.parent / "kept").iterdir()) < MAX_ROW_BYTES + 100


def test_a_writer_that_is_faster_than_the_scoring_waits_and_loses_nothing(station: Station):
    n_rows = 8_000

    def write() -> None:
        with station.connect() as writer:
            writer.sendall(b"".join(b"[%d,0]" % number + b" " * 80 + b"\n" for number in range(n_rows)))

    writing = threading.Thread(target=write)
    writing.start()
    wait_until(lambda: station.inlet.n_waiting == 64, 10, "it is full")
    # The kernel holds a part; the writer waits with the rest.
    assert writing.is_alive()
    assert [row.values[0] for row in station.take(n_rows)] == list(range(n_rows))
    writing.join()


def test_one_writer_too_many_is_cut_and_counted_and_others_go_on(station: Station, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket_source, "MAX_WRITERS", 2)
    with station.connect() as first, station.connect():
        wait_until(lambda: len(station.server._writers) == 2, 10, "both are taken")
        with station.connect() as third:
            assert third.recv(1) == b""
        first.sendall(b"[1,2]\n")
        station.take(1)
    assert station.server.refused_writers == 1
    wait_until(lambda: not station.server._writers, 10, "both have gone")
    with station.connect() as again:
        again.sendall(b"[3,4]\n")
        station.take(1)


def test_a_socket_that_a_killed_agent_left_is_replaced_and_one_in_use_is_not(station: Station, tmp_path: Path):
    with pytest.raises(SourceError, match="somebody listens there"):
        SocketServer(station.path, station.inlet)
    left = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    server = SocketServer(left, station.inlet)
    assert stat.S_IMODE(left.stat().st_mode) == 0o660
    server.close()
    assert not left.exists()


def test_a_file_in_the_socket_s_place_stays(station: Station, tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(SourceError, match=r"is a file, and stays.*source\.path"):
        SocketServer(path, station.inlet)
    assert path.read_text() == "mine"


def test_a_path_that_is_too_long_for_a_socket_is_named(station: Station, tmp_path: Path):
    with pytest.raises(SourceError, match=r"source\.path"):
        SocketServer(tmp_path / ("x" * 200), station.inlet)
    assert os.listdir(tmp_path)  # noqa: PTH208 - names
