"""A file that is rotated while the agent is down loses no row, repeats none, or says that it did."""

import gzip
import os
from pathlib import Path

import pytest

from edge_agent.sensing.json_lines import JsonLines

FEATURES = ("a", "b")


class Writer:
    """A program that writes rows to one name; each row says which it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0
        self.clock_ns = 1_700_000_000_000_000_000

    def write(self, n_rows: int) -> None:
        with self.path.open("a") as file:
            file.writelines(f"[{self.written + n}, 0]\n" for n in range(n_rows))
        self.written += n_rows
        # Rotations of one test are closer together than a file system tells.
        self.clock_ns += 1_000_000_000
        os.utime(self.path, ns=(self.clock_ns, self.clock_ns))

    def rotate(self, *, compress: bool = False, copy: bool = False) -> None:
        older = sorted(self.path.parent.glob(f"{self.path.name}.[0-9]"), reverse=True)
        for path in older:
            path.rename(path.with_suffix(f".{int(path.suffix[1:]) + 1}"))
        first = self.path.with_name(f"{self.path.name}.1")
        if compress:
            first.with_suffix(".1.gz").write_bytes(gzip.compress(self.path.read_bytes()))
            self.path.unlink()
        elif copy:
            first.write_bytes(self.path.read_bytes())
            os.utime(first, ns=(self.clock_ns, self.clock_ns))
            self.path.write_bytes(b"")
        else:
            self.path.rename(first)


class Reader:
    """An agent: what it took is counted when it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cursor = 0
        self.numbers: list[int] = []
        self.rows: list[int] = []

    def run(self, at_most: int = 1000) -> None:
        marks = self.path.parent / "state" / "followed.json"
        source = JsonLines(self.path, FEATURES, cursor=self.cursor, follow=True, marks=marks)
        for _ in range(at_most):
            row = source.next_row(0.0)
            if row is None:
                break
            self.numbers.append(row.number)
            self.rows.append(int(float(row.values[0] or 0)))
            self.cursor = row.number + 1
        source.close()


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "rows.jsonl")


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return Reader(writer.path)


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("unread", [0, 7])
@pytest.mark.parametrize("rotations", [1, 2, 3])
def test_what_was_rotated_while_nobody_followed_is_read_in_order(
    writer: Writer, reader: Reader, rotations: int, unread: int, *, copy: bool
):
    writer.write(50)
    reader.run(50 - unread)
    for _ in range(rotations):
        writer.rotate(copy=copy)
        writer.write(40)
    reader.run()
    assert reader.rows == list(range(writer.written))
    assert reader.numbers == reader.rows
    writer.write(3)
    reader.run()
    assert reader.rows == list(range(writer.written))


def test_a_cursor_in_a_file_before_the_last_rotation_is_found_too(writer: Writer, reader: Reader):
    writer.write(50)
    reader.run(30)
    counted = reader.cursor
    reader.run()
    writer.rotate()
    writer.write(40)
    reader.run()
    # Killed before any window of these was durable.
    reader.cursor, reader.numbers, reader.rows = counted, [], []
    reader.run()
    assert reader.rows == list(range(30, 90))
    assert reader.numbers == reader.rows


@pytest.mark.parametrize("follows", [True, False])
def test_a_short_file_is_known_again_after_it_grew(writer: Writer, reader: Reader, follows: bool):  # noqa: FBT001
    writer.write(1)
    reader.run()
    writer.write(80)
    if follows:
        reader.run()
    writer.rotate()
    writer.write(2)
    reader.run()
    assert reader.rows == list(range(writer.written))


def test_an_older_file_that_was_read_is_not_read_again(writer: Writer, reader: Reader):
    for _ in range(3):
        writer.write(40)
        reader.run()
        writer.rotate()
    writer.write(40)
    reader.run()
    assert reader.rows == list(range(160))


def test_what_was_compressed_is_lost_and_told_and_numbers_go_on(
    writer: Writer, reader: Reader, caplog: pytest.LogCaptureFixture
):
    writer.write(50)
    reader.run(45)
    writer.rotate(compress=True)
    writer.write(40)
    reader.run()
    assert reader.rows == [*range(45), *range(50, 90)]
    assert reader.numbers == list(range(85))
    assert "is gone; what was not read of it is lost" in caplog.text
    # The new file was written down: it is told once.
    caplog.clear()
    writer.write(1)
    reader.run()
    assert caplog.text == ""
    assert reader.rows[-1] == 90


def test_a_file_that_was_begun_anew_with_the_same_first_lines_is_new(
    writer: Writer, reader: Reader, caplog: pytest.LogCaptureFixture
):
    writer.path.write_text("[1, 0]\n" * 100)
    reader.run()
    writer.path.write_text("[1, 0]\n" * 60)
    reader.run()
    assert len(reader.rows) == 160
    assert reader.numbers == list(range(160))
    assert "its content is new" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b'[{"first": "x"}]', b"\xff"])
def test_marks_that_cannot_be_read_are_told_and_do_not_stop_the_source(
    writer: Writer, reader: Reader, content: bytes, caplog: pytest.LogCaptureFixture
):
    writer.write(5)
    reader.run()
    (writer.path.parent / "state" / "followed.json").write_bytes(content)
    writer.write(5)
    reader.run()
    assert reader.rows == list(range(10))
    assert "may be missed" in caplog.text


def test_marks_that_cannot_be_written_do_not_stop_the_source(
    writer: Writer, reader: Reader, caplog: pytest.LogCaptureFixture
):
    (writer.path.parent / "state").write_text("a file where the folder should be")
    writer.write(5)
    reader.run()
    assert reader.rows == list(range(5))
    assert "may be missed" in caplog.text
