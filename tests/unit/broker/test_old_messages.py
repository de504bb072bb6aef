"""Messages of every version that was ever on the wire are kept as files, and still read."""

from typing import get_args, get_type_hints

import pytest

from broker.messages import Command, parse
from broker.packs import unpack
from broker.topics import Channel
from tests.unit.broker.wire_examples import (
    EXAMPLES,
    FOLDER,
    MORE,
    PRESENT,
    V1,
    file_of,
    file_of_more,
    payload_of,
    present_payload,
    write_missing,
)


@pytest.mark.parametrize(
    ("version", "channel"), [(version, channel) for version, examples in EXAMPLES.items() for channel in examples]
)
def test_a_message_of_an_old_version_still_reads_as_it_was_meant(version, channel):
    payloads = unpack(channel, file_of(version, channel).read_bytes())
    assert tuple(parse(channel, payload) for payload in payloads) == EXAMPLES[version][channel]


@pytest.mark.parametrize("name", MORE)
def test_every_order_and_report_of_an_old_version_still_reads_as_it_was_meant(name):
    channel, example = MORE[name]
    assert parse(channel, file_of_more(name).read_bytes()) == example
    assert payload_of(example) == file_of_more(name).read_bytes()


def test_every_order_that_a_device_takes_has_a_file():
    kept = [body for _, (_, body) in MORE.values()] + [V1[Channel.COMMAND][1]]
    assert {type(body.order) for body in kept if isinstance(body, Command)} == set(
        get_args(get_type_hints(Command)["order"])
    )


def test_every_file_has_its_stated_message_and_what_every_channel_writes_now_has_a_file():
    stated = {file_of(version, channel) for version, examples in EXAMPLES.items() for channel in examples}
    stated |= {file_of_more(name) for name in MORE}
    assert set(FOLDER.glob("v*/*.bin")) == stated
    assert {file_of(PRESENT[channel], channel) for channel in Channel} <= stated


@pytest.mark.parametrize("channel", Channel)
def test_the_present_version_writes_the_bytes_that_are_kept(channel):
    assert present_payload(channel) == file_of(PRESENT[channel], channel).read_bytes()


def test_writing_the_files_of_a_version_fills_gaps_and_never_overwrites(tmp_path):
    kept = file_of(PRESENT[Channel.STATUS], Channel.STATUS, tmp_path)
    kept.parent.mkdir()
    kept.write_bytes(b"as it was")

    written = write_missing(tmp_path)

    assert kept.read_bytes() == b"as it was"
    missing = {file_of(PRESENT[c], c, tmp_path) for c in Channel if c is not Channel.STATUS}
    assert set(written) == missing | {file_of_more(name, tmp_path) for name in MORE}
    assert write_missing(tmp_path) == []
