"""Errors of customising an image."""

from exporter.errors import ExporterError


class CustomiseError(ExporterError):
    """An image cannot be customised: the message says why, and what to do; the image was not changed."""

    exit_code = 19
