"""Takes the steps of one page in a folder of its own, with the programs of this environment first in PATH."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.conftest import REPOSITORY, SBIN
from tests.docs.blocks import Step
from tests.waiting import wait_until

# Ports that pages name. Other programs may have them where the tests run, so each becomes a free one.
PORTS: Final = ("1883", "8080", "8000", "8883", "8884")

# Not how long it may take: what goes on longer, on a machine busy with other tests as well, hangs.
_STEP_S: Final = 300.0
_READY_S: Final = 60.0
_END_S: Final = 15.0
_TAIL_CHARACTERS: Final = 4000


class StepFailedError(AssertionError):
    """A step of a page did not do what the page says."""


class PageRun:
    """Runs steps one after the other; close it to end what runs in the background."""

    def __init__(self, folder: Path, free_ports: Callable[[int], list[int]]) -> None:
        self._page_folder = folder
        self._folder = folder
        self._ports = {port: str(free) for port, free in zip(PORTS, free_ports(len(PORTS)), strict=True)}
        self._background: list[tuple[Step, subprocess.Popen[bytes], Path]] = []
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""), SBIN))
        self._environment = {
            "PATH": path,
            "HOME": str(folder / ".home"),
            "LANG": "C.UTF-8",
            "COLUMNS": "120",
            # For `before` comments only: what a reader brings along is made by tests/docs/prepare.py.
            "PREPARE": f"env PYTHONPATH={REPOSITORY} {sys.executable} -m tests.docs.prepare",
        }
        (folder / ".home").mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self, step: Step) -> None:
        """Take one step.

        Raises:
            StepFailedError: it failed where it should not, or the other way round.
        """
        text = self.with_free_ports(step.text)
        match step.kind:
            case "file":
                path = self._folder / step.detail
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            case "background":
                self._start(step, text)
            case "run" | "fails":
                self._run(step, text)
            case "again":
                self._run_again(step, text)
            case "folder":
                self.close()
                self._folder = self._page_folder / f"from-line-{step.line}"
                self._folder.mkdir()
            case "skip":
                pass

    def with_free_ports(self, text: str) -> str:
        """Return a text with the ports that pages name replaced by free ones."""
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: self._ports[found[0]], text)

    def close(self) -> None:
        """End what runs in the background, last started first, as Ctrl-C and then a kill would."""
        for _, process, _ in reversed(self._background):
            _end_group(process)
        self._background.clear()

    def _run(self, step: Step, text: str) -> None:
        code, output = self._outcome_of(step, text)
        if (code == 0) == (step.kind == "fails"):
            raise StepFailedError(self._told(step, text, f"ended with code {code}", output))

    def _run_again(self, step: Step, text: str) -> None:
        outcome: tuple[int, bytes] = (0, b"")

        def has_said_so() -> bool:
            nonlocal outcome
            outcome = self._outcome_of(step, text)
            return self.with_free_ports(step.detail).encode() in outcome[1]

        try:
            wait_until(has_said_so, _STEP_S)
        except AssertionError:
            raise StepFailedError(self._told(step, text, f"never said {step.detail!r}", outcome[1])) from None

    def _outcome_of(self, step: Step, text: str) -> tuple[int, bytes]:
        """Run commands to their end; return their exit code and all that they wrote."""
        process = subprocess.Popen(
            ["sh", "-e", "-c", text],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=_STEP_S)
        except subprocess.TimeoutExpired:
            _end_group(process)
            raise StepFailedError(self._told(step, text, f"is not done after {_STEP_S:g} s", b"")) from None
        return process.returncode, output

    def _start(self, step: Step, text: str) -> None:
        log = self._folder / f".background-{step.line}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["sh", "-e", "-c", text],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._background.append((step, process, log))
        ready = self.with_free_ports(step.detail).encode()
        wait_until(
            lambda: ready in log.read_bytes() or process.poll() is not None, _READY_S, f"{step.detail!r} is told"
        )
        if ready not in log.read_bytes():
            raise StepFailedError(self._told(step, text, f"ended with code {process.returncode}", log.read_bytes()))

    def _told(self, step: Step, text: str, what: str, output: bytes) -> str:
        parts = [f"the block at line {step.line} {what}:", text, output.decode(errors="replace")[-_TAIL_CHARACTERS:]]
        for other, _, log in self._background:
            if other is not step:
                said = log.read_bytes().decode(errors="replace")[-_TAIL_CHARACTERS:]
                parts.append(f"--- in the background, line {other.line}:\n{said}")
        return "\n".join(parts)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session of its own, and what it started in it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
