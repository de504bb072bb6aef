"""What the commands on identities share: their options, how they open a fleet, how they write times and secrets."""

import contextlib
import getpass
import json
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from broker.identity.names import Identity, IdentityError, Role, parse_identity

if TYPE_CHECKING:
    from broker.identity.folder import FleetFolder
    from broker.identity.register import Register
    from broker.identity.registrar import Registrar

FolderOption = Annotated[Path, typer.Option("--folder", help="The fleet's folder, as `fieldloop fleet init` made it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ReasonOption = Annotated[str, typer.Option(help="Why; is kept.")]
ExpiresOption = Annotated[str, typer.Option("--expires", help="How long the token is good: 30m, 12h, 7d.")]
PassphraseOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="File with the root's passphrase, readable by you alone; default: asks."),
]

DEFAULT_FOLDER: Final = Path("fleet")
_TIME: Final = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def utc_s() -> float:
    """Return the time: floor 1 has no clock of its own, and these are commands for people."""
    return time.time()  # noqa: TID251


def read_passphrase(file: Path | None, *, is_new: bool) -> bytes:
    """Return the root's passphrase: of a file, else asked for; never of the command line, which others can read.

    Raises:
        IdentityError: the file is not there or not private, or there is nobody to ask.
    """
    from broker.identity.files import read_secret

    if file is not None:
        return read_secret(file).rstrip(b"\r\n")
    if not sys.stdin.isatty():
        raise IdentityError("there is nobody to ask for the root's passphrase: give --passphrase-file")
    return str(typer.prompt("passphrase of the fleet's root", hide_input=True, confirmation_prompt=is_new)).encode()


def open_fleet(folder: Path) -> "FleetFolder":
    """Return the fleet of a folder."""
    from broker.identity.folder import FleetFolder

    return FleetFolder(folder)


@contextlib.contextmanager
def opened_register(fleet: "FleetFolder") -> Iterator["Register"]:
    """Give its register for a block."""
    register = fleet.open_register()
    try:
        yield register
    finally:
        register.close()


def registrar_of(register: "Register", fleet: "FleetFolder") -> "Registrar":
    """Return what changes a register in the name of whoever calls the command, and writes it down before."""
    from broker.identity.registrar import Registrar

    def write_down(what: str, identity: Identity | None, detail: str) -> None:
        device = "" if identity is None or identity.device is None else identity.device
        write_order(fleet, what, device, detail if identity is None else f"{identity.name}: {detail}")

    return Registrar(register, fleet.fleet, getpass.getuser(), utc_s, write_down=write_down)


def write_order(fleet: "FleetFolder", what: str, device: str, detail: str) -> None:
    """Put an order into the fleet's audit log; raise where that cannot be, so that it is not done."""
    from broker.audit import AUDIT_NAME, AuditLog

    AuditLog(fleet.path / AUDIT_NAME, utc_s).append(by=getpass.getuser(), what=what, device=device, detail=detail)


def parse_device_name(text: str) -> Identity:
    """Read the id of a device."""
    identity = parse_identity(text)
    if identity.role is not Role.DEVICE or not identity.is_first:
        raise IdentityError(f"{text}: give the device's id; it has one whatever its certificates are called")
    return identity


def parse_person_name(text: str) -> Identity:
    """Read the name of a person or a service."""
    identity = parse_identity(text)
    if identity.role is Role.DEVICE or not identity.is_first:
        roles = ", ".join(role.value for role in Role if role is not Role.DEVICE)
        raise IdentityError(f"{text}: write ROLE:NAME, with a role of {roles}")
    return identity


def seconds_of(text: str) -> float:
    """Read a time such as 7d."""
    found = _TIME.fullmatch(text)
    if found is None or not int(found[1]):
        raise IdentityError(f"{text!r} is no time: write 30m, 12h or 7d")
    return float(int(found[1]) * _SECONDS[found[2]])


def print_json(told: object) -> None:
    """Print one JSON value on a line."""
    typer.echo(json.dumps(told))


def day_of(at_utc_s: float) -> str:
    """Write a day in UTC."""
    return f"{datetime.fromtimestamp(at_utc_s, UTC):%Y-%m-%d}"


def minute_of(at_utc_s: float) -> str:
    """Write a minute in UTC."""
    return f"{datetime.fromtimestamp(at_utc_s, UTC):%Y-%m-%d %H:%M} UTC"


def give(text: str, out: Path | None, *, is_secret: bool) -> None:
    """Print a text, or write it to a file."""
    from broker.identity.files import write_file

    if out is None:
        typer.echo(text)
        return
    write_file(out, text.encode() + b"\n", is_secret=is_secret)


def verify_out(out: Path | None) -> None:
    """Make sure that what is made next can be told: a claim token is shown this once."""
    from broker.identity.files import verify_free

    if out is not None:
        verify_free(out)


def read_file(path: Path) -> bytes:
    """Read a file that a person named."""
    try:
        with path.open("rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise IdentityError(f"{path} cannot be read: {error.strerror or error}") from error
