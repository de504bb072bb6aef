"""Writes answers to standard output, one JSON object a line, as soon as they are there."""

import os
import select
from collections.abc import Sequence
from typing import Final

from edge_agent.sensing.answers import Answer, encode_answer

# Longest wait for a reader that is slow.
_WAIT_S: Final = 0.2


class StandardOutput:
    """A pipe, a terminal or a file; implements `edge_agent.sensing.outlet.Carrier`.

    A reader that does not read holds up nothing but the answers themselves: the descriptor is asked before each write
    whether it takes more, and a pipe takes up to `PIPE_BUF` bytes at once then, never a part of them.
    """

    def __init__(self, descriptor: int = 1) -> None:
        """Write to this descriptor, which stays open."""
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        # Of a line that was written in part.
        self._rest = b""

    def send(self, answers: Sequence[Answer]) -> int:
        """Write lines while they are taken; see `Carrier.send`."""
        for taken, answer in enumerate(answers):
            if not self._rest:
                self._rest = encode_answer(answer) + b"\n"
            while self._rest:
                if not self._poll.poll(_WAIT_S * 1000):
                    if taken == 0:
                        raise BlockingIOError("its reader does not read")
                    return taken
                self._rest = self._rest[os.write(self._descriptor, self._rest[: select.PIPE_BUF]) :]
        return len(answers)

    def close(self) -> None:
        """Have nothing to give back."""
