"""Tests of exporter.image.over_ssh.look."""

import subprocess
from dataclasses import replace

import pytest

from exporter.image.over_ssh.errors import BoardError
from exporter.image.over_ssh.look import SCRIPT, Seen, parse_seen, verify_can_take

SEEN = Seen(
    user="pi",
    is_root=False,
    machine="aarch64",
    architecture="arm64",
    system="Debian GNU/Linux 12 (bookworm)",
    model="Raspberry Pi 3 Model B Rev 1.2",
    memory_bytes=948_000 << 10,
    has_systemd=True,
    programs=frozenset({"apt-get", "python3", "sudo"}),
    has_free_sudo=True,
    free_kib=1 << 20,
    installed=None,
)
PRINTED = b"""Welcome to the press!\r
fieldloop user=pi
fieldloop uid=1000
fieldloop machine=aarch64
fieldloop architecture=arm64
fieldloop system=Debian GNU/Linux 12 (bookworm)
fieldloop model=Raspberry Pi 3 Model B Rev 1.2
fieldloop memory_kib=948000
fieldloop systemd=yes
fieldloop has_apt-get=yes
fieldloop has_python3=yes
fieldloop has_sudo=yes
fieldloop sudo=free
fieldloop free_kib=1048576
fieldloop end=yes
"""


def test_what_the_board_prints_is_read_whatever_its_login_prints_beside_it():
    assert parse_seen(PRINTED) == SEEN
    assert (
        parse_seen(PRINTED.replace(b"fieldloop end", b"fieldloop installed=0.1.0\nfieldloop end")).installed == "0.1.0"
    )


def test_the_script_says_everything_of_the_machine_it_runs_on():
    done = subprocess.run(["sh", "-s"], input=SCRIPT, capture_output=True, check=True)
    seen = parse_seen(done.stdout)
    assert seen.machine
    assert seen.free_kib > 0
    assert seen.memory_bytes > 0


def test_a_shell_that_did_not_run_the_script_to_its_end_is_told_of():
    with pytest.raises(BoardError, match="sh -s"):
        parse_seen(b"This account is currently not available.\n")


def test_a_board_that_has_all_is_taken():
    verify_can_take(SEEN, 4 << 20, has_password=False)
    verify_can_take(replace(SEEN, has_free_sudo=False), 4 << 20, has_password=True)
    root = replace(SEEN, is_root=True, has_free_sudo=False, programs=SEEN.programs - {"sudo"})
    verify_can_take(root, 4 << 20, has_password=False)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (replace(SEEN, architecture="", system="Alpine Linux v3.20"), "the board runs Alpine Linux"),
        (replace(SEEN, programs=frozenset({"sudo"})), "Debian or Raspberry Pi OS is needed"),
        (replace(SEEN, has_systemd=False), "systemd does not run"),
        (replace(SEEN, programs=SEEN.programs - {"sudo"}), "there is no sudo"),
        (replace(SEEN, has_free_sudo=False), "--ask-sudo-password"),
        (replace(SEEN, free_kib=16 << 10), "16,384 KiB free"),
    ],
)
def test_a_board_that_lacks_something_is_refused_with_what_to_do(seen: Seen, words: str):
    with pytest.raises(BoardError, match=words):
        verify_can_take(seen, 4 << 20, has_password=False)
