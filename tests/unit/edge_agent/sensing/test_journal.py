"""Accepted rows survive, under numbers that no other row ever gets."""

import os
import resource
import signal
from pathlib import Path

import pytest

from edge_agent.sensing import journal as journal_module
from edge_agent.sensing.journal import ROWS_PER_FILE, Journal, JournalFullError

MAX_BYTES = 1 << 20


class Counted:
    """The cursor of an agent, set by hand."""

    def __init__(self, cursor: int = 0) -> None:
        self.cursor = cursor

    def __call__(self) -> int:
        return self.cursor


def open_journal(
    folder: Path, counted: Counted | None = None, max_bytes: int = MAX_BYTES, *, is_synced: bool = False
) -> Journal:
    counted = counted or Counted()
    return Journal(folder, counted.cursor, counted, max_bytes=max_bytes, is_synced=is_synced)


def payloads(first: int, n: int) -> list[bytes]:
    return [b"row %d" % number for number in range(first, first + n)]


@pytest.mark.parametrize("is_synced", [True, False])
def test_what_was_appended_is_given_again_from_the_cursor_on(tmp_path: Path, *, is_synced: bool):
    first = open_journal(tmp_path / "rows", is_synced=is_synced)
    assert first.append(payloads(0, 3)) == range(3)
    assert first.append(payloads(3, 2)) == range(3, 5)
    # Killed: nobody closes it.
    again = open_journal(tmp_path / "rows", Counted(2))
    assert list(again.replay(2)) == [(number, b"row %d" % number) for number in (2, 3, 4)]


def test_after_a_start_numbers_go_on_behind_all_that_the_last_file_reserved(tmp_path: Path):
    open_journal(tmp_path).append(payloads(0, 3))
    # A power cut took the end of the file: which numbers were given is not known any more.
    (file,) = tmp_path.iterdir()
    os.truncate(file, 5)
    again = open_journal(tmp_path, Counted(3))
    assert list(again.replay(0)) == []
    assert again.append([b"new"]) == range(ROWS_PER_FILE, ROWS_PER_FILE + 1)


def test_a_first_row_takes_the_cursor_where_no_file_says_more(tmp_path: Path):
    assert open_journal(tmp_path, Counted(700)).append([b"x"]) == range(700, 701)


@pytest.mark.parametrize("damage", ["torn", "flipped", "length"])
def test_a_damaged_row_ends_its_file_and_the_rows_before_it_are_given(tmp_path: Path, damage: str):
    open_journal(tmp_path).append(payloads(0, 3))
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    if damage == "torn":
        del data[-2:]
    elif damage == "flipped":
        data[-1] ^= 1
    else:
        # The third row says that it is 4 GB long.
        data[2 * (8 + 5) : 2 * (8 + 5) + 4] = b"\xff\xff\xff\xff"
    file.write_bytes(data)
    assert [number for number, _ in open_journal(tmp_path).replay(0)] == [0, 1]


def test_files_whose_rows_are_counted_are_removed_and_others_stay(tmp_path: Path):
    counted = Counted()
    journal = open_journal(tmp_path, counted)
    for first in range(0, 3 * ROWS_PER_FILE, ROWS_PER_FILE):
        journal.append(payloads(first, ROWS_PER_FILE))
    assert len(list(tmp_path.iterdir())) == 3
    counted.cursor = ROWS_PER_FILE + 10
    journal.append([b"x"])
    assert sorted(int(path.stem) for path in tmp_path.iterdir()) == [n * ROWS_PER_FILE for n in (1, 2, 3)]


def test_over_its_bound_it_takes_nothing_until_rows_are_counted(tmp_path: Path):
    counted = Counted()
    journal = open_journal(tmp_path, counted, max_bytes=1000)
    numbers = [journal.append([b"x" * 92])[0] for _ in range(10)]
    with pytest.raises(JournalFullError, match="wait to be counted"):
        journal.append([b"x" * 92])
    assert journal.size_bytes <= 1000
    counted.cursor = numbers[-1] + 1
    assert journal.append([b"x" * 92])[0] == numbers[-1] + 1
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000


def test_its_files_never_take_more_than_the_bound(tmp_path: Path):
    counted = Counted()
    journal = open_journal(tmp_path, counted, max_bytes=5000)
    for _ in range(500):
        counted.cursor = journal.append([b"x" * 100])[-1] - 5
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5000


def test_rows_that_the_disk_took_in_part_are_nobody_s_and_the_next_ones_have_their_numbers(tmp_path: Path):
    journal = open_journal(tmp_path)
    journal.append(payloads(0, 2))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # Room for one of two rows, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 13 + 20, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            journal.append([b"lost1", b"lost2"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert journal.append(payloads(2, 2)) == range(2, 4)
    assert list(open_journal(tmp_path).replay(0)) == [(n, b"row %d" % n) for n in range(4)]


def test_numbers_of_rows_that_are_not_kept_are_not_given_again(tmp_path: Path):
    journal = open_journal(tmp_path)
    journal.append(payloads(0, 2))
    assert journal.pass_over(3) == range(2, 5)
    assert journal.append([b"five"]) == range(5, 6)
    assert [number for number, _ in open_journal(tmp_path).replay(0)] == [0, 1, 5]


def test_what_else_lies_in_the_folder_is_left_alone(tmp_path: Path):
    for name in ("notes.rows", "-1.rows", "007.rows", "1.rows.bak"):
        (tmp_path / name).write_bytes(b"not ours")
    journal = open_journal(tmp_path)
    journal.append([b"x"])
    assert list(journal.replay(0)) == [(0, b"x")]
    assert len(list(tmp_path.iterdir())) == 5


def test_a_name_is_durable_before_a_number_of_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[int] = []
    monkeypatch.setattr(journal_module, "sync_folder", lambda folder: synced.append(len(list(folder.iterdir()))))
    open_journal(tmp_path).append([b"x"])
    assert synced == [1]
