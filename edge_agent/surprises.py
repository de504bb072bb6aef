"""Tells of exceptions that nobody foresaw: each kind once with its traceback, so that a log stays readable."""

import logging


class Surprises:
    """What one part of the agent was surprised by; used by one thread."""

    def __init__(self, logger: logging.Logger) -> None:
        """Tell it to this logger."""
        self._logger = logger
        self._told: set[tuple[type[Exception], str, int]] = set()

    def tell(self, what: str, error: Exception) -> None:
        """Log an exception that is being handled: with its traceback if its type is new from its place, else quietly.

        Args:
            what: what was being done.
            error: the exception.
        """
        kind = (type(error), *_place(error))
        if kind in self._told:
            self._logger.debug("%s: the same surprise: %r", what, error)
            return
        self._told.add(kind)
        self._logger.error("%s: a surprise, told once", what, exc_info=error)


def _place(error: Exception) -> tuple[str, int]:
    """Return the file and the line where an exception was raised."""
    trace = error.__traceback__
    if trace is None:
        return "", 0
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno
