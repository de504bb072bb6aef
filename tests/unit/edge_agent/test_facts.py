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
