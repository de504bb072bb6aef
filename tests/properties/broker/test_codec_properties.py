"""The codec in C and its description in Python agree, whatever they are given."""

import msgspec
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from broker.codec.loading import Codec, load_codec
from broker.entropy import DamagedStreamError
from broker.errors import WireError
from broker.messages import BundleRef, FeatureCounts, RecordKey, TelemetryWindow, encode_body, encode_record, parse
from broker.pack_form import MAX_WINDOWS, write_records
from broker.packs import PACK_VERSION, read_whole_with
from broker.topics import Channel
from tests.properties.broker.test_wire_properties import BODIES, with_ordered_latency
from tests.unit.broker.wire_examples import file_of

CODEC = load_codec()
pytestmark = pytest.mark.skipif(CODEC is None, reason="not built here: python -m edge_agent.engine.compile")
RELAXED = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
COUNT = st.sampled_from([0, 0, 1, 60, 61, 600]) | st.integers(0, 3) | st.integers(0, 2**20) | st.integers(0, 2**31)


@st.composite
def windows_in_a_row(draw: st.DrawFn) -> list[TelemetryWindow]:
    """Windows with something in common, as those of one device have."""
    first = with_ordered_latency(draw(BODIES[Channel.TELEMETRY]))
    bins = draw(st.integers(0, 6))
    windows = []
    for _ in range(draw(st.integers(1, 4))):
        features = draw(
            st.lists(
                st.builds(FeatureCounts, st.lists(COUNT, min_size=bins, max_size=bins).map(tuple), COUNT, COUNT),
                max_size=4,
            )
        )
        pairs = draw(st.dictionaries(st.integers(-20, 20), COUNT.filter(bool), max_size=6))
        changed = {
            "features": tuple(features),
            "latency": tuple(sorted(pairs.items())),
            "rows_scored": draw(st.just(sum(features[0].counts) if features else 0) | COUNT),
            "predictions": draw(st.lists(COUNT, max_size=4).map(tuple)),
            "agreement": (),
        }
        windows.append(msgspec.structs.replace(draw(st.just(first) | BODIES[Channel.TELEMETRY]), **changed))
    return windows


def outcome(codec: Codec | None, payload: bytes) -> list[object] | None:
    """Return what a receiver makes of a pack; None: it is refused."""
    try:
        records = read_whole_with(codec, payload)
    except WireError:
        return None
    # What is told of a payload is what is read in it by those who read it again.
    assert [(key, body) for key, body, _ in records] == [parse(Channel.TELEMETRY, each) for _, _, each in records]
    return list(records)


@RELAXED
@given(windows=windows_in_a_row(), first=st.integers(1, 2**40), epoch=st.integers(0, 2**32 - 1))
def test_both_write_the_same_bytes_and_read_the_same_payloads(windows, first, epoch):
    records = [(RecordKey(epoch, first + at, first + at - 1), window) for at, window in enumerate(windows)]
    payloads = [encode_record(key, encode_body(window)) for key, window in records]
    assert CODEC is not None
    try:
        in_python = bytes([PACK_VERSION]) + write_records(records)
    except DamagedStreamError:
        with pytest.raises((ValueError, OverflowError)):
            CODEC.pack(payloads)
        return
    try:
        packed = CODEC.pack(payloads)
    except (ValueError, OverflowError) as error:
        event(f"left to Python: {type(error).__name__}")
    else:
        event("packed")
        assert packed == in_python
    assert outcome(CODEC, in_python) == outcome(None, in_python)


@settings(max_examples=400, deadline=None)
@given(content=st.binary(max_size=200))
@example(b"\x00" * 600)
@example(b"\xff" * 600)
@example(b"\x00\x01\x00\x00")
def test_both_take_or_refuse_the_same_bytes(content):
    payload = bytes([PACK_VERSION]) + content
    assert outcome(CODEC, payload) == outcome(None, payload)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_both_take_or_refuse_the_same_changed_packs(data):
    payload = bytearray(file_of(2, Channel.TELEMETRY).read_bytes())
    for _ in range(data.draw(st.integers(1, 2))):
        payload[data.draw(st.integers(1, len(payload) - 1))] = data.draw(st.integers(0, 255))
    assert outcome(CODEC, bytes(payload)) == outcome(None, bytes(payload))


def test_both_know_how_many_windows_a_pack_has():
    nothing = encode_body(TelemetryWindow(BundleRef("m", 1), "", 0.0, 0.0, 0, 0, 0, (), (), (), (), (), ()))
    payloads = [encode_record(RecordKey(1, at + 1, at), nothing) for at in range(MAX_WINDOWS)]
    assert CODEC is not None
    assert CODEC.unpack(CODEC.pack(payloads)) == payloads
