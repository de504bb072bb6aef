"""The source of the settings gives readings to a bundle that makes windows of them, and rows to one that does not."""

import builtins
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from edge_agent.bundle import Inputs
from edge_agent.errors import SourceError
from edge_agent.raw_signal import feature_names
from edge_agent.scoring.schema import Unreadable
from edge_agent.sensing.inference_protocol import parse_inference
from edge_agent.sensing.source import Source
from edge_agent.settings import SourceSettings
from edge_agent.sources import SourceOpener, Surroundings
from tests.unit.edge_agent.examples import ManualClock
from tests.unit.edge_agent.signals import vibration

SIGNAL = vibration(size=4, step=2, bands=(), channels=vibration().channels[1:])
INPUTS = Inputs(feature_names(SIGNAL), SIGNAL)


def opener(path: Path | str | None, kind: str = "csv", state: Path = Path(), **changes: object) -> SourceOpener:
    settings = SourceSettings(kind=kind, path=None if path is None else str(path), **changes)  # type: ignore[arg-type]
    return SourceOpener(settings, Surroundings("one", state, ManualClock(), lambda: 0, lambda: None))


def rows_of(source: Source) -> list[tuple[int, Sequence[object]]]:
    rows: list[tuple[int, Sequence[object]]] = []
    while not source.at_end:
        rows += [(row.number, row.values) for row in source.ready_rows(10)]
    source.close()
    return rows


@pytest.fixture
def readings(tmp_path: Path) -> Path:
    path = tmp_path / "readings.csv"
    path.write_text("when,y\n" + "".join(f"{n},{n % 5}\n" for n in range(9)))
    return path


def test_windows_are_made_of_the_readings_of_a_file(readings: Path):
    rows = rows_of(opener(readings).open(INPUTS, 0))
    assert [(number, values[0]) for number, values in rows] == [(1, 3.0), (3, 4.0), (5, 4.0)]


def test_windows_go_on_at_the_cursor(readings: Path):
    assert rows_of(opener(readings).open(INPUTS, 2)) == rows_of(opener(readings).open(INPUTS, 0))[1:]


def test_readings_may_be_lines_of_json(tmp_path: Path):
    path = tmp_path / "readings.jsonl"
    path.write_text("".join(f'{{"y": {n % 5}}}\n' for n in range(9)))
    assert [values[0] for _, values in rows_of(opener(path, "json_lines").open(INPUTS, 0))] == [3.0, 4.0, 4.0]


def test_the_settings_may_name_the_columns_of_a_reading(readings: Path):
    assert rows_of(opener(readings, columns=("when",)).open(INPUTS, 0))[0][1][0] == 3.0
    with pytest.raises(SourceError, match="names 2 columns, the bundle takes 1 columns of a reading: y"):
        opener(readings, columns=("when", "y")).open(INPUTS, 0)


def test_a_bundle_whose_readings_the_source_does_not_have_is_refused_before_its_trial(readings: Path):
    opener(readings).verify(INPUTS)
    with pytest.raises(SourceError, match="no column 'x'"):
        opener(readings).verify(Inputs(feature_names(vibration()), vibration()))
    # It has what would be a row's features, but that is not what this bundle takes.
    with pytest.raises(SourceError, match="no column 'y_max'"):
        opener(readings).verify(Inputs(feature_names(SIGNAL)))


def test_standard_input_is_not_given_to_other_windows(monkeypatch: pytest.MonkeyPatch, readings: Path):
    with readings.open(encoding="utf-8") as standard_input:
        monkeypatch.setattr("sys.stdin", standard_input)
        one = opener("-", "json_lines")
        one.open(INPUTS, 0)
        one.verify(INPUTS)
        other = vibration(size=6, step=2, bands=(), channels=vibration().channels[1:])
        with pytest.raises(SourceError, match="standard input is being read for other"):
            one.verify(Inputs(INPUTS.features, other))


def test_without_numpy_a_bundle_of_windows_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch, readings: Path):
    real = builtins.__import__

    def without_numpy(
        name: str,
        globals_: Mapping[str, object] | None = None,
        locals_: Mapping[str, object] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        if name == "edge_agent.sensing.windowed":
            raise ImportError("No module named 'numpy'", name="numpy")
        return real(name, globals_, locals_, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", without_numpy)
    for source in (opener(readings), opener("-", "json_lines")):
        with pytest.raises(SourceError, match="need numpy"):
            source.verify(INPUTS)


def test_windows_of_a_live_source_are_made_again_after_a_restart(tmp_path: Path):
    def windows(cursor: int) -> list[tuple[int, Sequence[object]]]:
        live = opener(tmp_path / "socket", "socket", tmp_path)
        assert live.inlet is not None
        source = live.open(INPUTS, cursor)
        if cursor == 0:
            live.inlet.offer([f'{{"y": {n % 5}}}'.encode() for n in range(9)])
        rows: list[tuple[int, Sequence[object]]] = [(row.number, row.values) for row in source.ready_rows(10)]
        live.close()
        return rows

    first = windows(0)
    assert [(number, values[0]) for number, values in first] == [(1, 3.0), (3, 4.0), (5, 4.0)]
    assert windows(2) == first[1:]


def test_over_http_a_row_is_a_whole_window_with_the_features_that_a_file_of_its_readings_gives(
    readings: Path, tmp_path: Path
):
    source = opener(None, "http", tmp_path, port=0)
    source.verify(INPUTS)
    opened = source.open(INPUTS, 0)
    assert source.inlet is not None
    windows = [[float((start + n) % 5) for n in range(4)] for start in (0, 2, 4)]
    body = {"inputs": [{"name": "windows", "datatype": "FP32", "shape": [3, 4, 1], "data": windows}]}
    source.inlet.offer(parse_inference(json.dumps(body).encode(), None, ("y",), 8, SIGNAL).payloads)
    expected = [list(values) for _, values in rows_of(opener(readings).open(INPUTS, 0))]
    assert [list(row.values) for row in opened.ready_rows(8)] == expected
    source.close()


def test_rows_that_waited_for_another_sort_of_bundle_are_refused_and_not_mistaken(tmp_path: Path):
    plain, other = Inputs(("a", "b")), Inputs(feature_names(vibration()), vibration())
    window = msgspec.msgpack.encode([1.0, None, 3.0, 4.0])
    row = msgspec.msgpack.encode({"a": 1.0, "b": 2.0})
    for inputs, payload in ((plain, window), (INPUTS, row), (other, window)):
        source = opener(None, "http", tmp_path / str(id(inputs)), port=0)
        opened = source.open(inputs, 0)
        assert source.inlet is not None
        source.inlet.offer([payload])
        (taken,) = opened.ready_rows(8)
        assert isinstance(taken.values, Unreadable)
        source.close()
