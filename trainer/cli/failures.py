"""How a failed command ends: which errors are told as one message, and with which exit code."""

from typing import Final

from broker.errors import BrokerError
from edge_agent.configuration import ConfigurationError
from edge_agent.errors import AgentError
from exporter.errors import ExporterError
from trainer.errors import MissingProgramError, ProjectError, TrainerError

# The roots of the errors that are meant for people. Each class of ours may carry its own `exit_code`.
FOR_PEOPLE: Final = (TrainerError, ExporterError, BrokerError, AgentError, ConfigurationError)
_OTHER_CODES: Final[dict[type[Exception], int]] = {ConfigurationError: ProjectError.exit_code}
_OUR_PACKAGES: Final = ("trainer", "exporter", "edge_agent", "broker")


def exit_code_of(error: Exception) -> int:
    """Return the exit code of an error of ours: its class's, else 1."""
    for kind, code in _OTHER_CODES.items():
        if isinstance(error, kind):
            return code
    return int(getattr(error, "exit_code", 1))


def as_missing_package(error: ModuleNotFoundError) -> MissingProgramError | None:
    """Return what to say when a package of an extra is not installed; None when a module of ours is missing."""
    package = (error.name or "").split(".")[0]
    if not package or package in _OUR_PACKAGES:
        return None
    return MissingProgramError(f"this command needs the package {package!r}: pip install 'fieldloop[all]'")
