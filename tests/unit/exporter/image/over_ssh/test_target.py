"""Tests of exporter.image.over_ssh.target."""

import pytest

from exporter.image.over_ssh.errors import BoardError
from exporter.image.over_ssh.target import SshTarget, parse_target


@pytest.mark.parametrize(
    ("text", "target", "arguments"),
    [
        ("ssh://pi@board", SshTarget("board", "pi"), ("-l", "pi", "--", "board")),
        ("ssh://pi@board:2222/", SshTarget("board", "pi", 2222), ("-p", "2222", "-l", "pi", "--", "board")),
        ("pi@192.0.2.7", SshTarget("192.0.2.7", "pi"), ("-l", "pi", "--", "192.0.2.7")),
        ("my-board", SshTarget("my-board"), ("--", "my-board")),
        ("ssh://[2001:db8::7]:22", SshTarget("2001:db8::7", None, 22), ("-p", "22", "--", "2001:db8::7")),
        ("ssh://pi@[fe80::1%eth0]", SshTarget("fe80::1%eth0", "pi"), ("-l", "pi", "--", "fe80::1%eth0")),
    ],
)
def test_it_is_an_address_as_ssh_has_it_or_a_name_of_its_configuration(
    text: str, target: SshTarget, arguments: tuple[str, ...]
):
    assert parse_target(text) == target
    assert target.arguments == arguments


@pytest.mark.parametrize(
    "text",
    [
        *("", "ssh://", "ssh://pi@", "-oProxyCommand=x", "ssh://-l@board", "pi@-board", "board:", "board:0"),
        *("board:65536", "board:x", "a b", "pi@board/path", "ssh://@board", "board\n", "[::1", "http://board"),
    ],
)
def test_what_is_none_or_looks_like_an_option_is_refused(text: str):
    with pytest.raises(BoardError):
        parse_target(text)


def test_a_password_in_it_is_refused_and_not_repeated():
    with pytest.raises(BoardError) as refused:
        parse_target("ssh://pi:raspberry@board")
    assert "raspberry" not in str(refused.value)
