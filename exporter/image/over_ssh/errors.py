"""Errors of installing on a board over SSH."""

from exporter.errors import ExporterError


class BoardError(ExporterError):
    """A board cannot be reached, or does not take the agent: the message says why, what to do, and how it was left."""

    exit_code = 20
