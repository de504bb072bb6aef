"""Topics: names become topics and come back, and nothing else is read as one."""

import pytest

from broker.topics import (
    MAX_TOPIC_BYTES,
    RULES,
    SHARDS,
    Channel,
    DeviceId,
    FleetId,
    Topic,
    TopicError,
    Writer,
    device_filters,
    fleet_filter,
    parse_device,
    parse_fleet,
    parse_topic,
    shard_filter,
    shard_of,
)

FLEET = parse_fleet("stations")
DEVICE = parse_device("station-07")

HOSTILE_NAMES = [
    "",
    "+",
    "#",
    "a/b",
    "a b",
    "Station",
    "-a",
    "a-",
    "_a",
    "a_",
    "..",
    "a.b",
    "$sys",
    "a\x00b",
    "a\n",
    "\n",
    "ä",
    "ⅷ",
    "a" * 64,
    "\ud800",
]


def test_the_shard_of_a_device_never_changes():
    assert shard_of(DEVICE) == "7c"
    assert shard_of(DeviceId("d1")) == "ed"


def test_every_shard_is_two_hex_digits_and_there_are_256():
    assert len(set(SHARDS)) == 256
    assert shard_of(DEVICE) in SHARDS


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_that_could_not_stand_in_a_topic_is_refused(name):
    with pytest.raises(TopicError, match="device name"):
        parse_device(name)
    with pytest.raises(TopicError, match="fleet name"):
        parse_fleet(name)


@pytest.mark.parametrize("name", ["a", "7", "a-b", "a_b", "a" * 63])
def test_a_plain_name_is_taken_as_it_is(name):
    assert parse_device(name) == name


@pytest.mark.parametrize("channel", Channel)
def test_a_topic_reads_back_as_itself(channel):
    topic = Topic(FLEET, DEVICE, channel)
    assert parse_topic(str(topic)) == topic


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected fieldloop/1"),
        ("fieldloop/1/stations/7c/station-07", "expected fieldloop/1"),
        ("fieldloop/1/stations/7c/station-07/status/x", "expected fieldloop/1"),
        ("fieldloop/2/stations/7c/station-07/status", "expected fieldloop/1"),
        ("other/1/stations/7c/station-07/status", "expected fieldloop/1"),
        ("fieldloop/1/stations/7c/station-07/secrets", "unknown channel 'secrets'"),
        ("fieldloop/1/stations/7c/station-07/STATUS", "unknown channel 'STATUS'"),
        ("fieldloop/1/stations/7c/+/status", "device name"),
        ("fieldloop/1/#/7c/station-07/status", "fleet name"),
        ("fieldloop/1/stations/7d/station-07/status", "shard '7d' is not that of device 'station-07', '7c'"),
        ("fieldloop/1/stations/7C/station-07/status", "shard '7C'"),
        ("/" * 10_000, f"at most {MAX_TOPIC_BYTES} bytes"),
        ("ä" * 200, f"at most {MAX_TOPIC_BYTES} bytes"),
        ("\ud800", "expected fieldloop/1"),
    ],
)
def test_what_does_not_follow_the_layout_is_refused_with_the_reason(text, reason):
    with pytest.raises(TopicError, match=reason):
        parse_topic(text)


def test_the_longest_names_still_make_a_topic_that_is_read():
    topic = Topic(FleetId("f" * 63), DeviceId("d" * 63), Channel.TELEMETRY)
    assert len(str(topic)) <= MAX_TOPIC_BYTES
    assert parse_topic(str(topic)) == topic


def test_a_device_subscribes_to_its_own_orders_and_marks_only():
    channels = [parse_topic(text).channel for text in device_filters(FLEET, DEVICE)]
    assert channels == [Channel.DESIRED, Channel.STORED, Channel.COMMAND]
    assert all(RULES[channel].writer is not Writer.DEVICE for channel in channels)


def test_filters_name_one_channel_of_a_shard_or_of_a_fleet():
    assert shard_filter(FLEET, shard_of(DEVICE), Channel.EVENTS) == "fieldloop/1/stations/7c/+/events"
    assert fleet_filter(FLEET, Channel.STATUS) == "fieldloop/1/stations/+/+/status"


def test_every_channel_has_a_rule_and_what_is_spooled_is_written_by_devices():
    assert set(RULES) == set(Channel)
    assert all(rule.writer is Writer.DEVICE for rule in RULES.values() if rule.spooled)
