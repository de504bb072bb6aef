"""`fieldloop wire decode` reads any captured payload; `fieldloop broker up` says what is wrong."""

import json
import socket

import pytest
from typer.testing import CliRunner

from broker.cli import app
from broker.messages import MAX_BYTES
from broker.topics import Channel
from tests.unit.broker.wire_examples import V1, file_of, payload_of

RUN = CliRunner()


@pytest.mark.parametrize("channel", Channel)
def test_a_captured_payload_is_printed_with_the_names_of_its_fields(channel):
    result = RUN.invoke(app, ["wire", "decode", channel.value, str(file_of(1, channel))])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.output)
    assert printed["channel"] == channel.value
    key, body = V1[channel]
    assert (printed["record"] is None) == (key is None)
    assert set(printed["body"]) >= set(body.__struct_fields__)


def test_a_payload_is_read_from_standard_input():
    result = RUN.invoke(app, ["wire", "decode", "command", "-", "--json"], input=payload_of(V1[Channel.COMMAND]))
    assert json.loads(result.output)["body"]["order"] == {
        "type": "ask_labels",
        "ask_id": "ask-12",
        "rows": 30,
        "max_bytes": 32768,
        "uncertain_share": 0.0,
    }
    assert result.output.count("\n") == 1


def test_a_payload_of_another_channel_is_refused_with_the_reason():
    result = RUN.invoke(app, ["wire", "decode", "status", "-"], input=payload_of(V1[Channel.COMMAND]))
    assert result.exit_code == 1
    assert "status: malformed message" in result.stderr


def test_a_missing_file_is_named(tmp_path):
    result = RUN.invoke(app, ["wire", "decode", "status", str(tmp_path / "none.bin")])
    assert result.exit_code == 1
    assert "none.bin cannot be read: No such file" in result.stderr


def test_of_a_file_that_is_longer_than_any_message_no_more_is_read_than_shows_it(tmp_path):
    file = tmp_path / "huge.bin"
    with file.open("wb") as opened:
        opened.truncate(1 << 40)
    result = RUN.invoke(app, ["wire", "decode", "stored", str(file)])
    assert result.exit_code == 1
    assert f"{MAX_BYTES[Channel.STORED] + 1} bytes" in result.stderr


def test_an_unknown_channel_is_refused_with_the_known_ones():
    result = RUN.invoke(app, ["wire", "decode", "secrets", "-"], input=b"")
    assert result.exit_code == 2
    assert "telemetry" in result.stderr


def test_a_port_that_is_taken_is_told_with_the_brokers_own_words(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = RUN.invoke(app, ["broker", "up", "--kind", "amqtt", "--port", str(port), "--folder", str(tmp_path)])
    assert result.exit_code == 1
    assert f"amqtt on 127.0.0.1:{port} ended with code 1" in result.stderr
    assert "address already in use" in result.stderr
