"""How long an update waits is a time that ends, and one that a timer can be set to."""

from pathlib import Path

import pytest

from edge_agent.errors import SettingsError
from edge_agent.settings import load_settings

KEYS = (
    "repository.timeout_s",
    "repository.stage_timeout_s",
    "repository.retry_min_s",
    "repository.retry_max_s",
    "telemetry.resend_after_s",
    "telemetry.max_window_s",
    "source.rows_per_second",
)


def settings_with(path: Path, key: str, value: str) -> Path:
    """Write settings of which only one value is not the default's."""
    section, name = key.split(".")
    tables = {
        "repository": 'url = "http://127.0.0.1:8080"\nroot = "root.json"\nmodel = "rain"\n',
        "source": 'kind = "csv"\npath = "rows.csv"\n',
        "telemetry": "",
    }
    tables[section] += f"{name} = {value}\n"
    text = 'device = "station-1"\nfleet = "weather"\n'
    text += "".join(f"[{table}]\n{lines}" for table, lines in tables.items())
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e300", "0.0"])
@pytest.mark.parametrize("key", KEYS)
def test_a_time_that_never_ends_is_refused_by_its_key(tmp_path: Path, key: str, value: str):
    with pytest.raises(SettingsError, match=f"key '{key}': expected `float"):
        load_settings(settings_with(tmp_path / "agent.toml", key, value))


@pytest.mark.parametrize("key", [key for key in KEYS if key != "repository.retry_min_s"])
def test_a_week_is_a_time(tmp_path: Path, key: str):
    load_settings(settings_with(tmp_path / "agent.toml", key, "604800"))
