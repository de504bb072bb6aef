"""Tests of exporter.image.customise.first_run; what the script does is in tests/integration."""

import subprocess

import pytest

from exporter.image.customise.first_run import first_run_script


@pytest.mark.parametrize("user", ["warden", None])
@pytest.mark.parametrize("hostname", ["press-1", None])
def test_it_is_a_script_that_a_shell_can_read(user: str | None, hostname: str | None):
    script = first_run_script(user=user, keys=("ssh-ed25519 AAAA it's $(mine)",), hostname=hostname, has_wifi=True)
    assert script.startswith(b"#!/bin/sh\n")
    assert b"@" not in script.replace(b"getty@tty1", b"")
    subprocess.run(["sh", "-n"], input=script, check=True)


def test_it_never_fails_for_systemd_would_switch_the_board_off():
    script = first_run_script(user=None, keys=(), hostname=None, has_wifi=False).decode()
    assert "set +e\n" in script
    assert script.endswith("exit 0\n")
