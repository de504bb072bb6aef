"""Errors of the central side, split by what the caller can do; each class has the exit code of its command."""


class TrainerError(Exception):
    """Base of every error of this package."""

    exit_code = 1


class ProjectError(TrainerError):
    """The project file is wrong: give up, and say which key."""

    exit_code = 2


class DataError(TrainerError):
    """The data are not what the project says: give up, and say file, row and column."""

    exit_code = 3


class GateRefusedError(TrainerError):
    """A candidate did not pass the gate: nothing was promoted."""

    exit_code = 4


class RegistryError(TrainerError):
    """The registry does not hold what was asked for."""

    exit_code = 5


class RunError(TrainerError):
    """A run of the pipeline broke off; it can be resumed."""

    exit_code = 6


class BusyError(RunError):
    """Another run of the same project goes on: try again later."""

    # No other class has it, of no package: who started the command knows by it that waiting helps.
    exit_code = 10


class ClusterError(RunError):
    """A cluster is not there, or not as it must be: what was done is kept, and the same command goes on."""


class MissingProgramError(TrainerError):
    """Something that is installed only when asked for is missing; the message says how to get it."""

    exit_code = 7
