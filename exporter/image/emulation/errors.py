"""Errors of emulated boards."""

from exporter.errors import ExporterError


class EmulationError(ExporterError):
    """A board cannot be emulated, or did not start: the message names what is missing, or what it said last."""

    exit_code = 17
