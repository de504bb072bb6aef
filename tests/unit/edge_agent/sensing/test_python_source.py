"""The user's own sensor code: found, run, held back, called again when it breaks, and closed."""

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from edge_agent.errors import SettingsError
from edge_agent.scoring.schema import Unreadable
from edge_agent.sensing.inlet import Inlet
from edge_agent.sensing.journal import Journal
from edge_agent.sensing.json_rows import parse_packed_row
from edge_agent.sensing.plugin import SOURCES, load_factory
from edge_agent.sensing.python_source import Factory, PythonRows
from edge_agent.sensing.source import Source, SourceRow
from tests.conftest import REPOSITORY
from tests.unit.edge_agent.sensing.simulated_bus import Bus
from tests.waiting import wait_until

FEATURES = ("temperature", "pressure", "vibration")
EXAMPLES = REPOSITORY / "docs" / "guides" / "sensors"


class Sensor:
    """A sensor's code on an inlet, as the agent runs it."""

    def __init__(self, folder: Path, factory: Factory, max_waiting: int = 64, **options: Any) -> None:
        journal = Journal(folder / "kept", 0, lambda: 0, max_bytes=1 << 20, is_synced=False)
        self.inlet = Inlet(journal, parse_packed_row, 0, max_waiting)
        self.source: Source = self.inlet.open(FEATURES, 0)
        self.rows = PythonRows(factory, options, self.inlet, "sensor", rest_s=0.01)
        self.rows.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.inlet.close()
        self.rows.close()

    def take(self, n: int) -> list[SourceRow]:
        rows: list[SourceRow] = []

        def are_all_there() -> bool:
            rows.extend(self.source.ready_rows(n - len(rows)))
            return len(rows) == n

        wait_until(are_all_there, 20, f"{n} rows come")
        return rows


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    for name in ("serial_lines", "i2c_pressure"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("examples")
def test_the_example_of_a_serial_line_reads_a_device_and_finds_it_again_when_it_was_gone(tmp_path: Path):
    device = tmp_path / "ttyUSB0"
    # A pseudo terminal is a serial device to the program that opens it.
    sensor_side, agent_side = os.openpty()
    device.symlink_to(os.ttyname(agent_side))
    factory = load_factory(SOURCES, "serial_lines:open_rows", "source.factory")
    with Sensor(tmp_path, factory, device=str(device), baud=9600) as sensor:
        wait_until_read(sensor, sensor_side)
        os.write(sensor_side, b"T=21.4;P=1013.2;V=0.03\nT=21.5;V=x\n\r\nT=2")
        os.write(sensor_side, b"1.6;P=1013.0;V=-0.01\r\n")
        rows = sensor.take(3)
        assert [list(row.values) for row in rows] == [
            ["21.4", "1013.2", "0.03"],
            ["21.5", None, "x"],
            ["21.6", "1013.0", "-0.01"],
        ]
        # The plug is pulled, and put in again.
        os.close(agent_side)
        os.close(sensor_side)
        wait_until(lambda: sensor.rows.failures > 0, 10, "the loss is noticed")
        sensor_side, agent_side = os.openpty()
        device.unlink()
        device.symlink_to(os.ttyname(agent_side))
        wait_until_read(sensor, sensor_side)
    os.close(agent_side)
    os.close(sensor_side)


def wait_until_read(sensor: Sensor, sensor_side: int) -> None:
    """Let the device speak until it is heard: what it said before it was opened is lost, as on any line."""

    def is_heard() -> bool:
        os.write(sensor_side, b"T=1;P=2;V=3\n")
        return sensor.inlet.n_waiting > 0

    wait_until(is_heard, 20, "it is read")
    # What it said too often.
    wait_until(lambda: not sensor.source.next_row(0.2), 10, "all is read")


@pytest.mark.usefixtures("examples")
def test_the_example_of_an_i2c_sensor_reads_a_simulated_bus_through_its_faults(tmp_path: Path):
    factory = load_factory(SOURCES, "i2c_pressure:open_rows", "source.factory")
    opened, closed = Bus.opened, Bus.closed
    bus = f"{Bus.__module__}:{Bus.__name__}"
    with Sensor(tmp_path, factory, bus=bus, number=1, period_s=0.005) as sensor:
        (row, *_) = sensor.take(3)
        assert row.values == pytest.approx([21.3984375, 1013.2, -0.03])
        Bus.faults = 2
        wait_until(lambda: sensor.rows.failures == 2, 10, "both faults were met")
        sensor.take(3)
    # Each opening was given back.
    wait_until(lambda: Bus.closed - closed == Bus.opened - opened == 3, 10, "the bus is given back")


def test_what_is_no_row_is_refused_in_its_place_and_numbers_of_other_libraries_are_numbers(tmp_path: Path):
    given: list[Any] = [
        {"temperature": np.float32(1.5), "pressure": 2, "vibration": float("nan")},
        (1, None, "3.5"),
        "a text",
        b"bytes",
        7,
        None,
        {"temperature": object()},
        {1: 2},
        [float("inf"), True, 0],
    ]
    with Sensor(tmp_path, lambda _: given) as sensor:
        rows = sensor.take(len(given))
        assert [row.number for row in rows] == list(range(len(given)))
        assert list(rows[0].values)[:2] == [1.5, 2]
        assert str(rows[0].values[2]) == "nan"
        assert list(rows[1].values) == [1, None, "3.5"]
        assert all(isinstance(row.values, Unreadable) for row in rows[2:8])
        assert list(rows[8].values) == [float("inf"), "true", 0]
        wait_until(lambda: sensor.source.at_end, 10, "it has ended with its code")


def test_code_is_not_asked_for_the_next_row_while_there_is_no_room(tmp_path: Path):
    asked: list[int] = []

    def count(_: Mapping[str, object]) -> Iterator[list[int]]:
        for number in range(1000):
            asked.append(number)
            yield [number, 0, 0]

    with Sensor(tmp_path, count, max_waiting=4) as sensor:
        wait_until(lambda: len(asked) == 5, 10, "one row more than fits was made")
        threading.Event().wait(0.1)
        assert len(asked) == 5
        assert [row.values[0] for row in sensor.take(20)] == list(range(20))


def test_code_that_always_breaks_is_called_again_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    def broken(_: Mapping[str, object]) -> Iterator[list[int]]:
        raise ZeroDivisionError

    with Sensor(tmp_path, broken) as sensor:
        wait_until(lambda: sensor.rows.failures >= 3, 10, "it was called again")
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.at_all:rows", "cannot be imported"),
        ("json:nothing", "there is no 'nothing' in .*json/__init__.py"),
        ("json:__doc__", "no function"),
        ("unknown", "no entry point 'unknown' in the group 'fieldloop.sources'; installed: gauge"),
    ],
)
def test_code_that_is_not_there_is_a_problem_of_the_settings(name: str, said: str, monkeypatch: pytest.MonkeyPatch):
    installed = EntryPoints([EntryPoint("gauge", "json:loads", SOURCES)])
    monkeypatch.setattr("importlib.metadata.entry_points", installed.select)
    with pytest.raises(SettingsError, match=said) as refused:
        load_factory(SOURCES, name, "source.factory")
    assert "key 'source.factory'" in str(refused.value)
    import json

    assert load_factory(SOURCES, "gauge", "source.factory") is json.loads
