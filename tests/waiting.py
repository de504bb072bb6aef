"""Waits for a condition with a deadline: the only place where a test sleeps."""

import time
from collections.abc import Callable
from typing import Final

POLL_S: Final = 0.01


def wait_until(
    predicate: Callable[[], object], timeout_s: float = 30.0, what: str | Callable[[], str] = "the condition"
) -> None:
    """Return as soon as the predicate is true.

    Args:
        predicate: Asked again and again, at least once; any true value ends the waiting.
        timeout_s: Seconds after which the test fails: not how long it may take, but what only a hang takes, on a busy
            machine too.
        what: What was waited for, named in the failure: "the monitor has stored 12 records". A function is called once
            the deadline has passed, for what is only known then, as the end of a log.

    Raises:
        AssertionError: The deadline passed.
    """
    deadline_s = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() >= deadline_s:
            message = f"waited {timeout_s:g} s in vain until {what if isinstance(what, str) else what()}"
            raise AssertionError(message)
        time.sleep(POLL_S)
