"""The commands of ``fieldloop-agent`` and their options; `cli` runs them.

Only the standard library is imported before a command is chosen, so that ``--help`` is instant on the slowest board.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from edge_agent.errors import BundleError, SettingsError
from edge_agent.hand_cli import add_hand_commands

DEFAULT_SETTINGS: Final = Path("agent.toml")
# Where the Debian package has them.
SYSTEM_SETTINGS: Final = Path("/etc/fieldloop/agent.toml")
# A test compares them with the errors' classes, which cannot be imported here.
EXIT_CODES: Final = """exit codes:
  0   done
  2   the settings or the command line are wrong
  3   a bundle or an update file is refused, or is not there
  4   the source of rows cannot be read
  5   the repository or the endpoint cannot be reached, or gives nothing
  6   a record cannot be kept
  7   the state folder is in use by another process
  8   the agent that runs does not answer
  9   it cannot be done now, and the message says why
  74  the disk is full, broken, or may not be used
  130 interrupted"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read a command line; ``command`` of what is returned carries it out, and is None for ``run``."""
    return _parser().parse_args(arguments)


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
    from edge_agent.sources import problems_of_code

    settings = load_settings(options.settings)
    problems = problems_here(settings) + problems_of_code(settings)
    if problems:
        raise SettingsError("\n".join(f"{options.settings}: {problem}" for problem in problems))
    sys.stdout.write(f"{options.settings}: good; device {settings.device} of fleet {settings.fleet}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fieldloop-agent",
        description="Scores rows on this device, reports, and updates its model by itself.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    run = commands.add_parser(
        "run",
        parents=[common],
        help="score until SIGTERM or Ctrl-C; SIGHUP: new settings",
        description="Scores rows until SIGTERM or Ctrl-C. SIGHUP: the settings are read again, and no row is lost.",
    )
    run.set_defaults(command=None)
    status = commands.add_parser(
        "status",
        parents=[common],
        help="tell what the agent does, running or not",
        description="Tells bundle, update, rows and spool of an agent that runs, or of one that has ended.",
    )
    status.add_argument("--json", action="store_true", help="for machines")
    status.set_defaults(command=_status)
    explain = commands.add_parser(
        "explain",
        parents=[common],
        help="tell which variant of a bundle runs here, and why",
        description="Tells which variant of a bundle runs on this device, and what is against each of the others.",
    )
    explain.add_argument(
        "bundle",
        type=Path,
        nargs="?",
        metavar="BUNDLE",
        help="a bundle's folder, its manifest.json, or a packed bundle; default: what runs",
    )
    explain.add_argument("--json", action="store_true", help="for machines")
    explain.set_defaults(command=_explain)
    check = commands.add_parser(
        "check-config",
        parents=[common],
        help="name every problem of the settings",
        description="Names every problem of the settings, and of the files and the code that they name; runs nothing.",
    )
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
