"""Enrolling by hand says what is wrong with the token before anybody is asked."""

from pathlib import Path

import pytest

from edge_agent.enrolment.by_hand import EnrolmentFailedError, enrol
from edge_agent.enrolment.identity_file import Held, write_identity
from edge_agent.errors import SettingsError
from edge_agent.settings import AgentSettings, load_settings

TOKEN = f"plant.6b07ec6d.{'x' * 43}"


@pytest.fixture
def settings(tmp_path: Path) -> AgentSettings:
    (tmp_path / "ca.pem").write_text("none")
    (tmp_path / "agent.toml").write_text(
        'device = "press-1"\nfleet = "plant"\n[enrolment]\nurl = "https://127.0.0.1:9"\nca = "ca.pem"\n'
        'token_file = "token"\n[repository]\nurl = "http://127.0.0.1:9"\nroot = "root.json"\nmodel = "m"\n'
        '[source]\nkind = "json_lines"\npath = "-"\n'
    )
    return load_settings(tmp_path / "agent.toml")


def test_a_token_that_is_not_there_is_named_with_what_makes_one(settings: AgentSettings):
    with pytest.raises(SettingsError, match=r"token: No such file.*fieldloop device token makes one"):
        enrol(settings, None, None, None)


def test_what_is_no_token_is_told_without_its_text(settings: AgentSettings, tmp_path: Path):
    (tmp_path / "token").write_text("a secret that was put there by mistake")
    with pytest.raises(SettingsError, match="not a token") as caught:
        enrol(settings, None, None, None)
    assert "secret" not in str(caught.value)


def test_a_device_that_has_a_certificate_is_told_so(settings: AgentSettings):
    state = Path(settings.state)
    state.mkdir()
    held = Held("press-1", "plant", 1.7e9, 1_800_000_000.0, 1.7e9, "127.0.0.1", 8883, "label")
    write_identity(state, held, b"key", b"chain")
    with pytest.raises(SettingsError, match=r"certificate until 2027-01-15 .*fieldloop device rotate press-1"):
        enrol(settings, None, None, None)


def test_an_endpoint_that_is_away_can_be_asked_again(settings: AgentSettings, tmp_path: Path):
    (tmp_path / "token").write_text(TOKEN)
    with pytest.raises(EnrolmentFailedError, match="not enrolled, try again later"):
        enrol(settings, None, None, None)
