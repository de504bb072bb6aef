"""Tests of exporter.image.over_ssh.words; most of what ssh says is provoked in tests/integration."""

import pytest

from exporter.image.over_ssh.target import SshTarget
from exporter.image.over_ssh.words import explained


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "ssh-keygen -R '[b]:22'",
        ),
        ("Host key verification failed.", "Log in once by hand (ssh -p 22 pi@b)"),
        ("pi@b: Permission denied (publickey).", "does not let pi in"),
        ("ssh: Could not resolve hostname b: Name or service not known", "no such name"),
        ("ssh: connect to host b port 22: Connection timed out", "does not answer"),
        ("something\nelse altogether", "pi@b cannot be reached: else altogether"),
        ("", "no word"),
    ],
)
def test_each_failure_says_what_to_do(said: str, words: str):
    assert words in explained(SshTarget("b", "pi", 22), said)
