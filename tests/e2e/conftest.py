"""Plays the whole loop in processes of their own, as a user would, and reads what they wrote."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Longer than any run should take on two busy cores; a run that hangs is ended by its id.
DEADLINE_S = 420


@contextmanager
def played(*arguments: str, cwd: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run ``fieldloop demo`` and end it, by its id, when the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer.cli", "demo", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def summary_of(process: "subprocess.Popen[str]", folder: Path) -> dict[str, Any]:
    """Wait for the end, and return the summary; the output is shown when it ended badly."""
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, output
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def verify_books(summary: dict[str, Any], rows: int) -> None:
    """Nothing lost, nothing twice: what the devices sent is what the monitor stored."""
    assert summary["records_sent"] == summary["records_stored"]
    assert summary["duplicates"] == 0
    assert summary["rows_dropped"] == 0
    assert summary["rows_scored"] + summary["rows_refused"] == rows
    assert sum(device["rows_scored"] for device in summary["devices"]) == summary["rows_scored"]
    assert summary["rows_labelled"] <= 0.3 * rows


def running_children(folder: Path) -> list[str]:
    """Return the command lines of processes that still work in a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            cwd = str((place / "cwd").readlink())
        except OSError:
            continue
        if int(place.name) != os.getpid() and (str(folder) in command or cwd.startswith(str(folder))):
            found.append(command)
    return found
