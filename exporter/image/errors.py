"""Errors of images and disks."""

from exporter.errors import ExporterError


class ImageError(ExporterError):
    """An image or its block map cannot be taken: get it anew, or name another file."""

    exit_code = 12


class DiskError(ExporterError):
    """A disk may not be written to, or is not there: nothing was changed on it."""

    exit_code = 13


class FlashError(ExporterError):
    """Writing or reading back failed: the disk does not start now; flash it again, or take another.

    Attributes:
        offset: byte of the disk at which it failed.
    """

    exit_code = 14

    def __init__(self, message: str, *, offset: int) -> None:
        """Keep the place beside the message."""
        super().__init__(message)
        self.offset = offset


class CardError(ExporterError):
    """What is asked for cannot be on a card: mend the file or the option that the message names."""

    exit_code = 18


class BuildError(ExporterError):
    """An image cannot be built: the message says what is missing or wrong, and what to do."""

    exit_code = 15
