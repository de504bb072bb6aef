"""Messages: what is written is read, and what is not of the contract is refused by name."""

import math

import msgspec
import pytest

from broker.errors import WireError
from broker.messages import (
    BODY_OF,
    MAX_BYTES,
    VERSION,
    BundleRef,
    Command,
    Desired,
    Label,
    Labels,
    MalformedMessageError,
    MessageTooLargeError,
    RecordKey,
    Reply,
    Resources,
    Sample,
    Samples,
    ScoreRow,
    Status,
    Stored,
    TelemetryWindow,
    UnknownVersionError,
    encode,
    encode_body,
    encode_record,
    parse,
    parse_as,
)
from broker.topics import RULES, Channel
from tests.unit.broker.wire_examples import V1, payload_of

VERSION_BYTE = bytes([VERSION])
BUNDLE = BundleRef("rain", 3)


def fields_of(channel: Channel) -> list[object]:
    """The example of a channel as plain values; the body alone where the channel is spooled."""
    # Every field, also those that `encode_body` leaves out because an older reader has no need of them.
    fields: list[object] = msgspec.msgpack.decode(msgspec.msgpack.encode(V1[channel][1]))
    return fields


def payload_with(channel: Channel, body: object) -> bytes:
    content = [[1, 1, 0], body] if RULES[channel].spooled else body
    return VERSION_BYTE + msgspec.msgpack.encode(content)


@pytest.mark.parametrize("channel", Channel)
def test_an_example_of_every_channel_reads_back_as_itself(channel):
    assert parse(channel, payload_of(V1[channel])) == V1[channel]


@pytest.mark.parametrize("channel", Channel)
def test_a_payload_over_its_limit_is_refused_before_it_is_parsed(channel):
    # The bytes are no MessagePack and of no known version: only the length can be the reason.
    with pytest.raises(MessageTooLargeError, match="refused unread"):
        parse(channel, b"\xc1" * (MAX_BYTES[channel] + 1))


@pytest.mark.parametrize("channel", Channel)
def test_a_payload_at_its_limit_is_parsed(channel):
    with pytest.raises(MalformedMessageError):
        parse(channel, VERSION_BYTE + b"\xc1" * (MAX_BYTES[channel] - 1))


@pytest.mark.parametrize("version", [0, VERSION + 1, 255])
def test_an_unknown_version_is_refused_and_the_known_one_is_named(version):
    payload = bytes([version]) + payload_of(V1[Channel.STATUS])[1:]
    with pytest.raises(UnknownVersionError, match=f"version {version}, this reader knows {VERSION}"):
        parse(Channel.STATUS, payload)


def test_an_empty_payload_is_refused():
    with pytest.raises(MalformedMessageError, match="empty"):
        parse(Channel.STATUS, b"")


@pytest.mark.parametrize("channel", Channel)
def test_a_payload_cut_at_any_byte_is_refused(channel):
    payload = payload_of(V1[channel])
    for length in range(len(payload)):
        with pytest.raises(WireError):
            parse(channel, payload[:length])


@pytest.mark.parametrize("channel", Channel)
def test_bytes_after_the_message_are_refused(channel):
    with pytest.raises(MalformedMessageError):
        parse(channel, payload_of(V1[channel]) + b"\x00")


@pytest.mark.parametrize("channel", Channel)
def test_fields_that_a_newer_writer_appends_are_ignored(channel):
    # An event of today leaves its last field out where it is None; a newer writer's fields stand behind it.
    left_out = [None] * (len(BODY_OF[channel].__struct_fields__) - len(fields_of(channel)))
    newer = payload_with(channel, [*fields_of(channel), *left_out, "new", {"a": [1, None]}])
    assert parse(channel, newer)[1] == V1[channel][1]


def test_fields_appended_to_an_inner_struct_are_ignored():
    fields = fields_of(Channel.DESIRED)
    assert isinstance(fields[0], list)
    fields[0] = [*fields[0], "new"]
    assert parse(Channel.DESIRED, payload_with(Channel.DESIRED, fields))[1] == V1[Channel.DESIRED][1]


def test_fields_that_an_older_writer_leaves_out_take_their_defaults():
    older = payload_with(Channel.STATUS, [True, 5.0, "boot", "0.1.0"])
    assert parse(Channel.STATUS, older) == (
        None,
        Status(online=True, at_utc_s=5.0, boot_id="boot", agent_version="0.1.0"),
    )


def test_a_missing_field_without_a_default_is_refused():
    with pytest.raises(MalformedMessageError):
        parse(Channel.STATUS, payload_with(Channel.STATUS, [True, 5.0, "boot"]))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("channel", "body"),
    [
        (Channel.LABELS, lambda n: Labels("s", (Label("p", n, 1.0),))),
        (Channel.LABELS, lambda n: Labels("s", (Label("p", "rain", n),))),
        (Channel.REPLY, lambda n: Reply("c", accepted=True, scores=(0.5, n))),
        (Channel.COMMAND, lambda n: Command("c", 1.0, "by", ScoreRow((1.0, None, n)))),
        (Channel.COMMAND, lambda n: Command("c", n, "by", ScoreRow(()))),
        (Channel.DESIRED, lambda n: Desired(BUNDLE, "o", n, "by")),
        (Channel.STORED, lambda n: Stored(1, 1, n)),
        (Channel.STATUS, lambda n: Status(online=True, at_utc_s=n, boot_id="b", agent_version="1")),
    ],
)
def test_a_number_that_is_not_finite_is_refused(channel, body, number):
    with pytest.raises(MalformedMessageError):
        parse(channel, encode(body(number)))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["prediction", "confidence", "scored_utc_s", "features"])
def test_a_sample_with_a_number_that_is_not_finite_is_refused(field, number):
    sample = Sample("p", 1.0, (1.0,), 1.0, 0.5, agrees=True, reason="asked")
    broken = msgspec.structs.replace(sample, **{field: (1.0, number) if field == "features" else number})
    payload = encode_record(RecordKey(1, 1, 0), encode_body(Samples(BUNDLE, (broken,))))
    with pytest.raises(MalformedMessageError):
        parse(Channel.SAMPLES, payload)


@pytest.mark.parametrize("field", ["cpu_s", "temperature_c"])
def test_resources_with_a_number_that_is_not_finite_are_refused(field):
    window = V1[Channel.TELEMETRY][1]
    assert isinstance(window, TelemetryWindow)
    resources = msgspec.structs.replace(Resources(1, 1.0, 1, 20.0), **{field: math.nan})
    body = encode_body(msgspec.structs.replace(window, resources=resources))
    with pytest.raises(MalformedMessageError):
        parse(Channel.TELEMETRY, encode_record(RecordKey(1, 1, 0), body))


@pytest.mark.parametrize(
    ("channel", "position", "value"),
    [
        (Channel.STORED, 0, -1),
        (Channel.STORED, 0, 2**32),
        (Channel.STORED, 1, -1),
        (Channel.STORED, 2, 1e13),
        (Channel.DESIRED, 0, ["", 1]),
        (Channel.DESIRED, 0, ["n" * 65, 1]),
        (Channel.DESIRED, 0, ["n", 0]),
        (Channel.DESIRED, 1, "o" * 129),
        (Channel.COMMAND, 3, ["delete_everything"]),
        (Channel.COMMAND, 3, ["ask_labels", "a", 0]),
        (Channel.COMMAND, 3, ["ask_labels", "a", 1025]),
        (Channel.SAMPLES, 1, []),
        (Channel.LABELS, 1, []),
        (Channel.TELEMETRY, 6, -1),
        (Channel.TELEMETRY, 9, [0] * 1025),
        (Channel.EVENTS, 3, "r" * 2049),
        (Channel.STATUS, 0, 1),
        (Channel.STATUS, 2, None),
    ],
)
def test_a_value_out_of_its_bounds_or_type_is_refused(channel, position, value):
    fields = fields_of(channel)
    fields[position] = value
    with pytest.raises(MalformedMessageError):
        parse(channel, payload_with(channel, fields))


@pytest.mark.parametrize("key", [[1, 0, 0], [-1, 1, 0], [2**32, 1, 0], [1, 1, -1], [1, 1], None, {}])
def test_a_record_without_a_proper_key_is_refused(key):
    payload = VERSION_BYTE + msgspec.msgpack.encode([key, fields_of(Channel.EVENTS)])
    with pytest.raises(MalformedMessageError):
        parse(Channel.EVENTS, payload)


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1a", b"\x92\x01", b"\xdd\x00\x00\x00\x01"])
def test_deep_nesting_is_refused_without_harm(channel, opening):
    payload = (VERSION_BYTE + opening * MAX_BYTES[channel])[: MAX_BYTES[channel]]
    with pytest.raises(MalformedMessageError):
        parse(channel, payload)


def test_deep_nesting_in_a_field_that_nobody_knows_is_refused_without_harm():
    nested = b"\x91" * 200_000 + b"\xc0"
    known = b"".join(msgspec.msgpack.encode(field) for field in fields_of(Channel.LABELS))
    with pytest.raises(MalformedMessageError):
        parse(Channel.LABELS, VERSION_BYTE + b"\x93" + known + nested)


def test_a_length_that_promises_more_than_there_is_allocates_nothing_and_is_refused():
    with pytest.raises(MalformedMessageError):
        parse(Channel.LABELS, VERSION_BYTE + b"\x92\xa1s\xdd\xff\xff\xff\xff")


def test_text_that_is_not_utf8_is_refused():
    with pytest.raises(MalformedMessageError):
        parse(Channel.DESIRED, VERSION_BYTE + b"\x94\x92\xa1\xff\x01\xa1o\x01\xa1b")


def test_a_caller_gets_the_type_it_asked_for_or_an_error():
    payload = payload_of(V1[Channel.STORED])
    assert parse_as(Stored, Channel.STORED, payload) == V1[Channel.STORED][1]
    with pytest.raises(MalformedMessageError, match="carries Stored, not Status"):
        parse_as(Status, Channel.STORED, payload)


def test_a_bundle_is_written_as_people_write_it():
    assert str(BUNDLE) == "rain/3"
