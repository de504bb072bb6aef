"""Each message is one line that a person understands; what is not wanted is not shown; no text orders a terminal."""

import json

import msgspec
import pytest
from typer.testing import CliRunner

from broker.cli import app
from broker.client import Delivery, Endpoint
from broker.messages import (
    BundleRef,
    Command,
    Diagnose,
    Event,
    RollBack,
    StartShadow,
    encode,
    encode_body,
    encode_record,
)
from broker.topics import Channel, DeviceId, FleetId, Topic
from broker.watching import Wanted, WatchError, filters_of, json_of, lines_of, parse_endpoint, summary_of
from tests.unit.broker.wire_examples import V1, present_payload

FLEET = FleetId("stations")
SAID = {
    Channel.STATUS: "online at 2025-11-24T16:00:00Z, runs rain/3 onnx-int8, agent 0.1.0 committed",
    Channel.SAMPLES: "87654321/43  rain/3: 2 rows (asked, background)",
    Channel.LABELS: "2 labels by weather-office",
    Channel.EVENTS: "87654321/44  error: refused rain/4 at 2025-11-24T16:01:10Z: golden row 3: expected 0.91, got 0.12",
    Channel.DESIRED: "run rain/4, order order-9 by rollout: ring 1 of rain/4",
    Channel.STORED: "stored through 87654321/44",
    Channel.COMMAND: "c-77 by monitor: ask for labels of 30 rows (ask-12)",
    Channel.REPLY: "c-77: REFUSED expired",
    Channel.TELEMETRY: "87654321/45  rain/3 onnx-int8: 10 rows scored, 2 refused, 2025-11-24T16:00:00Z for 60 s, 1x",
}


def delivery(channel: Channel, payload: bytes, device: str = "station-07", *, retained: bool = False) -> Delivery:
    return Delivery(Topic(FLEET, DeviceId(device), channel), payload, retained)


@pytest.mark.parametrize("channel", Channel)
def test_a_message_of_every_channel_is_said_in_a_line(channel: Channel):
    first, *_ = lines_of(delivery(channel, present_payload(channel)))
    assert first.startswith(f"station-07  {channel.value}  {SAID[channel]}")


def test_a_pack_is_a_line_for_each_window_and_what_is_retained_says_so():
    assert len(lines_of(delivery(Channel.TELEMETRY, present_payload(Channel.TELEMETRY)))) == 2
    (line,) = lines_of(delivery(Channel.STORED, present_payload(Channel.STORED), retained=True))
    assert line.startswith("station-07  stored (retained)  stored through")


def test_what_cannot_be_read_is_shown_as_refused_with_the_reason():
    (line,) = lines_of(delivery(Channel.STATUS, b"\x09"))
    assert line == "station-07  status  REFUSED status: message version 9, this reader knows 1; update the reader"
    said = json.loads(json_of(delivery(Channel.STATUS, b"\x09")))
    assert (said["bytes"], said["channel"]) == (1, "status")
    assert "version 9" in said["refused"]


def test_json_has_every_field_and_the_device():
    said = json.loads(json_of(delivery(Channel.STORED, present_payload(Channel.STORED))))
    assert (said["device"], said["retained"], said["body"]["sequence"]) == ("station-07", False, 44)


def test_no_text_from_the_wire_speaks_to_the_terminal():
    event = Event("error", 1e300, "error", "\x1b[2J\x9b31m two\nlines " + "x" * 2000)
    key, _ = V1[Channel.EVENTS]
    assert key is not None
    payload = encode_record(key, encode_body(msgspec.structs.replace(event, at_utc_s=1e12)))
    (line,) = lines_of(delivery(Channel.EVENTS, payload))
    assert line.isprintable()
    assert len(line) < 300
    assert json_of(delivery(Channel.EVENTS, payload)).isprintable()


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (RollBack("too warm"), "c by me: roll back: too warm"),
        (Diagnose(), "c by me: diagnose"),
        (StartShadow(BundleRef("rain", 4)), "c by me: start the shadow rain/4"),
    ],
)
def test_every_order_is_said_in_words(order, said: str):
    command = Command("c", 1.0, "me", order)
    assert summary_of(command) == said
    assert lines_of(delivery(Channel.COMMAND, encode(command))) == [f"station-07  command  {said}"]


def test_only_what_is_wanted_is_taken_and_subscribed_to():
    wanted = Wanted(frozenset({Channel.EVENTS, Channel.STATUS}), "station-0?")
    assert wanted.takes(delivery(Channel.EVENTS, b""))
    assert not wanted.takes(delivery(Channel.REPLY, b""))
    assert not wanted.takes(delivery(Channel.EVENTS, b"", "station-17"))
    assert filters_of(FLEET, wanted) == ("fieldloop/1/stations/+/+/status", "fieldloop/1/stations/+/+/events")
    assert len(filters_of(FLEET, Wanted())) == len(Channel)


def test_a_broker_is_a_host_and_a_port():
    assert parse_endpoint("broker.servers.local:8883") == Endpoint("broker.servers.local", 8883)
    assert parse_endpoint("[::1]:1883") == Endpoint("::1", 1883)
    assert (
        parse_endpoint("mqtts://10.0.0.5:8883") == parse_endpoint("mqtt://10.0.0.5:8883") == Endpoint("10.0.0.5", 8883)
    )
    for wrong in ("https://a:1", "a/b:1", "broker", ":1", "a:", "a:x", "a:0", "a:65536", "a:²"):
        with pytest.raises(WatchError, match="expected HOST:PORT"):
            parse_endpoint(wrong)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("mqtts://127.0.0.1:1",), "TLS needs the fleet's root"),
        (("mqtt://127.0.0.1:1", "--ca", "ca.pem"), "write mqtts://"),
        (("127.0.0.1:1", "--cert", "me.pem"), "belong to a link by TLS"),
    ],
)
def test_what_the_address_says_and_what_the_options_say_must_agree(arguments, why):
    result = CliRunner().invoke(app, ["wire", "watch", *arguments])
    assert result.exit_code == 1
    assert why in result.stderr
