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


class RepositoryUnreachableError(AgentError):
    """The road to the update repository is bad: try again later."""

    exit_code = 5


class RepositoryRefusedError(BundleError):
    """The update repository's metadata or a file from it is not trusted: refuse it, report it."""
