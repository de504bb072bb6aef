import json

import pytest
from typer.testing import CliRunner

from exporter.image.cli import app
from tests.unit.exporter.image.card.cards import AGENT, write_card, write_update


def run(*arguments):
    return CliRunner().invoke(app, ["card", *map(str, arguments)])


def test_it_lists_what_a_card_would_carry(tmp_path):
    path = write_card(tmp_path, card='bundle = "rain.update"')
    write_update(tmp_path)
    done = run(path, "--device", "press-7")
    assert done.exit_code == 0, done.output
    assert "good; device press-7 of fleet plant" in done.output
    assert "/data/fieldloop/slots/a/model" in done.output
    assert "systemd-resolved" in done.output


def test_machines_get_the_same_facts(tmp_path):
    told = json.loads(run(write_card(tmp_path), "--json").output)
    settings = next(file for file in told["files"] if file["path"] == "/data/card/fieldloop/agent.toml")
    assert settings["partition"] == "data"
    assert settings["mode"] == "644"
    assert "fdisk" in told["packages"]


@pytest.mark.parametrize(("agent", "why"), [(AGENT.replace("fleet", "fleat"), "did you mean 'fleet'"), ("", "missing")])
def test_what_is_wrong_is_told_with_an_exit_code_of_its_own(tmp_path, agent, why):
    done = run(write_card(tmp_path, agent))
    assert done.exit_code == 18
    assert why in done.output
