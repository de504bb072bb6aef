"""Messages of every version that was ever on the wire are kept as files, and still read."""

import pytest

from broker.messages import VERSION, parse
from broker.topics import Channel
from tests.unit.broker.wire_examples import EXAMPLES, FOLDER, file_of, payload_of, write_missing


@pytest.mark.parametrize(
    ("version", "channel"), [(version, channel) for version, examples in EXAMPLES.items() for channel in examples]
)
def test_a_message_of_an_old_version_still_reads_as_it_was_meant(version, channel):
    assert parse(channel, file_of(version, channel).read_bytes()) == EXAMPLES[version][channel]


def test_every_file_has_its_stated_message_and_every_channel_of_this_version_has_a_file():
    stated = {file_of(version, channel) for version, examples in EXAMPLES.items() for channel in examples}
    assert set(FOLDER.glob("v*/*.bin")) == stated
    assert set(EXAMPLES[VERSION]) == set(Channel)


@pytest.mark.parametrize("channel", Channel)
def test_the_present_version_writes_the_bytes_that_are_kept(channel):
    assert payload_of(EXAMPLES[VERSION][channel]) == file_of(VERSION, channel).read_bytes()


def test_writing_the_files_of_a_version_fills_gaps_and_never_overwrites(tmp_path):
    kept = file_of(VERSION, Channel.STATUS, tmp_path)
    kept.parent.mkdir()
    kept.write_bytes(b"as it was")

    written = write_missing(tmp_path)

    assert kept.read_bytes() == b"as it was"
    assert set(written) == {file_of(VERSION, c, tmp_path) for c in Channel if c is not Channel.STATUS}
    assert write_missing(tmp_path) == []
