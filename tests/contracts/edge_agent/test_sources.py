"""What every source of rows must do; each implementation is held to the same checks."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.errors import SourceError
from edge_agent.raw_signal import Signal, SignalChannel
from edge_agent.sensing.csv_replay import CsvReplay
from edge_agent.sensing.json_lines import JsonLines
from edge_agent.sensing.source import Source, SourceRow
from edge_agent.sensing.windowed import Windowed
from tests.unit.edge_agent.examples import ManualClock

FEATURES = ("temperature", "wind")
ROWS = [(float(number), number / 2) for number in range(7)]

Opener = Callable[[Path, int], Source]


def _write_csv(path: Path) -> None:
    # Columns in another order than the features, and one more.
    path.write_text("wind,when,temperature\n" + "".join(f"{wind},x,{temp}\n" for temp, wind in ROWS))


def _write_objects(path: Path) -> None:
    path.write_text("".join(json.dumps({"wind": wind, "temperature": temp}) + "\n" for temp, wind in ROWS))


def _write_arrays(path: Path) -> None:
    path.write_text("".join(json.dumps([temp, wind]) + "\n" for temp, wind in ROWS))


def _write_readings(path: Path) -> None:
    _write_csv(path)
    with path.open("a") as file:
        file.write("3.5,x,7.0\n")


def _open_windows(path: Path, cursor: int) -> Source:
    # Of two readings that follow each other, the lower is the earlier one.
    channels = tuple(SignalChannel(name, ("min",)) for name in FEATURES)
    readings = CsvReplay(path, FEATURES, ManualClock(), cursor=cursor)
    return Windowed(readings, Signal(rate_hz=1.0, size=2, step=1, channels=channels), ManualClock())


KINDS: dict[str, tuple[Callable[[Path], None], Opener]] = {
    "csv": (_write_csv, lambda path, cursor: CsvReplay(path, FEATURES, ManualClock(), cursor=cursor)),
    "json objects": (_write_objects, lambda path, cursor: JsonLines(path, FEATURES, cursor=cursor)),
    "json arrays": (_write_arrays, lambda path, cursor: JsonLines(path, FEATURES, cursor=cursor)),
    "windows": (_write_readings, _open_windows),
}


@pytest.fixture(params=list(KINDS))
def open_source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[int], Source]]:
    write, opener = KINDS[request.param]
    path = tmp_path / "rows"
    write(path)
    opened: list[Source] = []

    def open_at(cursor: int) -> Source:
        opened.append(opener(path, cursor))
        return opened[-1]

    yield open_at
    for source in opened:
        source.close()


def rows_of(source: Source) -> list[SourceRow]:
    rows = []
    while (row := source.next_row(0.0)) is not None:
        rows.append(row)
    return rows


def test_gives_every_row_once_with_growing_numbers(open_source):
    rows = rows_of(open_source(0))
    assert [row.number for row in rows] == list(range(len(ROWS)))
    assert [tuple(float(value or 0) for value in row.values) for row in rows] == ROWS


def test_is_at_its_end_only_after_the_last_row(open_source):
    source = open_source(0)
    assert not source.at_end
    rows_of(source)
    assert source.at_end
    assert source.next_row(0.0) is None


@pytest.mark.parametrize("cursor", [0, 1, 3, 6])
def test_goes_on_at_its_cursor_with_the_same_numbers(open_source, cursor: int):
    assert rows_of(open_source(cursor)) == rows_of(open_source(0))[cursor:]


def test_rows_that_are_there_are_given_together_up_to_the_limit(open_source):
    source = open_source(0)
    rows = source.ready_rows(3)
    assert [row.number for row in rows] == [0, 1, 2]
    assert rows + source.ready_rows(100) == rows_of(open_source(0))
    assert source.ready_rows(3) == []


def test_a_cursor_beyond_the_end_gives_nothing(open_source):
    source = open_source(len(ROWS))
    assert rows_of(source) == []
    assert source.at_end


def test_a_closed_source_gives_nothing(open_source):
    source = open_source(0)
    source.close()
    assert source.next_row(0.0) is None
    assert source.at_end


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_file_that_is_not_there_is_named(kind: str, tmp_path: Path):
    with pytest.raises(SourceError, match="absent"):
        KINDS[kind][1](tmp_path / "absent", 0)


def test_sources_leave_no_descriptor_open(open_source):
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers, not paths
    for _ in range(3):
        open_source(2).close()
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208
