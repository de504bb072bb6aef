"""Errors of the exporter, split by what the caller can do; each class has the exit code of its command."""


class ExporterError(Exception):
    """Base of every error of this package."""

    exit_code = 1


class ModelError(ExporterError):
    """A model or its file cannot be taken: give up, and say why."""

    exit_code = 2


class RowsError(ExporterError):
    """Calibration or evaluation rows do not fit the model: give up, and say where."""

    exit_code = 3


class UnsupportedError(ExporterError):
    """A variant cannot express this model: the variant is refused by name, the others go on.

    Attributes:
        step: name of the step of the pipeline that cannot be expressed.
    """

    exit_code = 4

    def __init__(self, step: str, message: str) -> None:
        """Keep the step beside the message."""
        super().__init__(message)
        self.step = step


class ConversionError(ExporterError):
    """A converter failed on a model that should work: the variant is refused, the others go on."""

    exit_code = 4


class NothingToPackError(ExporterError):
    """No variant passed its gates, so there is no bundle."""

    exit_code = 5


class KeysError(ExporterError):
    """The signing keys are missing, unreadable or not those of the repository: give up, and say which."""

    exit_code = 6


class MissingSignaturesError(KeysError):
    """Too few of a role's keys are at hand: fetch those that are away, or have their owners sign.

    Attributes:
        role: what was to be signed.
        missing: names of the keys that are not at hand.
        needed: how many of them must still sign.
    """

    def __init__(self, message: str, *, role: str, missing: tuple[str, ...], needed: int) -> None:
        """Keep the facts beside the message."""
        super().__init__(message)
        self.role = role
        self.missing = missing
        self.needed = needed


class RepositoryError(ExporterError):
    """The update repository is not what it must be: give up before anything is changed."""

    exit_code = 7


class ForeignRootError(RepositoryError):
    """The newest root was signed by none of the keys at hand: people must look before they sign what follows it."""


class AlreadyPublishedError(RepositoryError):
    """The same name and version was published with other content: a version never changes, publish a new one."""

    exit_code = 8


class ServingError(ExporterError):
    """The HTTP server of the repository did not start."""

    exit_code = 9


class BundlePlaceError(ExporterError):
    """A bundle cannot be written where it should be: give up before anything is changed."""

    exit_code = 10


class UnprovenError(ExporterError):
    """Nothing wrong was found, but not everything could be checked here: install what is named, or check elsewhere."""

    exit_code = 11
