import re
from typing import Any

import msgspec
import pytest

from edge_agent.settings import AgentSettings, EnrolmentSettings, load_settings
from tests.conftest import REPOSITORY
from tests.docs.blocks import parse_page

# Keys whose default is None, or whose shown value is an example.
_EXAMPLES = {
    *("ca", "certificate", "key", "end_row", "prefer", "trial_max_memory_bytes"),
    *("port", "topic", "username", "password_env", "password_file", "factory", "keep"),
}
_COMMENTED = re.compile(r"^# (?=\[|[a-z_]+ = )", re.MULTILINE)
_SHOWN_DEFAULT = re.compile(r"^# ([a-z_]+) = ", re.MULTILINE)


@pytest.fixture(scope="module")
def settings_text() -> str:
    steps = parse_page((REPOSITORY / "docs" / "guides" / "agent.md").read_text(encoding="utf-8"))
    (text,) = (step.text for step in steps if step.detail == "agent.toml")
    return text


def test_the_page_shows_every_key_of_the_settings(settings_text: str) -> None:
    shown = set(re.findall(r"^(?:# )?([a-z_]+) = ", settings_text, re.MULTILINE))
    sections = {"broker", "repository", "source", "sink", "scoring", "telemetry"}
    # That one is in place of broker.certificate, and has a page of its own.
    keys = set(AgentSettings.__struct_fields__) - sections - {"enrolment"}
    for section in sections:
        keys |= set(_type_of(section).__struct_fields__)
    assert shown == keys


def test_the_page_on_identity_shows_every_key_of_enrolment_and_the_true_defaults() -> None:
    steps = parse_page((REPOSITORY / "docs" / "guides" / "identity.md").read_text(encoding="utf-8"))
    (text,) = (step.text for step in steps if step.detail == "agent.toml")
    section = text.partition("[enrolment]\n")[2].partition("\n[")[0]
    fields = {field.name: field for field in msgspec.structs.fields(EnrolmentSettings)}
    assert set(re.findall(r"^(?:# )?([a-z_]+) = ", section, re.MULTILINE)) == set(fields)
    defaults = dict(re.findall(r"^# ([a-z_]+) = ([0-9.]+)", section, re.MULTILINE))
    assert {name: float(value) for name, value in defaults.items()} == {
        name: pytest.approx(fields[name].default, abs=0.01) for name in defaults
    }


def test_the_settings_load_with_every_key_uncommented_and_show_the_true_defaults(settings_text: str, tmp_path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(_COMMENTED.sub("", settings_text))
    everything = load_settings(file)
    file.write_text(settings_text)
    defaults = load_settings(file)
    shown = set(_SHOWN_DEFAULT.findall(settings_text)) - _EXAMPLES
    assert _flat(everything, shown) == _flat(defaults, shown)


def _type_of(section: str) -> Any:
    field = next(each for each in msgspec.structs.fields(AgentSettings) if each.name == section)
    return field.type


def _flat(settings: AgentSettings, names: set[str]) -> dict[str, object]:
    values = msgspec.to_builtins(settings)
    flat: dict[str, object] = dict(values)
    for section in values.values():
        if isinstance(section, dict):
            flat |= section
    return {name: flat[name] for name in names}
