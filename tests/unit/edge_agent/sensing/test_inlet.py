"""Rows of a live source wait within a bound, are kept, and are decoded for whom they are taken."""

import threading
from pathlib import Path

import pytest

from edge_agent.scoring.schema import Unreadable
from edge_agent.sensing.inlet import Inlet
from edge_agent.sensing.journal import Journal
from edge_agent.sensing.json_rows import parse_row
from tests.waiting import wait_until

FEATURES = ("a", "b")


def open_inlet(folder: Path, cursor: int = 0, max_waiting: int = 8) -> Inlet:
    journal = Journal(folder, cursor, lambda: cursor, max_bytes=1 << 20, is_synced=False)
    return Inlet(journal, parse_row, cursor, max_waiting)


def test_more_than_the_bound_is_refused_whole_until_rows_were_taken(tmp_path: Path):
    inlet = open_inlet(tmp_path)
    source = inlet.open(FEATURES, 0)
    assert inlet.offer([b"[1,2]"] * 6) == range(6)
    assert inlet.offer([b"[1,2]"] * 3) is None
    assert inlet.offer([b"[1,2]"] * 2) == range(6, 8)
    assert len(source.ready_rows(3)) == 3
    assert inlet.offer([b"[1,2]"] * 3) == range(8, 11)
    assert inlet.n_waiting == 8


def test_more_than_ever_fits_is_refused_at_once(tmp_path: Path):
    assert open_inlet(tmp_path).offer([b"[]"] * 9, timeout_s=1e6) is None


def test_who_waits_for_room_gets_it_when_a_row_is_taken(tmp_path: Path):
    inlet = open_inlet(tmp_path, max_waiting=1)
    source = inlet.open(FEATURES, 0)
    inlet.offer([b"[1,2]"])
    numbers: list[range | None] = []
    waiting = threading.Thread(target=lambda: numbers.append(inlet.offer([b"[3,4]"], 30.0)))
    waiting.start()
    first = source.next_row(0.0)
    waiting.join()
    assert first is not None
    assert numbers == [range(1, 2)]


def test_rows_that_wait_are_decoded_for_the_bundle_that_takes_them(tmp_path: Path):
    inlet = open_inlet(tmp_path)
    first = inlet.open(FEATURES, 0)
    inlet.offer([b'{"a": 1, "b": 2, "c": 3}'] * 2)
    row = first.next_row(0.0)
    assert row is not None
    assert list(row.values) == [1, 2]
    first.close()
    row = inlet.open(("c", "a"), 1).next_row(0.0)
    assert row is not None
    assert (row.number, list(row.values)) == (1, [3, 1])


def test_after_a_kill_rows_that_are_not_counted_come_first_and_under_their_numbers(tmp_path: Path):
    killed = open_inlet(tmp_path)
    killed.offer([b"[%d,0]" % n for n in range(5)])
    again = open_inlet(tmp_path, cursor=2)
    new = again.offer([b"[9,0]"])
    assert new is not None
    assert new[0] >= 5
    rows = again.open(FEATURES, 2).ready_rows(10)
    assert [(row.number, row.values[0]) for row in rows] == [(2, 2), (3, 3), (4, 4), (new[0], 9)]


def test_a_disk_that_refuses_does_not_stop_rows_and_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "rows").write_text("a file where the folder should be")
    journal = Journal(tmp_path / "rows" / "below", 0, lambda: 0, max_bytes=1 << 20, is_synced=True)
    inlet = Inlet(journal, parse_row, 0, 8)
    assert inlet.offer([b"[1,2]"]) == range(1)
    assert inlet.offer([b"[3,4]"]) == range(1, 2)
    assert len(inlet.open(FEATURES, 0).ready_rows(9)) == 2
    assert inlet.unkept == 2
    assert len([record for record in caplog.records if "cannot be kept" in record.message]) == 1


def test_numbers_are_told_before_a_row_can_be_taken(tmp_path: Path):
    inlet = open_inlet(tmp_path)
    source = inlet.open(FEATURES, 0)
    seen: list[object] = []
    inlet.offer([b"[1,2]"], tell=lambda numbers: seen.append((numbers, source.next_row(0.0))))
    assert seen == [(range(1), None)]


def test_a_closed_inlet_takes_nothing_and_lets_nobody_wait(tmp_path: Path):
    inlet = open_inlet(tmp_path, max_waiting=1)
    inlet.offer([b"[1,2]"])
    refused: list[range | None] = []
    waiting = threading.Thread(target=lambda: refused.append(inlet.offer([b"[3,4]"], 1e6)))
    waiting.start()
    inlet.close()
    waiting.join()
    assert refused == [None]


def test_what_is_turned_away_is_counted_and_told_when_it_doubled(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    inlet = open_inlet(tmp_path)
    for _ in range(100):
        inlet.turn_away(1, "too many")
    assert inlet.turned_away == 100
    assert len(caplog.records) == 7


def test_a_source_that_has_ended_is_at_its_end_once_all_is_taken(tmp_path: Path):
    inlet = open_inlet(tmp_path)
    source = inlet.open(FEATURES, 0)
    inlet.offer([b"no row"])
    inlet.finish()
    assert not source.at_end
    row = source.next_row(0.0)
    assert row is not None
    assert isinstance(row.values, Unreadable)
    wait_until(lambda: source.at_end, what="it has ended")
