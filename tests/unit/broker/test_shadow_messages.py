"""The shadow came to the wire later: what is older stays as it was, and what it brings reads back as itself."""

import math

import msgspec
import pytest

from broker.messages import (
    BundleRef,
    Command,
    Event,
    MalformedMessageError,
    RecordKey,
    ShadowReport,
    StartShadow,
    StopShadow,
    encode,
    encode_body,
    encode_record,
    parse,
)
from broker.topics import Channel
from edge_agent.clock import SystemClock

KEY = RecordKey(1, 1, 0)
REPORT = ShadowReport(BundleRef("toy", 2), "native", BundleRef("toy", 1), 100, 3, 0.0, 1, 2, 40.0)
NOW_S = SystemClock().utc_s()


def test_a_report_reads_back_as_itself():
    event = Event("shadow", NOW_S, "info", "words", REPORT.bundle, "order", REPORT)
    assert parse(Channel.EVENTS, encode_record(KEY, encode_body(event))) == (KEY, event)


def test_an_event_without_one_is_as_long_as_ever():
    event = Event("error", NOW_S, "error", "words")
    body = encode_body(event)
    assert body[0] == 0x96  # an array of six
    assert parse(Channel.EVENTS, encode_record(KEY, body)) == (KEY, event)


@pytest.mark.parametrize("order", [StartShadow(BundleRef("toy", 2)), StartShadow(BundleRef("toy", 2), 5), StopShadow()])
def test_its_commands_read_back_as_themselves(order: StartShadow | StopShadow):
    command = Command("id", NOW_S, "me", order)
    assert parse(Channel.COMMAND, encode(command)) == (None, command)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_refused(number: float):
    report = msgspec.structs.replace(REPORT, difference_sum=number)
    event = Event("shadow", NOW_S, "info", "", shadow=report)
    with pytest.raises(MalformedMessageError):
        parse(Channel.EVENTS, encode_record(KEY, encode_body(event)))
