"""The log has priorities where journald reads it, and times where people do."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.service.journal import JournalFormatter, is_journal, log_handler


def stream_name(path: Path) -> str:
    found = path.stat()
    return f"{found.st_dev}:{found.st_ino}"


def test_a_stream_is_the_journal_s_only_if_the_variable_names_that_stream(tmp_path: Path):
    journal, other = tmp_path / "journal", tmp_path / "other"
    for path in (journal, other):
        path.touch()
    environment = {"JOURNAL_STREAM": stream_name(journal)}
    with journal.open("a") as ours, other.open("a") as not_ours:
        assert is_journal(ours, environment)
        assert not is_journal(not_ours, environment)
        assert not is_journal(ours, {})


def test_a_stream_without_a_descriptor_is_not_the_journal_s(tmp_path: Path):
    closed = (tmp_path / "closed").open("w")
    closed.close()
    assert not is_journal(closed, {"JOURNAL_STREAM": "1:2"})


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7), (1, 7)],
)
def test_every_line_of_a_record_has_its_priority_and_no_time(level: int, priority: int):
    record = logging.LogRecord("edge_agent.x", level, "x.py", 1, "first\nsecond", None, None)
    formatter = JournalFormatter("%(name)s: %(message)s")
    assert formatter.format(record) == f"<{priority}>edge_agent.x: first\n<{priority}>second"


def test_at_a_terminal_lines_have_times_and_names(tmp_path: Path):
    with (tmp_path / "log").open("w") as stream:
        log_handler(stream, {}).emit(logging.LogRecord("a", logging.WARNING, "x.py", 1, "hot", None, None))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d .* WARNING a: hot\n", (tmp_path / "log").read_text(encoding="utf-8"))


def test_an_error_that_ends_the_command_has_its_priority_too(tmp_path: Path):
    log = tmp_path / "journal"
    with log.open("w") as stream:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "edge_agent", "run", "--settings", str(tmp_path / "none.toml")],
            stderr=stream,
            env=os.environ | {"JOURNAL_STREAM": stream_name(log)},
            check=False,
        )
    assert done.returncode == 2
    assert log.read_text(encoding="utf-8").startswith("<3>fieldloop-agent: ")
