"""A CSV file is replayed by name of column, at its pace, from its cursor; what is wrong with it is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import SourceError
from edge_agent.scoring.schema import Unreadable
from edge_agent.sensing.csv_replay import CsvReplay
from tests.unit.edge_agent.examples import ManualClock

FEATURES = ("t", "w")
Make = Callable[..., CsvReplay]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def build(text: str | bytes, clock: ManualClock | None = None, **options: Any) -> CsvReplay:
        path = tmp_path / "rows.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return CsvReplay(path, options.pop("columns", FEATURES), clock or ManualClock(), **options)

    return build


def numbers(replay: CsvReplay) -> list[int]:
    found = []
    while (row := replay.next_row(0.0)) is not None:
        found.append(row.number)
    return found


TEN = "t,w\n" + "".join(f"{n},{n}\n" for n in range(10))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, list(range(10))),
        ({"first_row": 2, "step": 3}, [2, 5, 8]),
        ({"first_row": 2, "step": 3, "cursor": 3}, [5, 8]),
        ({"first_row": 2, "step": 3, "cursor": 5}, [5, 8]),
        ({"first_row": 2, "step": 3, "cursor": 6}, [8]),
        ({"first_row": 2, "step": 3, "end_row": 8}, [2, 5]),
        ({"first_row": 4, "cursor": 1}, [4, 5, 6, 7, 8, 9]),
        ({"first_row": 10}, []),
        ({"end_row": 0}, []),
    ],
)
def test_rows_are_taken_by_first_row_step_end_and_cursor(make: Make, options: dict[str, int], expected: list[int]):
    replay = make(TEN, **options)
    assert numbers(replay) == expected
    assert replay.at_end


def test_the_pace_is_kept_and_a_late_reader_catches_up(make: Make):
    clock = ManualClock()
    replay = make(TEN, clock, rows_per_second=2.0)
    assert numbers(replay) == [0]
    clock.advance(0.4)
    assert numbers(replay) == []
    clock.advance(0.1)
    assert numbers(replay) == [1]
    clock.advance(1.5)
    assert numbers(replay) == [2, 3, 4]
    assert not replay.at_end


def test_values_are_the_file_s_own_text_in_the_manifest_s_order(make: Make):
    row = make('x, w ,t\n1,"2.5",\n').next_row(0.0)
    assert row is not None
    assert row.values == ("", "2.5")


def test_a_byte_order_mark_is_no_part_of_a_name(make: Make):
    assert numbers(make(b"\xef\xbb\xbft,w\n1,2\n")) == [0]


def test_one_column_is_enough(make: Make):
    row = make("t,w\n1,2\n", columns=("w",)).next_row(0.0)
    assert row is not None
    assert row.values == ("2",)


@pytest.mark.parametrize("line", ["1", "1,2,3", "", '"1', "1,2,"])
def test_a_ragged_row_keeps_its_number_and_is_unreadable(make: Make, line: str):
    replay = make(f"t,w\n0,0\n{line}\n")
    replay.next_row(0.0)
    row = replay.next_row(0.0)
    assert row is not None
    assert row.number == 1
    assert isinstance(row.values, Unreadable)


def rows_of(replay: CsvReplay) -> dict[int, object]:
    found: dict[int, object] = {}
    while (row := replay.next_row(0.0)) is not None:
        found[row.number] = None if isinstance(row.values, Unreadable) else row.values
    return found


@pytest.mark.parametrize("spoiled", ['"4,4,x', '4,"4,x', '4,4,"x'])
@pytest.mark.parametrize("more", [(), (9,), (8, 9)])
def test_a_quote_that_is_never_closed_spoils_its_own_line_only(make: Make, spoiled: str, more: tuple[int, ...]):
    stray = {4, *more}
    lines = [spoiled if n in stray else f"{n},{n},x" for n in range(12)]
    rows = rows_of(make("t,w,x\n" + "\n".join(lines) + "\n"))
    assert rows == {n: None if n in stray else (str(n), str(n)) for n in range(12)}


def test_a_stray_quote_is_passed_over_alike_by_a_replay_that_starts_behind_it(make: Make):
    text = 't,w\n0,0\n1,"1\n' + "".join(f"{n},{n}\n" for n in range(2, 3000))
    assert rows_of(make(text, cursor=2990)) == {n: (str(n), str(n)) for n in range(2990, 3000)}


def test_a_quoted_value_may_run_over_lines_and_hold_quotes(make: Make):
    rows = rows_of(make('t,x,w\n0,"one\ntwo, ""three""\n",0\n1,"a"b,1\n'))
    assert rows == {0: ("0", "0"), 1: ("1", "1")}


def test_lines_that_a_quoted_value_joins_to_no_row_are_rows_of_their_own(make: Make):
    assert rows_of(make('t,w\n0,0\n1,"1\n2,2\n3,3",3\n4,4\n')) == {
        0: ("0", "0"),
        1: None,
        2: ("2", "2"),
        3: None,
        4: ("4", "4"),
    }


@pytest.mark.parametrize("header", ['"t,w', 't,"w', '"t"x,"w'])
def test_a_header_with_an_open_quote_is_refused(make: Make, header: str):
    with pytest.raises(SourceError, match="close every quote"):
        make(f"{header}\n1,2\n3,4\n")


def test_a_field_too_large_for_csv_spoils_its_row_only(make: Make):
    replay = make(f"t,w\n0,0\n{'9' * 200_000},1\n2,2\n")
    rows = [replay.next_row(0.0) for _ in range(3)]
    assert [row.number for row in rows if row is not None] == [0, 1, 2]
    assert isinstance(rows[1] and rows[1].values, Unreadable)
    assert rows[2] is not None
    assert rows[2].values == ("2", "2")


def test_bytes_that_are_no_text_spoil_their_value_only(make: Make):
    replay = make(b"t,w\n\xff\xfe,1\n2,2\n")
    assert numbers(replay) == [0, 1]


def test_a_header_one_name_short_is_refused_with_file_row_and_counts(make: Make):
    with pytest.raises(SourceError, match=r"rows\.csv: row 0 has 3 values, the header names 2 columns"):
        make("t,w\n1,2,3\n4,5,6\n")


def test_a_missing_column_is_refused_with_file_and_column(make: Make):
    with pytest.raises(SourceError, match=r"rows\.csv: no column 'w'; its header names t, v"):
        make("t,v\n1,2\n")


def test_a_column_that_stands_twice_is_refused(make: Make):
    with pytest.raises(SourceError, match="column 'w' stands 2 times"):
        make("t,w,w\n1,2,3\n")


@pytest.mark.parametrize("content", ["", "\n1,2\n"])
def test_a_file_without_header_is_refused(make: Make, content: str):
    with pytest.raises(SourceError, match=r"rows\.csv"):
        make(content)


@pytest.mark.parametrize("options", [{"step": 0}, {"first_row": -1}, {"rows_per_second": 0.0}])
def test_a_replay_that_goes_nowhere_is_refused(make: Make, options: dict[str, Any]):
    with pytest.raises(SourceError, match="must"):
        make(TEN, **options)


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(SourceError, match="cannot be read"):
        CsvReplay(tmp_path, FEATURES, ManualClock())
