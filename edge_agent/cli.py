"""The command ``fieldloop-agent``: runs the agent, or one of the commands of `commands_cli`.

Of an agent that starts, each import before the first row is counted: what other commands need is imported for them.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from edge_agent.errors import AgentError
from edge_agent.service.journal import is_journal, log_handler

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

INTERRUPTED: Final = 130
ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, which is that of the error's class."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    settings = _settings_of_a_service(given)
    if settings is not None:
        return _carry_out(lambda: _run(settings), verbose=False)
    from edge_agent.commands_cli import parse

    options = parse(given)
    command: Callable[[argparse.Namespace], int] | None = options.command
    if command is None:
        return _carry_out(lambda: _run(options.settings), verbose=options.verbose)
    return _carry_out(lambda: command(options), verbose=options.verbose)


def _settings_of_a_service(arguments: list[str]) -> str | None:
    """Return the settings file of the command line that services use; None: it is another one, for argparse.

    To load argparse and to build the parser takes an agent a third of the time that it has until its first row.
    """
    match arguments:
        case ["run", "--settings", path] if not path.startswith("-"):
            return path
        case _:
            return None


def _carry_out(command: Callable[[], int], *, verbose: bool) -> int:
    _configure_logging(verbose=verbose)
    try:
        return command()
    except AgentError as error:
        mark = "<3>" if is_journal(sys.stderr, os.environ) else ""
        for line in str(error).splitlines():
            sys.stderr.write(f"{mark}fieldloop-agent: {line}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our output went away; say no more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _run(settings: "str | Path") -> int:
    """Score until SIGTERM or SIGINT; read the settings again on SIGHUP."""
    import faulthandler
    import gc
    import signal

    from edge_agent.late_imports import hidden, put_off

    # Of numpy only arrays are used here: linear algebra with a thread for each core would cost time and memory.
    for variable in ONE_THREAD:
        os.environ.setdefault(variable, "1")
    # What is imported stays: to look through it for rubbish, again and again, is in vain. Begun after the first row.
    gc.disable()
    # In this process only, and before the modules that import them.
    put_off("urllib.request", "uuid", "ipaddress")
    # msgspec finds the same names in `typing`.
    with hidden("typing_extensions"):
        put_off("msgspec.inspect")

    from pathlib import Path

    from edge_agent.clock import SystemClock
    from edge_agent.service.notify import notifier_from, watchdog_s
    from edge_agent.service.process import Service

    # The manager's watchdog ends a process that hangs by SIGABRT: where each thread hung is then in the log.
    faulthandler.enable()
    notifier = notifier_from(os.environ)
    service = Service(Path(settings), SystemClock(), notifier, watchdog_s(os.environ))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    signal.signal(signal.SIGHUP, lambda *_: service.reload())
    service.run()
    return 0


def _configure_logging(*, verbose: bool) -> None:
    handler = log_handler(sys.stderr, os.environ)
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
