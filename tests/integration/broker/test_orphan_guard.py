"""The guard becomes the command it is given, and refuses what it cannot guard."""

import os
import subprocess
import sys

from broker.servers import orphan_guard
from broker.servers.orphan_guard import guarded


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_takes_the_place_of_the_guard_with_its_arguments_as_they_are():
    result = run(
        guarded([sys.executable, "-c", "import os, sys; print(os.getppid(), sys.argv[1:])", "a b", "--", "$HOME"])
    )
    assert result.stdout == f"{os.getpid()} ['a b', '--', '$HOME']\n"
    assert result.returncode == 0


def test_the_exit_code_of_the_command_is_kept():
    assert run(guarded(["sh", "-c", "exit 7"])).returncode == 7


def test_a_command_that_is_not_there_is_named():
    result = run(guarded(["no-such-broker"]))
    assert result.returncode == 1
    assert result.stderr == "no-such-broker: No such file or directory\n"


def test_a_guard_whose_parent_is_gone_starts_nothing():
    command = guarded(["echo", "started"])
    assert command[4] == str(os.getpid())
    command[4] = "1"
    result = run(command)
    assert result.stdout == ""
    assert result.stderr == "the parent is gone\n"


def test_a_wrong_call_is_answered_with_the_right_one():
    result = run([sys.executable, str(orphan_guard.__file__), "12"])
    assert result.returncode == 1
    assert "PARENT_PID -- COMMAND" in result.stderr
