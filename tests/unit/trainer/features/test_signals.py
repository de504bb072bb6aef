"""Raw readings become rows to learn from: windows of one recording, labelled by the stated rule."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from edge_agent.clock import SystemClock
from edge_agent.raw_signal import columns_of
from edge_agent.sensing.csv_replay import CsvReplay
from edge_agent.sensing.windowed import Windowed
from tests.unit.trainer.features.small_project import write_project
from trainer.errors import DataError
from trainer.features.source import read_source
from trainer.features.store import extract
from trainer.project.project import LoadedProject

SIGNAL = """
[signal]
rate_hz = 10
size = 4
step = 2
{more}

[[signal.channels]]
name = "x"
statistics = ["mean", "max"]
"""


def signal(more: str = "") -> str:
    return SIGNAL.format(more=more)


def readings(values: str, qualities: str = "", **columns: str) -> str:
    """A file of readings: words of each column, ``-`` for a missing one."""
    table = {"x": values.split(), "quality": qualities.split() or ["good"] * len(values.split())}
    table |= {name: words.split() for name, words in columns.items()}
    rows = zip(*table.values(), strict=True)
    return "\n".join([",".join(table), *(",".join("" if v == "-" else v for v in row) for row in rows)]) + "\n"


def read(loaded: LoadedProject) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = read_source(loaded).to_pydict()
    return columns


def test_a_row_is_a_window_of_readings(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, readings("1 2 3 4 5 6 7"), features=signal())
    assert read(loaded) == {"x.x_mean": [2.5, 4.5], "x.x_max": [4.0, 6.0], "truth": ["good", "good"]}


def test_parquet_and_csv_files_of_the_same_readings_are_read_alike(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=40).astype(np.float32)
    pa.parquet.write_table(pa.table({"x": x, "quality": ["good"] * 40}), tmp_path / "stored")
    from_text = read(write_project(tmp_path, readings(" ".join(map(str, x.tolist()))), features=signal()))
    assert read(write_project(tmp_path, (tmp_path / "stored").read_bytes(), features=signal())) == from_text
    short = readings(" ".join(f"{v}" for v in x))
    assert read(write_project(tmp_path, short, features=signal())) == from_text


@pytest.mark.parametrize(
    ("rule", "qualities", "expected"),
    [
        ("last", "a a a b b c", ["b", "c"]),
        ("majority", "a a a b b c", ["a", "b"]),
        # Of equally many the later.
        ("majority", "a a b b a a", ["b", "a"]),
        ("unanimous", "a a a a b b", ["a"]),
    ],
)
def test_a_window_is_labelled_by_the_stated_rule(
    tmp_path: Path, rule: str, qualities: str, expected: list[str]
) -> None:
    loaded = write_project(tmp_path, readings("1 2 3 4 5 6", qualities), features=signal(f'label = "{rule}"'))
    assert read(loaded)["truth"] == expected


@pytest.mark.parametrize(("rule", "expected"), [("last", [4.0, 6.0]), ("mean", [2.5, 4.5])])
def test_a_value_is_that_of_the_last_reading_or_the_mean(tmp_path: Path, rule: str, expected: list[float]) -> None:
    text = readings("1 1 1 1 1 1", "1 2 3 4 5 6")
    loaded = write_project(tmp_path, text, features=signal(f'label = "{rule}"'), target='task = "regression"')
    assert read(loaded)["truth"] == expected


def test_no_window_reaches_from_one_recording_into_another(tmp_path: Path) -> None:
    text = readings("1 2 3 4 5 6 7 8 9", run="a a a a a b b b b")
    assert read(write_project(tmp_path, text, features=signal('recording = "run"')))["x.x_max"] == [4.0, 9.0]


def test_no_window_reaches_from_one_entity_into_another(tmp_path: Path) -> None:
    text = readings("1 2 3 4 5 6 7 8 9", machine="a a a a a b b b b")
    columns = read(write_project(tmp_path, text, data='entity = "machine"', features=signal()))
    assert columns["x.x_max"] == [4.0, 9.0]
    assert columns["entity"] == ["a", "b"]


def test_no_window_reaches_over_a_gap_in_time(tmp_path: Path) -> None:
    text = readings("1 2 3 4 5 6 7 8 9", t="0 .1 .2 .3 .4 1.4 1.5 1.6 1.7")
    assert read(write_project(tmp_path, text, features=signal('time = "t"')))["x.x_max"] == [4.0, 9.0]


def test_no_window_reaches_from_file_to_file(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, readings("1 2 3 4 5"), readings("6 7 8 9"), features=signal())
    assert read(loaded)["x.x_max"] == [4.0, 9.0]


def test_the_rows_of_a_project_count_readings(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, readings("1 2 3 4 5 6 7 8"), data="rows = [1, 7]", features=signal())
    assert read(loaded)["x.x_max"] == [5.0, 7.0]


def test_a_window_that_a_device_would_refuse_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = readings("1 2 3 - 5 6 7 8 9 10")
    with caplog.at_level(logging.WARNING):
        assert read(write_project(tmp_path, text, features=signal()))["x.x_max"] == [8.0, 10.0]
    assert "2 of 4 windows that lack readings: left out" in caplog.text
    flagged = signal() + "".join(f'[[features]]\nname = "x_{s}"\non_missing = "flag"\n' for s in ("mean", "max"))
    assert str(read(write_project(tmp_path, text, features=flagged))["x.x_max"]) == "[nan, nan, 8.0, 10.0]"
    held = signal("max_missing = 1")
    assert read(write_project(tmp_path, text, features=held))["x.x_max"] == [3.0, 6.0, 8.0, 10.0]


def test_windows_with_several_labels_are_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded = write_project(tmp_path, readings("1 2 3 4 5 6", "a a a a b b"), features=signal('label = "unanimous"'))
    with caplog.at_level(logging.WARNING):
        read(loaded)
    assert "1 of 2 windows with several labels: left out" in caplog.text


def test_without_a_window_there_is_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no window of 4 readings"):
        read_source(write_project(tmp_path, readings("1 2 3"), features=signal()))


@pytest.mark.parametrize(("more", "column"), [("", "x"), ('time = "x2"', "x2"), ('recording = "run"', "run")])
def test_a_column_that_is_not_there_is_named(tmp_path: Path, more: str, column: str) -> None:
    text = readings("1 2 3 4 5") if more else readings("1 2 3 4 5").replace("x,", "z,", 1)
    with pytest.raises(DataError, match=f"column '{column}': there is no such column"):
        read_source(write_project(tmp_path, text, features=signal(more)))


def test_a_reading_that_is_no_number_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 2, column 'x': 'odd' is not a number"):
        read_source(write_project(tmp_path, readings("1 2 odd 4 5"), features=signal()))


def test_a_change_of_the_windows_is_read_anew(tmp_path: Path) -> None:
    text = readings("1 2 3 4 5 6")
    assert extract(write_project(tmp_path, text, features=signal()), 0.0).rows.shape == (2, 2)
    changed = write_project(tmp_path, text, features=signal().replace("step = 2", "step = 1"))
    assert extract(changed, 0.0).rows.shape == (3, 2)


def test_a_device_that_replays_the_file_gets_the_rows_that_were_learnt_from(tmp_path: Path, shared_data: Path) -> None:
    stored = (shared_data / "gas_turbine" / "gt_2011.csv").read_text(encoding="utf-8")
    text = "".join(f"{line}\n" for line in stored.splitlines()[:3000]).replace("NOX", "quality", 1)
    more = """
bands = [{ low_hz = 0, high_hz = 1 }, { low_hz = 1, high_hz = 5 }]

[[signal.channels]]
name = "AT"
statistics = ["std", "rms", "peak_to_peak", "zero_crossings", "mean_crossings", "band_energy"]

[[signal.channels]]
name = "CDP"
statistics = ["mean", "min", "max", "band_energy"]
"""
    # Hourly rows, taken for a signal of ten readings a second.
    lines = (
        signal().replace("size = 4", "size = 24").replace("step = 2", "step = 6").partition("\n[[signal.channels]]")[0]
    )
    loaded = write_project(tmp_path, text, features=lines + more, target='task = "regression"')
    section = loaded.project.signal
    assert section is not None
    clock = SystemClock()
    replay = CsvReplay(loaded.data_paths[0], columns_of(section.declared), clock)
    source = Windowed(replay, section.declared, clock)
    rows = []
    while not source.at_end:
        rows += source.ready_rows(100)
    given = np.array([row.values for row in rows], dtype=np.float32)
    learnt = extract(loaded, 0.0).rows
    assert learnt.shape == (1 + (2999 - 24) // 6, 12)
    np.testing.assert_array_equal(given.view(np.uint32), learnt.view(np.uint32))
