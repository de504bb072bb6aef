"""Hands answers to the user's own code: ``def factory(options) -> function``, and the function takes one answer.

An answer is a mapping with the keys of `edge_agent.sensing.answers`. The function runs in a thread of its own; what it
raises is told, and the answer counts as lost. An OSError says that it cannot take the answer now: it comes again.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from edge_agent.sensing.answers import Answer

Take = Callable[[Mapping[str, str | int | float]], object]


class PythonAnswers:
    """A function of the user; implements `edge_agent.sensing.outlet.Carrier`."""

    def __init__(self, take: Take) -> None:
        """Keep the function; if it has a method ``close``, that is called at the end."""
        self._take = take

    def send(self, answers: Sequence[Answer]) -> int:
        """Hand over one answer; see `Carrier.send`."""
        self._take(msgspec.to_builtins(answers[0]))
        return 1

    def close(self) -> None:
        """Tell the user's code that it is over."""
        close = getattr(self._take, "close", None)
        if close is not None:
            close()
