"""Packs give back what went into them, cost what they say, and unfold to no more than they may."""

import random
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from benchmarks.fleet_windows import ROWS, make_window
from broker.entropy import Writer, code_integer
from broker.errors import WireError
from broker.messages import (
    MAX_BYTES,
    FeatureCounts,
    MalformedMessageError,
    MessageTooLargeError,
    RecordKey,
    TelemetryWindow,
    UnknownVersionError,
    encode_body,
    encode_record,
    parse,
)
from broker.packs import MAX_COUNTS, MAX_WINDOWS, PACK_VERSION, NotPackableError, pack_windows, unpack
from broker.topics import Channel
from tests.unit.broker.wire_examples import PACK

BUDGET_BYTES_AN_HOUR = 2400
STEADY_BYTES_AN_HOUR = 500
WINDOWS_AN_HOUR = 6
TOGETHER = 3


def keyed(windows: Sequence[TelemetryWindow]) -> list[tuple[RecordKey, TelemetryWindow]]:
    return [(RecordKey(2_271_560_481, 1000 + at, 999 + at), window) for at, window in enumerate(windows)]


def read(payload: bytes) -> list[tuple[RecordKey | None, object]]:
    return [parse(Channel.TELEMETRY, each) for each in unpack(Channel.TELEMETRY, payload)]


def in_packs(windows: Sequence[TelemetryWindow]) -> list[bytes]:
    records = keyed(windows)
    return [pack_windows(records[at : at + TOGETHER]) for at in range(0, len(records), TOGETHER)]


def changing(seed: int) -> list[TelemetryWindow]:
    rng = np.random.default_rng(seed)
    return [make_window(rng, number) for number in range(WINDOWS_AN_HOUR)]


def steady() -> list[TelemetryWindow]:
    """An hour in which every feature and every answer keeps to one bin; times and resources go on."""
    place = random.Random(1)
    features = tuple(
        FeatureCounts(tuple(ROWS if at == bin_of else 0 for at in range(10)))
        for bin_of in (place.randrange(10) for _ in range(64))
    )
    return [
        msgspec.structs.replace(
            window,
            features=features,
            predictions=(0, ROWS, *[0] * 8),
            agreement=(*[0] * 19, ROWS),
        )
        for window in changing(1)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_an_hour_of_64_features_is_within_its_budget_where_every_bin_is_as_likely_as_the_others(seed):
    # Nothing costs more than this, of histograms that come from one distribution.
    payloads = in_packs(changing(seed))
    assert [each for payload in payloads for each in read(payload)] == keyed(changing(seed))
    assert sum(map(len, payloads)) <= BUDGET_BYTES_AN_HOUR


def test_an_hour_in_which_nothing_changes_is_within_its_budget():
    payloads = in_packs(steady())
    assert [each for payload in payloads for each in read(payload)] == keyed(steady())
    assert sum(map(len, payloads)) <= STEADY_BYTES_AN_HOUR


def test_windows_that_count_the_same_cost_next_to_nothing_from_the_second_on():
    first = changing(1)[0]
    same = [
        msgspec.structs.replace(
            first,
            started_utc_s=first.started_utc_s + 600.0 * n,
            ended_utc_s=first.ended_utc_s + 600.0 * n,
            first_row=ROWS * n,
            last_row=ROWS * (n + 1) - 1,
        )
        for n in range(2)
    ]
    assert len(pack_windows(keyed(same))) - len(pack_windows(keyed(same[:1]))) < 20


def test_what_is_not_a_pack_of_telemetry_is_given_back_unread():
    for channel, payload in ((Channel.STATUS, b"\x02\xff"), (Channel.TELEMETRY, b"\x01\xff"), (Channel.TELEMETRY, b"")):
        assert unpack(channel, payload) == (payload,)


def test_a_pack_is_of_a_version_that_a_reader_without_packs_refuses_by_name():
    with pytest.raises(UnknownVersionError, match="version 2, this reader knows 1"):
        parse(Channel.TELEMETRY, pack_windows(PACK))


def test_a_pack_cut_at_any_byte_is_refused():
    payload = pack_windows(PACK)
    for length in range(1, len(payload)):
        with pytest.raises(MalformedMessageError):
            unpack(Channel.TELEMETRY, payload[:length])


def test_bytes_after_a_pack_are_refused():
    for more in (b"\x00", b"\x00\x00"):
        with pytest.raises(MalformedMessageError):
            unpack(Channel.TELEMETRY, pack_windows(PACK) + more)


def test_a_pack_over_the_limit_of_its_channel_is_refused_unread():
    with pytest.raises(MessageTooLargeError, match="refused unread"):
        unpack(Channel.TELEMETRY, bytes([PACK_VERSION]) + b"\xff" * MAX_BYTES[Channel.TELEMETRY])


def test_a_pack_of_few_bytes_cannot_unfold_to_more_bins_than_are_allowed():
    bins = FeatureCounts((1,) + (0,) * 1023)
    window = msgspec.structs.replace(changing(1)[0], features=(bins,) * (MAX_COUNTS // 1024 + 1))
    with pytest.raises(NotPackableError, match="bins more than are allowed"):
        pack_windows(keyed([window]))
    fits = msgspec.structs.replace(window, features=(bins,) * (MAX_COUNTS // 1024 - 1))
    assert len(pack_windows(keyed([fits]))) < 800


def test_histograms_without_a_bin_count_as_well():
    empty = msgspec.structs.replace(changing(1)[0], features=(FeatureCounts(()),) * 4096, rows_scored=0)
    assert MAX_COUNTS <= 4 * 4096
    with pytest.raises(NotPackableError, match="bins more than are allowed"):
        pack_windows(keyed([empty] * 4))


@pytest.mark.parametrize("n_records", [MAX_WINDOWS + 1, 2**40])
def test_a_pack_of_too_many_windows_is_refused_at_its_first_number(n_records):
    writer = Writer()
    code_integer(writer, "records", n_records - 1)
    with pytest.raises(MalformedMessageError, match="windows, at most"):
        unpack(Channel.TELEMETRY, bytes([PACK_VERSION]) + writer.finish())


def test_what_version_1_refuses_a_pack_does_not_carry():
    broken = msgspec.structs.replace(changing(1)[0], variant="x" * 129)
    with pytest.raises(NotPackableError):
        pack_windows(keyed([broken]))


@pytest.mark.parametrize(
    "changes",
    [
        {"latency": ((5, 1), (4, 1))},
        {"latency": ((5, 1), (5, 1))},
        {"latency": ((5, 0),)},
    ],
)
def test_a_sketch_that_is_out_of_order_is_left_to_version_1(changes):
    window = msgspec.structs.replace(changing(1)[0], **changes)
    with pytest.raises(NotPackableError):
        pack_windows(keyed([window]))
    key = RecordKey(1, 1, 0)
    assert parse(Channel.TELEMETRY, encode_record(key, encode_body(window))) == (key, window)


class LaterWindow(TelemetryWindow, frozen=True):
    """A window with a field that was appended after packs were made, and forgotten there."""

    appended: int = 5


def test_a_field_that_packs_do_not_carry_is_not_lost():
    window = LaterWindow(*msgspec.structs.astuple(changing(1)[0]))
    with pytest.raises(NotPackableError, match="do not survive"):
        pack_windows(keyed([window]))


def test_records_that_do_not_follow_each_other_are_not_packed():
    one, other = changing(1)[:2]
    for second in (RecordKey(2, 2, 1), RecordKey(1, 3, 2), RecordKey(1, 1, 1)):
        with pytest.raises(NotPackableError):
            pack_windows([(RecordKey(1, 1, 0), one), (second, other)])
    with pytest.raises(NotPackableError):
        pack_windows([])


def test_a_pack_with_one_bit_changed_is_refused_or_read_as_records_of_version_1():
    payload = pack_windows(keyed(changing(2)[:1]))
    chance = random.Random(3)
    refused = 0
    for _ in range(300):
        broken = bytearray(payload)
        broken[chance.randrange(1, len(broken))] ^= 1 << chance.randrange(8)
        try:
            unpack(Channel.TELEMETRY, bytes(broken))
        except WireError:
            refused += 1
    # The state at the end is a check of 16 bits on all but the last words; TLS and TCP check the rest.
    assert refused > 250
