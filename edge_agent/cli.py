"""The command ``fieldloop-agent``: run, status, check-config, and what `hand_cli` adds.

Only the standard library is imported before a command is chosen, so that ``--help`` is instant on the slowest board.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from edge_agent.errors import AgentError, BundleError, SettingsError
from edge_agent.hand_cli import add_hand_commands
from edge_agent.service.journal import is_journal, log_handler

DEFAULT_SETTINGS: Final = Path("agent.toml")
# Where the Debian package has them.
SYSTEM_SETTINGS: Final = Path("/etc/fieldloop/agent.toml")
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, which is that of the error's class."""
    options = _parser().parse_args(arguments)
    _configure_logging(verbose=options.verbose)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
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


def _run(options: argparse.Namespace) -> int:
    """Score until SIGTERM or SIGINT; read the settings again on SIGHUP."""
    import faulthandler
    import signal

    from edge_agent.late_imports import put_off

    # Before the MQTT client is imported, and in this process only.
    put_off("urllib.request", "uuid")

    from edge_agent.clock import SystemClock
    from edge_agent.service.notify import notifier_from, watchdog_s
    from edge_agent.service.process import Service

    # The manager's watchdog ends a process that hangs by SIGABRT: where each thread hung is then in the log.
    faulthandler.enable()
    notifier = notifier_from(os.environ)
    service = Service(options.settings, SystemClock(), notifier, watchdog_s(os.environ))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    signal.signal(signal.SIGHUP, lambda *_: service.reload())
    service.run()
    return 0


def _status(options: argparse.Namespace) -> int:
    """Tell from the state folder what the agent does or did."""
    from edge_agent.settings import load_settings
    from edge_agent.status_report import as_json, as_text, read_report

    report = read_report(load_settings(options.settings))
    sys.stdout.write((as_json(report) if options.json else as_text(report)) + "\n")
    return 0


def _explain(options: argparse.Namespace) -> int:
    """Tell which variant of a bundle runs here and why; exit code of BundleError where none can."""
    from edge_agent.explanation import as_json, as_text, explain, explain_running, load_manifest
    from edge_agent.scoring.device import read_device
    from edge_agent.settings import load_settings

    device = read_device()
    if options.bundle is None:
        found = explain_running(load_settings(options.settings), device)
    else:
        # A bundle can be judged before there are settings.
        prefer = load_settings(options.settings).scoring.prefer if options.settings.is_file() else ()
        found = explain(load_manifest(options.bundle), device, prefer)
    sys.stdout.write((as_json(found) if options.json else as_text(found)) + "\n")
    return 0 if found.chosen is not None else BundleError.exit_code


def _check_config(options: argparse.Namespace) -> int:
    """Name every problem of the settings; exit code 2 if there is any."""
    from edge_agent.settings import load_settings, problems_here

    settings = load_settings(options.settings)
    problems = problems_here(settings)
    if problems:
        raise SettingsError("\n".join(f"{options.settings}: {problem}" for problem in problems))
    sys.stdout.write(f"{options.settings}: good; device {settings.device} of fleet {settings.fleet}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fieldloop-agent", description="Scores rows on this device, reports, and updates its model by itself."
    )
    parser.add_argument("--version", action=_PrintVersion, nargs=0, help="print the version and exit")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--settings",
        type=Path,
        default=SYSTEM_SETTINGS if SYSTEM_SETTINGS.exists() and not DEFAULT_SETTINGS.exists() else DEFAULT_SETTINGS,
        metavar="FILE",
        help=f"default: {DEFAULT_SETTINGS} in the working folder, else {SYSTEM_SETTINGS}",
    )
    common.add_argument("--verbose", action="store_true", help="log more")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = commands.add_parser("run", parents=[common], help="score until SIGTERM or Ctrl-C; SIGHUP: new settings")
    run.set_defaults(command=_run)
    status = commands.add_parser("status", parents=[common], help="tell what the agent does, running or not")
    status.add_argument("--json", action="store_true", help="for machines")
    status.set_defaults(command=_status)
    explain = commands.add_parser("explain", parents=[common], help="tell which variant of a bundle runs here, and why")
    explain.add_argument(
        "bundle",
        type=Path,
        nargs="?",
        metavar="BUNDLE",
        help="a bundle's folder, its manifest.json, or a packed bundle; default: what runs",
    )
    explain.add_argument("--json", action="store_true", help="for machines")
    explain.set_defaults(command=_explain)
    check = commands.add_parser("check-config", parents=[common], help="name every problem of the settings")
    check.set_defaults(command=_check_config)
    add_hand_commands(commands, common)
    return parser


class _PrintVersion(argparse.Action):
    """Prints the version; looked up only then, because that takes as long as all the rest of ``--help``."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it, and end the command."""
        from importlib.metadata import version

        sys.stdout.write(f"{parser.prog} {version('fieldloop')}\n")
        parser.exit()


def _configure_logging(*, verbose: bool) -> None:
    handler = log_handler(sys.stderr, os.environ)
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
