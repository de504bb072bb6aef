"""Messages of every version that was ever on the wire are kept as files, and still read."""

import pytest

from broker.messages import parse
from broker.packs import unpack
from broker.topics import Channel
from tests.unit.broker.wire_examples import EXAMPLES, FOLDER, PRESENT, file_of, present_payload, write_missing


@pytest.mark.parametrize(
    ("version", "channel"), [(version, channel) for version, examples in EXAMPLES.items() for channel in examples]
)
def test_a_message_of_an_old_version_still_reads_as_it_was_meant(version, channel):
    payloads = unpack(channel, file_of(version, channel).read_bytes())
    assert tuple(parse(channel, payload) for payload in payloads) == EXAMPLES[version][channel]


def test_every_file_has_its_stated_message_and_what_every_channel_writes_now_has_a_file():
    stated = {file_of(version, channel) for version, examples in EXAMPLES.items() for channel in examples}
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
    assert set(written) == {file_of(PRESENT[c], c, tmp_path) for c in Channel if c is not Channel.STATUS}
    assert write_missing(tmp_path) == []
