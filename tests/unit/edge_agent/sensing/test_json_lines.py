"""Lines of JSON become rows; a line that is no row is counted, and never stops the next."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.errors import RowError, SourceError
from edge_agent.scoring.schema import RowEncoder, Unreadable
from edge_agent.sensing.json_lines import MAX_LINE_BYTES, JsonLines
from edge_agent.sensing.source import SourceRow
from tests.unit.edge_agent.examples import classification_manifest

FEATURES = ("temperature", "wind")


def rows_of(source: JsonLines, timeout_s: float = 0.0) -> list[SourceRow]:
    rows = []
    while (row := source.next_row(timeout_s)) is not None:
        rows.append(row)
    return rows


def read(tmp_path: Path, content: bytes) -> list[SourceRow]:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    return rows_of(JsonLines(path, FEATURES))


BAD_LINES = [
    b"{",
    b'"text"',
    b"17",
    b"null",
    b'{"temperature": [1]}',
    b'[1, {"a": 2}]',
    b"\xff\xfe",
    b"[1, NaN]",
    b"[1, 1e999]",
    b"[" * 100_000,
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_line_that_is_no_row_is_refused_as_malformed_and_the_next_is_read(tmp_path: Path, line: bytes):
    bad, good = read(tmp_path, line + b"\n[1, 2]\n")
    assert (bad.number, good.number) == (0, 1)
    assert list(good.values) == [1.0, 2.0]
    with pytest.raises(RowError) as caught:
        RowEncoder(classification_manifest()).encode(bad.values)
    assert caught.value.kind == "malformed"


def test_a_feature_that_a_line_does_not_name_is_missing_and_others_are_ignored(tmp_path: Path):
    (row,) = read(tmp_path, b'{"wind": 3, "colour": "red", "when": null}\n')
    assert list(row.values) == [None, 3.0]


def test_true_is_a_word_not_a_number(tmp_path: Path):
    (row,) = read(tmp_path, b"[true, false]\n")
    assert list(row.values) == ["true", "false"]


def test_an_array_of_another_length_keeps_its_length(tmp_path: Path):
    (row,) = read(tmp_path, b"[1, 2, 3]\n")
    assert len(row.values) == 3


def test_blank_lines_are_numbered_but_no_rows(tmp_path: Path):
    assert [row.number for row in read(tmp_path, b"[1,2]\n\n  \r\n[3,4]\r\n")] == [0, 3]


def test_the_last_line_needs_no_newline(tmp_path: Path):
    assert [row.number for row in read(tmp_path, b"[1,2]\n[3,4]")] == [0, 1]


def test_an_endless_line_is_one_malformed_row_and_is_not_kept_in_memory(tmp_path: Path):
    # It would be a row, were it not so long.
    bad, good = read(tmp_path, b"[1," + b" " * (3 * MAX_LINE_BYTES) + b"2]\n[1,2]\n")
    assert isinstance(bad.values, Unreadable)
    assert (bad.number, good.number) == (0, 1)
    assert list(good.values) == [1.0, 2.0]


def test_a_file_that_grows_is_followed_and_half_a_line_is_waited_for(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"[1,2]\n[3,")
    source = JsonLines(path, FEATURES, follow=True)
    assert [row.number for row in rows_of(source)] == [0]
    assert not source.at_end
    with path.open("ab") as file:
        file.write(b"4]\n")
    (row,) = rows_of(source)
    assert (row.number, list(row.values)) == (1, [3.0, 4.0])
    source.close()


def test_an_endless_line_before_the_cursor_does_not_spoil_the_first_row_behind_it(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"[1," + b" " * (2 * MAX_LINE_BYTES) + b"2]\n[3,4]\n")
    (row,) = rows_of(JsonLines(path, FEATURES, cursor=1))
    assert (row.number, list(row.values)) == (1, [3.0, 4.0])


def rename(path: Path) -> None:
    path.rename(path.with_suffix(".1"))


def truncate(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("rotate", [rename, truncate])
def test_a_rotated_file_is_followed_and_its_numbers_go_on(tmp_path: Path, rotate: Callable[[Path], None]):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"[1,2]\n[3,4]\n")
    source = JsonLines(path, FEATURES, follow=True)
    assert [row.number for row in rows_of(source)] == [0, 1]
    for n in range(2, 5):
        rotate(path)
        # Nothing is there yet, or no file at all.
        assert source.next_row(0.0) is None
        path.write_bytes(b"[%d,0]\n" % n)
        assert [(row.number, list(row.values)) for row in rows_of(source)] == [(n, [float(n), 0.0])]
    source.close()


def test_what_a_writer_adds_to_a_file_that_was_renamed_is_read_before_the_new_file(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"[1,0]\n")
    with path.open("ab") as file:
        source = JsonLines(path, FEATURES, follow=True)
        assert len(rows_of(source)) == 1
        rename(path)
        file.write(b"[2,0]\n")
    path.write_bytes(b"[3,0]\n")
    assert [(row.number, row.values[0]) for row in rows_of(source)] == [(1, 2.0), (2, 3.0)]
    source.close()


@pytest.mark.parametrize("rotate", [rename, truncate])
@pytest.mark.parametrize("end", [b"[3,", b" " * (2 * MAX_LINE_BYTES)])
def test_half_a_line_at_the_end_of_a_rotated_file_is_a_line_of_its_own(
    tmp_path: Path, rotate: Callable[[Path], None], end: bytes
):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"[1,2]\n" + end)
    source = JsonLines(path, FEATURES, follow=True)
    assert len(rows_of(source)) == 1
    rotate(path)
    path.touch()
    half = source.next_row(0.0)
    path.write_bytes(b"[3,4]\n")
    (whole,) = rows_of(source)
    assert half is not None
    assert (half.number, isinstance(half.values, Unreadable)) == (1, True)
    assert (whole.number, list(whole.values)) == (2, [3.0, 4.0])
    source.close()


def test_closing_wakes_a_reader_that_follows(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"")
    source = JsonLines(path, FEATURES, follow=True)
    answers: list[SourceRow | None] = []
    reader = threading.Thread(target=lambda: answers.append(source.next_row(60.0)))
    reader.start()
    source.close()
    reader.join(timeout=10)
    assert answers == [None]


def test_a_pipe_gives_nothing_until_a_line_is_there(tmp_path: Path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    opened: list[JsonLines] = []
    opener = threading.Thread(target=lambda: opened.append(JsonLines(path, FEATURES, cursor=7)))
    opener.start()
    with path.open("wb", buffering=0) as pipe:
        opener.join(timeout=10)
        (source,) = opened
        assert source.next_row(0.0) is None
        pipe.write(b"[1,")
        assert source.next_row(0.0) is None
        pipe.write(b"2]\n")
        row = source.next_row(10.0)
        assert row is not None
        assert row.number == 7
    assert source.next_row(10.0) is None
    assert source.at_end
    source.close()


def test_standard_input_goes_on_at_the_cursor():
    code = (
        "from edge_agent.sensing.json_lines import JsonLines\n"
        "source = JsonLines('-', ('a',), cursor=5)\n"
        "print(source.next_row(10), source.next_row(10), source.at_end)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="[1]\n", capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "SourceRow(number=5, values=[1.0]) None True\n"


def test_a_folder_is_refused(tmp_path: Path):
    with pytest.raises(SourceError, match="cannot be read"):
        rows_of(JsonLines(tmp_path, FEATURES))
