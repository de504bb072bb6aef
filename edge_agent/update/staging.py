"""The agent's side of staging: starts the child process, waits for nothing, and makes a report of whatever ends it."""

import logging
import signal
import subprocess
import tempfile
from typing import IO, Final

import msgspec

from edge_agent.child_process import start_child
from edge_agent.clock import Clock
from edge_agent.update.stage_messages import Outcome, StageOrder, StageReport

logger = logging.getLogger(__name__)

MAX_REPORT_BYTES: Final = 64 << 10
_END_S: Final = 5.0
# How a process ends by what it does itself. By any other signal somebody else ended it: a service that stops, a person,
# the kernel when memory is short; that says nothing against the bundle.
_CRASHES: Final = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGBUS, signal.SIGFPE})


class StageProcess:
    """One child at work; used by one thread."""

    def __init__(self, order: StageOrder, timeout_s: float, clock: Clock) -> None:
        """Start the child.

        Args:
            order: what it is to do.
            timeout_s: longest time for all of it.
            clock: tells how long it has been at work.

        Raises:
            OSError: no process can be started now.
        """
        self._clock = clock
        self._timeout_s = timeout_s
        self._started_s = clock.monotonic_s()
        # A file, not a pipe: a child that writes too much must not wait for a reader that never waits for it.
        self._answer: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self._process = start_child("edge_agent.update.stage", self._answer)
        self._tell(order)

    def poll(self) -> StageReport | None:
        """Return the report once the child has ended, None before; ends a child that takes too long."""
        code = self._process.poll()
        if code is None:
            if self._clock.monotonic_s() - self._started_s < self._timeout_s:
                return None
            self.cancel()
            return StageReport("timed_out", f"not fetched and proved within {self._timeout_s:g} s")
        report = self._read_report(code)
        self._close()
        return report

    def cancel(self) -> None:
        """End the child, if it is still there."""
        self._process.kill()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            logger.warning("the staging process %d does not end; it holds a lock that the next one waits for", self.pid)
        self._close()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def _tell(self, order: StageOrder) -> None:
        pipe = self._process.stdin
        if pipe is None:
            return
        try:
            pipe.write(msgspec.json.encode(order) + b"\n")
            pipe.flush()
        except BrokenPipeError:
            # It died at once; poll tells how.
            logger.debug("the staging process %d took no order", self.pid)

    def _read_report(self, code: int) -> StageReport:
        self._answer.seek(0)
        return report_from(self._answer.read(MAX_REPORT_BYTES), code)

    def _close(self) -> None:
        # The child's stdin is open until now: its end tells the child that the agent is gone.
        if self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                logger.debug("the staging process %d never read its order", self.pid)
        self._answer.close()


def report_from(answer: bytes, code: int) -> StageReport:
    """Return the report of a child from what it wrote and how it ended.

    A runtime may crash the process after its last word; that it proved the bundle does not count then.
    """
    try:
        report = msgspec.json.decode(answer, type=StageReport)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        report = None
    if report is None or (report.outcome == "proved" and code != 0):
        outcome: Outcome = "crashed" if code >= 0 or -code in _CRASHES else "broken_off"
        return StageReport(outcome, f"the process that proves the bundle {_ending(code)}")
    return report


def _ending(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"ended with code {code} and no report"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}"
