"""The agent's side of a step: starts the process that takes it, waits for nothing, reports whatever ends it."""

import contextlib
import subprocess
import tempfile
from typing import IO, Final

import msgspec

from edge_agent.child_process import start_child
from edge_agent.clock import Clock
from edge_agent.enrolment.messages import EnrolmentOrder, EnrolmentReport

MAX_REPORT_BYTES: Final = 64 << 10
_END_S: Final = 5.0


class EnrolmentProcess:
    """One child at work; used by one thread."""

    def __init__(self, order: EnrolmentOrder, timeout_s: float, clock: Clock) -> None:
        """Start it.

        Args:
            order: what it is to do.
            timeout_s: longest time for all of it.
            clock: tells how long it has been at work.

        Raises:
            OSError: no process can be started now.
        """
        self._clock = clock
        self._ends_s = clock.monotonic_s() + timeout_s
        self._answer: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self._process = start_child("edge_agent.enrolment.child", self._answer)
        if self._process.stdin is not None:
            # A child that died at once takes no order; poll tells how.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(msgspec.json.encode(order) + b"\n")
                self._process.stdin.close()

    def poll(self) -> EnrolmentReport | None:
        """Return the report once the child has ended, None before; ends a child that takes too long."""
        code = self._process.poll()
        if code is None:
            if self._clock.monotonic_s() < self._ends_s:
                return None
            self.cancel()
            return EnrolmentReport("unreachable", "the enrolment endpoint took too long")
        self._answer.seek(0)
        data = self._answer.read(MAX_REPORT_BYTES)
        self._answer.close()
        try:
            return msgspec.json.decode(data, type=EnrolmentReport)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return EnrolmentReport("unreachable", f"the process that enrols ended with code {code} and no report")

    def cancel(self) -> None:
        """End the child, if it is still there: it leaves the old identity or the new one."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._answer.close()
