"""The commands of ``fieldloop-agent`` for a person at the device: install, rollback, diagnose, enrol."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgspec import Struct


def add_hand_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    """Add them to a parser's commands."""
    install = commands.add_parser(
        "install",
        parents=[common],
        help="install an update file, by the checks of an update",
        description=(
            "Takes a bundle from a file, without a network, by every check of an update. A running agent does it; "
            "where none runs, the bundle is proved now and goes on trial at the next start."
        ),
    )
    install.add_argument("file", type=Path, metavar="FILE", help="what `fieldloop repository export` wrote")
    install.add_argument("--json", action="store_true", help="for machines")
    install.set_defaults(command=_install)
    rollback = commands.add_parser(
        "rollback",
        parents=[common],
        help="go back to the bundle before",
        description="Goes back to the bundle before, or ends a trial. What it goes back from waits for a new order.",
    )
    rollback.add_argument("--reason", default="no reason given", help="is reported; default: %(default)s")
    rollback.add_argument("--json", action="store_true", help="for machines")
    rollback.set_defaults(command=_rollback)
    diagnose = commands.add_parser(
        "diagnose",
        parents=[common],
        help="write an archive for support, without secrets",
        description="Writes settings, status, facts of the board and the end of the log to an archive, no secrets.",
    )
    diagnose.add_argument("--out", type=Path, metavar="FILE", help="default: fieldloop-DEVICE-SECONDS.tar.gz here")
    diagnose.add_argument(
        "--log", type=Path, metavar="FILE", help="take the end of this log along; default: the journal"
    )
    diagnose.add_argument("--json", action="store_true", help="for machines")
    diagnose.set_defaults(command=_diagnose)
    enrol = commands.add_parser(
        "enrol",
        parents=[common],
        help="get this device's certificate for a claim token",
        description="Makes a key, which never leaves this device, and gets its certificate for a claim token.",
    )
    enrol.add_argument("--token-file", type=Path, metavar="FILE", help="default: enrolment.token_file of the settings")
    enrol.add_argument("--url", help="of the endpoint, https://host:8884; default: enrolment.url of the settings")
    enrol.add_argument("--ca", type=Path, metavar="FILE", help="the fleet's ca.pem; default: enrolment.ca")
    enrol.add_argument("--json", action="store_true", help="for machines")
    enrol.set_defaults(command=_enrol)


def _install(options: argparse.Namespace) -> int:
    """Install an update file."""
    from edge_agent.by_hand import install
    from edge_agent.clock import SystemClock
    from edge_agent.settings import load_settings

    def tell(text: str) -> None:
        sys.stderr.write(f"fieldloop-agent: {text}\n")

    installed = install(load_settings(options.settings), options.file, SystemClock(), tell)
    _print(options, installed, f"{installed.bundle}: {installed.detail} ({installed.outcome})")
    return 0


def _rollback(options: argparse.Namespace) -> int:
    """Go back to the bundle before."""
    from edge_agent.by_hand import roll_back
    from edge_agent.clock import SystemClock
    from edge_agent.settings import load_settings

    done = roll_back(load_settings(options.settings), options.reason, SystemClock())
    _print(options, done, done.detail)
    return 0


def _diagnose(options: argparse.Namespace) -> int:
    """Write an archive for support."""
    from edge_agent.clock import SystemClock
    from edge_agent.settings import load_settings
    from edge_agent.support_archive import write_archive

    archive = write_archive(load_settings(options.settings), options.out, options.log, SystemClock())
    told = "" if archive.agent_answered else "; no running agent answered"
    _print(options, archive, f"wrote {archive.path}: {archive.size_bytes} bytes, {', '.join(archive.members)}{told}")
    return 0


def _enrol(options: argparse.Namespace) -> int:
    """Get this device's certificate."""
    from edge_agent.enrolment.by_hand import enrol
    from edge_agent.settings import load_settings

    held = enrol(load_settings(options.settings), options.token_file, options.url, options.ca)
    _print(options, held, f"{held.device} of fleet {held.fleet} has its certificate; the key never leaves this device")
    return 0


def _print(options: argparse.Namespace, report: "Struct", text: str) -> None:
    import msgspec

    sys.stdout.write((msgspec.json.encode(report).decode() if options.json else text) + "\n")
