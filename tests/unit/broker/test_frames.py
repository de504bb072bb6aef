"""Packets are written as MQTT 3.1.1 says, and read however they are cut; what no broker sends is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import frames
from broker.frames import FrameError, FrameReader, Will, parse_message

MOST = 1000


def test_packets_are_those_of_the_specification():
    assert frames.connect("d", 60, clean_session=True, will=None) == bytes.fromhex("100d00044d51545404 02 003c 000164")
    assert frames.connect("d", 1200, clean_session=False, will=Will(b"t", b"gone", retained=True)) == bytes.fromhex(
        "101600044d51545404 2c 04b0 000164 000174 0004676f6e65"
    )
    assert frames.connect("d", 60, clean_session=True, will=None, username="me") == bytes.fromhex(
        "101100044d51545404 82 003c 000164 00026d65"
    )
    assert frames.connect("d", 60, clean_session=True, will=None, username="me", password="pw") == bytes.fromhex(
        "101500044d51545404 c2 003c 000164 00026d65 00027077"
    )
    assert frames.subscribe(7, [("a/+", 1), ("b", 0)]) == bytes.fromhex("820c 0007 0003612f2b01 00016200")
    assert frames.publish(b"a", b"xy", 258, retained=False) == bytes.fromhex("3207 000161 0102 7879")
    assert frames.publish(b"a", b"", 1, retained=True) == bytes.fromhex("3305 000161 0001")
    assert frames.resent(frames.publish(b"a", b"", 1, retained=True))[0] == 0x3B
    assert frames.acknowledge(258) == bytes.fromhex("40020102")
    assert (frames.PING, frames.GOODBYE) == (b"\xc0\x00", b"\xe0\x00")


def test_a_refusal_says_why():
    assert frames.refusal_of(b"\x00\x00") is None
    assert frames.refusal_of(b"\x00\x04") == "wrong user name or password"
    assert frames.refusal_of(b"\x00\x09") == "code 9"


@pytest.mark.parametrize("n_bytes", [0, 122, 123, 124, 16378, 16379, 16380, 300_000])
def test_a_message_of_any_length_reads_back(n_bytes: int):
    packet = frames.publish(b"a", bytes(n_bytes), 9, retained=True)
    ((first, body),) = FrameReader(1 << 20).feed(packet)
    assert parse_message(first, body) == (b"a", 9, bytes(n_bytes))


PACKETS = st.lists(
    st.builds(
        lambda topic, payload: frames.publish(topic, payload, 5, retained=False),
        st.binary(max_size=5),
        st.binary(max_size=400),
    )
    | st.sampled_from([b"\xd0\x00", b"\x40\x02\x00\x01", b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x01"]),
    max_size=8,
)


@given(packets=PACKETS, data=st.data())
def test_packets_are_the_same_however_the_stream_is_cut(packets, data):
    stream = b"".join(packets)
    whole = FrameReader(MOST).feed(stream)
    assert len(whole) == len(packets)
    reader, found, at = FrameReader(MOST), [], 0
    while at < len(stream):
        n = data.draw(st.integers(1, len(stream) - at))
        found += reader.feed(stream[at : at + n])
        at += n
    assert found == whole


@given(cut=st.integers(1, 2999))
def test_of_a_packet_that_is_too_long_the_beginning_is_kept_and_what_follows_is_read(cut: int):
    stream = frames.publish(b"a", bytes(5 * MOST // 2), 5, retained=False) + b"\xd0\x00"
    reader = FrameReader(MOST)
    (long, ping) = reader.feed(stream[:cut]) + reader.feed(stream[cut:])
    assert (len(long[1]), ping) == (MOST, (0xD0, b""))
    assert reader.feed(b"\xd0\x00") == [(0xD0, b"")]


def test_of_a_packet_that_is_announced_nothing_is_made_before_it_comes():
    reader = FrameReader(MOST)
    assert reader.feed(b"\x32\xff\xff\xff\x7f" + bytes(10)) == []
    assert len(reader._left) == 15


@pytest.mark.parametrize("stream", [b"\x10\x00", b"\x00\x00", b"\xf0", b"\x32\xff\xff\xff\xff\x01", b"\xe0\x00"])
def test_what_no_broker_sends_is_refused(stream: bytes):
    with pytest.raises(FrameError):
        FrameReader(MOST).feed(stream)


@pytest.mark.parametrize(
    ("first", "body"), [(0x30, b"\x00"), (0x30, b"\x00\x05abc"), (0x32, b"\x00\x01a\x00"), (0x34, b"\x00\x01a\x00\x01")]
)
def test_a_message_that_is_none_is_refused(first: int, body: bytes):
    with pytest.raises(FrameError, match="is none"):
        parse_message(first, body)


def test_an_acknowledgement_of_nothing_is_refused():
    with pytest.raises(FrameError):
        frames.packet_id_of(b"\x00")


@given(stream=st.binary(max_size=300))
def test_any_bytes_are_packets_or_refused(stream: bytes):
    try:
        packets = FrameReader(MOST).feed(stream)
        for first, body in packets:
            if first & frames.KIND == frames.PUBLISH:
                parse_message(first, body)
    except FrameError:
        return
