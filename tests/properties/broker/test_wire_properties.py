"""Properties of the wire: everything of the contract survives it, and nothing else gets past `parse`."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from broker.counts import code_histogram
from broker.entropy import Reader, Writer
from broker.errors import WireError
from broker.messages import (
    BODY_OF,
    VERSION,
    Event,
    RecordKey,
    Samples,
    TelemetryWindow,
    encode,
    encode_body,
    encode_record,
    parse,
)
from broker.packs import PACK_VERSION, NotPackableError, pack_windows, unpack
from broker.readable import decode_payload
from broker.topics import RULES, Channel, DeviceId, FleetId, Topic, TopicError, parse_device, parse_topic

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?", fullmatch=True)
VERSION_BYTE = bytes([VERSION])
RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def values_of(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one answer per kind
    """Values of a type of the wire, within its stated bounds, as msgspec describes it."""
    match kind:
        case msgspec.inspect.StructType():
            fields = {field.name: values_of(field.type) for field in kind.fields}
            return st.builds(kind.cls, **fields)
        case msgspec.inspect.VarTupleType():
            most = 4 if kind.max_length is None else min(4, kind.max_length)
            return st.lists(values_of(kind.item_type), min_size=kind.min_length or 0, max_size=most).map(tuple)
        case msgspec.inspect.TupleType():
            return st.tuples(*map(values_of, kind.item_types))
        case msgspec.inspect.UnionType():
            return st.one_of(*map(values_of, kind.types))
        case msgspec.inspect.IntType():
            return st.integers(kind.ge, kind.le)
        case msgspec.inspect.FloatType():
            return st.floats(kind.ge, kind.le, allow_nan=False, allow_infinity=False)
        case msgspec.inspect.StrType():
            return st.text(min_size=kind.min_length or 0, max_size=min(20, kind.max_length or 20))
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.NoneType():
            return st.none()
    raise AssertionError(f"a new kind of field: {kind}")


BODIES = {channel: values_of(msgspec.inspect.type_info(body)) for channel, body in BODY_OF.items()}
KEYS = values_of(msgspec.inspect.type_info(RecordKey))


@pytest.mark.parametrize("channel", Channel)
@RELAXED
@given(data=st.data())
def test_every_body_of_every_channel_survives_the_wire(channel, data):
    body = data.draw(BODIES[channel])
    if RULES[channel].spooled:
        assert isinstance(body, TelemetryWindow | Samples | Event)
        key = data.draw(KEYS)
        payload = encode_record(key, encode_body(body))
    else:
        key, payload = None, encode(body)

    assert parse(channel, payload) == (key, body)
    assert decode_payload(channel, payload)["bytes"] == len(payload)


@pytest.mark.parametrize("channel", Channel)
@RELAXED
@given(content=st.binary(max_size=300))
@example(b"")
@example(b"\xc1")
@example(b"\x92\x93\x01\x01\x00")
def test_arbitrary_bytes_are_read_or_refused_as_a_wire_error(channel, content):
    for payload in (content, VERSION_BYTE + content):
        try:
            parse(channel, payload)
        except WireError:
            continue


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@pytest.mark.parametrize("channel", Channel)
@RELAXED
@given(content=PLAIN)
def test_any_messagepack_value_is_read_or_refused_as_a_wire_error(channel, content):
    for value in (content, [[1, 1, 0], content]):
        try:
            parse(channel, VERSION_BYTE + msgspec.msgpack.encode(value))
        except WireError:
            continue


@pytest.mark.parametrize("channel", Channel)
@RELAXED
@given(data=st.data())
def test_a_message_with_one_byte_changed_is_read_or_refused_as_a_wire_error(channel, data):
    body = data.draw(BODIES[channel])
    encoded = encode_record(RecordKey(1, 1, 0), encode_body(body)) if RULES[channel].spooled else encode(body)
    payload = bytearray(encoded)
    payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse(channel, bytes(payload))
    except WireError:
        return


@given(fleet=NAMES, device=NAMES, channel=st.sampled_from(Channel))
def test_every_topic_reads_back_as_itself(fleet, device, channel):
    topic = Topic(FleetId(fleet), DeviceId(device), channel)
    assert parse_topic(str(topic)) == topic


@given(text=st.text(max_size=40) | st.text("fieldloop/1abc-+#", max_size=60))
def test_any_text_is_a_topic_that_is_written_the_same_or_is_refused(text):
    try:
        topic = parse_topic(text)
    except TopicError:
        return
    assert str(topic) == text


@given(text=st.text(max_size=70))
def test_a_name_is_taken_unchanged_or_refused(text):
    try:
        assert parse_device(text) == text
    except TopicError:
        return


def with_ordered_latency(window: TelemetryWindow) -> TelemetryWindow:
    """As every agent counts it; otherwise nearly no window could be packed."""
    latency = tuple(sorted({bucket: max(count, 1) for bucket, count in window.latency}.items()))
    return msgspec.structs.replace(window, latency=latency)


WINDOWS = BODIES[Channel.TELEMETRY].map(with_ordered_latency) | BODIES[Channel.TELEMETRY]


@RELAXED
@given(windows=st.lists(WINDOWS, min_size=1, max_size=4), first=st.integers(1, 2**40), epoch=st.integers(0, 2**32 - 1))
def test_windows_survive_being_packed_or_are_left_as_they_are(windows, first, epoch):
    records = [(RecordKey(epoch, first + at, first + at - 1), window) for at, window in enumerate(windows)]
    try:
        payload = pack_windows(records)
    except NotPackableError as error:
        event(str(error)[:40])
        return
    event("packed")
    assert [parse(Channel.TELEMETRY, each) for each in unpack(Channel.TELEMETRY, payload)] == records


@st.composite
def histograms(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Counts, and those of the same thing before: often alike, sometimes huge, sometimes empty."""
    size = draw(st.integers(1, 12))
    count = st.sampled_from([0, 0, 1, 60, 61, 600]) | st.integers(0, draw(st.sampled_from([3, 100, 2**20, 2**45])))
    counts = draw(st.lists(count, min_size=size, max_size=size))
    before = draw(st.just(counts) | st.just([]) | st.lists(count, min_size=size, max_size=size))
    return counts, before


@settings(max_examples=200, deadline=None)
@given(pairs=st.lists(histograms(), min_size=1, max_size=6))
def test_every_histogram_survives_being_coded_in_whichever_way_is_the_cheapest(pairs):
    writer = Writer()
    for counts, before in pairs:
        code_histogram(writer, writer.chances, "h", sum(counts), counts, before)
    reader = Reader(memoryview(writer.finish()))
    for counts, before in pairs:
        assert code_histogram(reader, reader.chances, "h", sum(counts), [0] * len(counts), before) == counts
    reader.finish()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.binary(max_size=600))
@example(b"\x00" * 600)
@example(b"\xff" * 600)
def test_arbitrary_bytes_are_unpacked_or_refused_as_a_wire_error(content):
    try:
        payloads = unpack(Channel.TELEMETRY, bytes([PACK_VERSION]) + content)
    except WireError:
        return
    for payload in payloads:
        parse(Channel.TELEMETRY, payload)


@RELAXED
@given(windows=st.lists(WINDOWS, min_size=1, max_size=2), data=st.data())
def test_a_pack_with_bytes_changed_is_unpacked_or_refused_as_a_wire_error(windows, data):
    records = [(RecordKey(1, 5 + at, 4 + at), window) for at, window in enumerate(windows)]
    try:
        payload = bytearray(pack_windows(records))
    except NotPackableError:
        return
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(1, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack(Channel.TELEMETRY, bytes(payload))
    except WireError:
        return
