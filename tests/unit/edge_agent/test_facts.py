"""What the board says of itself is told, and what cannot be is left out."""

from pathlib import Path

import pytest

from edge_agent import facts
from edge_agent.facts import read_resources


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("48312", 48.312),
        ("-100000", -100.0),
        ("200000", 200.0),
        ("-274000", None),
        ("-100001", None),
        ("200001", None),
        ("9" * 400, None),
        ("", None),
        ("warm", None),
    ],
)
def test_a_temperature_that_no_board_has_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, expected: float | None
):
    sensor = tmp_path / "temp"
    sensor.write_text(told)
    monkeypatch.setattr(facts, "_THERMAL", sensor)
    assert read_resources(tmp_path).temperature_c == expected


def test_a_board_without_a_sensor_has_no_temperature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(facts, "_THERMAL", tmp_path / "absent")
    assert read_resources(tmp_path).temperature_c is None


@pytest.mark.parametrize(
    ("told", "expected"),
    [("0", False), ("0\n", False), ("50005", True), ("0x50000", True), ("4", True), ("", None), ("warm", None)],
)
def test_a_pi_tells_whether_it_is_or_was_throttled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, expected: object
):
    (tmp_path / "get_throttled").write_text(told)
    monkeypatch.setattr(facts, "_THROTTLED", tmp_path / "get_throttled")
    monkeypatch.setattr(facts, "_COOLING", tmp_path)
    assert read_resources(tmp_path).throttled is expected


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ({"thermal-cpufreq-0": "0", "thermal-cpufreq-1": "0"}, False),
        ({"thermal-cpufreq-0": "0", "Processor CPU": "2"}, True),
        ({"pwm-fan": "3"}, None),
        ({"thermal-cpufreq-0": "much"}, None),
        ({}, None),
    ],
)
def test_another_board_tells_by_its_cooling_devices_whether_its_processor_is_held_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: dict[str, str], expected: object
):
    for number, (kind, state) in enumerate(devices.items()):
        folder = tmp_path / f"cooling_device{number}"
        folder.mkdir()
        (folder / "type").write_text(f"{kind}\n")
        (folder / "cur_state").write_text(f"{state}\n")
    monkeypatch.setattr(facts, "_THROTTLED", tmp_path / "absent")
    monkeypatch.setattr(facts, "_COOLING", tmp_path)
    assert read_resources(tmp_path).throttled is expected


def test_the_processors_time_is_told_to_the_millisecond(tmp_path: Path):
    cpu_s = read_resources(tmp_path).cpu_s
    assert cpu_s == round(cpu_s, 3)
