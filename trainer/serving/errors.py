"""Errors of serving."""

from trainer.errors import TrainerError


class ServingError(TrainerError):
    """The service cannot be started as it was asked for: give up, and say which option."""

    exit_code = 16
