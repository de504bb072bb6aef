"""The agent's side of a shadow's process: hands it rows and takes its counts, and waits for neither."""

import contextlib
import fcntl
import logging
import os
import subprocess
from typing import Final

import msgspec

from edge_agent.child_process import start_child
from edge_agent.update.shadow_messages import (
    COUNTS,
    LENGTH_BYTES,
    MAX_COUNTS_BYTES,
    ShadowCounts,
    ShadowOrder,
    ShadowRow,
    framed,
)

logger = logging.getLogger(__name__)

_END_S: Final = 2.0
_PIPE_BYTES: Final = 1 << 20
_READ_BYTES: Final = 64 << 10


class ShadowProcess:
    """One child at work; used by one thread.

    Attributes:
        counts: what it counted, as it said last.
    """

    def __init__(self, order: ShadowOrder) -> None:
        """Start the child.

        Raises:
            OSError: no process can be started now.
        """
        self.counts = ShadowCounts()
        self._process = start_child("edge_agent.update.shadow_child", subprocess.PIPE, bufsize=0)
        self._input, self._output = (self._pipe(pipe) for pipe in (self._process.stdin, self._process.stdout))
        self._to_write = memoryview(framed(order))
        self._received = b""
        # One message is on its way at a time: what waits beyond it may be dropped by who has it.
        self._is_waited_for = True

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether it takes rows now."""
        return not self._is_waited_for

    def hand(self, rows: list[ShadowRow]) -> None:
        """Hand over rows; only when it is ready."""
        self._to_write = memoryview(framed(rows))
        self._is_waited_for = True

    def poll(self) -> str | None:
        """Move on what can be moved without waiting; return why the child ended, None while it is at work."""
        try:
            self._write()
            self._read()
        except msgspec.MsgspecError as error:
            self.end()
            return f"it answers what nobody understands: {error}"
        if self.counts.error:
            self.end()
            return self.counts.error
        code = self._process.poll()
        if code is None:
            return None
        self.end()
        return f"its process ended with code {code}" if code >= 0 else f"its process was ended by signal {-code}"

    def end(self) -> None:
        """End the child, if it is still there."""
        self._process.kill()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            logger.warning("the process %d of the shadow does not end", self._process.pid)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    @staticmethod
    def _pipe(pipe: object) -> int:
        descriptor = pipe.fileno() if hasattr(pipe, "fileno") else -1
        os.set_blocking(descriptor, False)
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return int(descriptor)

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while self._to_write:
                self._to_write = self._to_write[os.write(self._input, self._to_write) :]

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._output, _READ_BYTES):
                self._received += data
        while len(self._received) >= LENGTH_BYTES:
            length = int.from_bytes(self._received[:LENGTH_BYTES], "big")
            if length > MAX_COUNTS_BYTES:
                raise msgspec.DecodeError(f"a message of {length} bytes")
            if len(self._received) < LENGTH_BYTES + length:
                return
            message, self._received = (
                self._received[LENGTH_BYTES : LENGTH_BYTES + length],
                self._received[LENGTH_BYTES + length :],
            )
            self.counts = COUNTS.decode(message)
            self._is_waited_for = False
