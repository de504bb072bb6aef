"""Errors of the agent, split by what the agent can do about them."""


class AgentError(Exception):
    """Base of every error of this package; `exit_code` is what the command ends with."""

    exit_code = 1


class SettingsError(AgentError):
    """The settings are wrong: give up, and say which key."""

    exit_code = 2


class BundleError(AgentError):
    """A bundle is not what it must be: refuse it, report it, keep the old one."""

    exit_code = 3


class AlteredError(BundleError):
    """What lies in a slot is not what was put there: it is of no use any more."""


class RuntimeMissingError(BundleError):
    """No installed runtime can run any variant of a bundle."""


class RowError(AgentError):
    """A row cannot be scored: refuse it, count it, go on.

    Attributes:
        kind: the rule that refused it, as counted in telemetry.
        feature: index of the feature whose value broke the rule; None where it was not one value.
    """

    def __init__(self, kind: str, message: str, feature: int | None = None) -> None:
        """Keep the rule and the feature beside the message."""
        super().__init__(message)
        self.kind = kind
        self.feature = feature


class SourceError(AgentError):
    """The source of rows cannot be read: give up, and say what and where."""

    exit_code = 4


class SpoolError(AgentError):
    """A record could not be made durable: keep it in memory and try again."""

    exit_code = 6


class StorageError(AgentError):
    """This device's disk is full, broken or cannot be asked now: keep what there is, try again later."""

    exit_code = 74  # EX_IOERR of sysexits.h


class OpeningError(AgentError):
    """A bundle cannot be opened now, which says nothing of the bundle (no memory, say): keep it, try again later."""


class RepositoryUnreachableError(AgentError):
    """The update repository gives nothing that can be used now: try again later."""

    exit_code = 5


class RepositoryRefusedError(BundleError):
    """The update repository's metadata or a file from it is not trusted: refuse it, report it."""


class RepositoryStaleError(RepositoryRefusedError):
    """The repository, or a copy of it on the way, may be behind: refuse it, report it, and ask again later."""
