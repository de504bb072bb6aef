"""The commands ``fieldloop fleet`` (without ``init``), ``fieldloop device`` and ``fieldloop person``."""

import contextlib
import getpass
import json
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from broker.identity import Identity, IdentityError, Role, parse_identity

if TYPE_CHECKING:
    from broker.identity_folder import FleetFolder
    from broker.identity_register import IdentityRow, Register
    from broker.identity_registrar import Registrar

app = typer.Typer(no_args_is_help=True, add_completion=False)
fleet_app = typer.Typer(no_args_is_help=True, help="Make a fleet's authority, and run where devices enrol.")
device_app = typer.Typer(no_args_is_help=True, help="Add, list, revoke and rotate the identities of devices.")
person_app = typer.Typer(no_args_is_help=True, help="Certificates for people and services, by role.")
enrolment_app = typer.Typer(no_args_is_help=True, help="Where devices enrol and renew.")
fleet_app.add_typer(enrolment_app, name="enrolment")
app.add_typer(fleet_app, name="fleet")
app.add_typer(device_app, name="device")
app.add_typer(person_app, name="person")

FolderOption = Annotated[Path, typer.Option("--folder", help="The fleet's folder, as `fieldloop fleet init` made it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ReasonOption = Annotated[str, typer.Option(help="Why; is kept.")]
ExpiresOption = Annotated[str, typer.Option("--expires", help="How long the token is good: 30m, 12h, 7d.")]
PassphraseOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="File with the root's passphrase, readable by you alone; default: asks."),
]

_FOLDER: Final = Path("fleet")
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
    from broker.identity_files import read_secret

    if file is not None:
        return read_secret(file).rstrip(b"\r\n")
    if not sys.stdin.isatty():
        raise IdentityError("there is nobody to ask for the root's passphrase: give --passphrase-file")
    return str(typer.prompt("passphrase of the fleet's root", hide_input=True, confirmation_prompt=is_new)).encode()


# --- fleet -----------------------------------------------------------------------------------------------------------


@fleet_app.command("server")
def fleet_server(
    folder: FolderOption = _FOLDER,
    host: Annotated[
        list[str] | None, typer.Option("--host", help="Name or address of the server, repeatable; default: as before.")
    ] = None,
) -> None:
    """Give broker and enrolment endpoint a new key and certificate; restart or reload both afterwards."""
    fleet = _open(folder)
    ends_s = fleet.renew_server(tuple(host) if host else fleet.about.hosts, utc_s())
    typer.echo(f"wrote {fleet.server_chain} and its key: good until {_day(ends_s)}")


@fleet_app.command("intermediate")
def fleet_intermediate(
    root_key: Annotated[Path, typer.Option("--root-key", help="The root's key, brought from where it is kept.")],
    folder: FolderOption = _FOLDER,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Sign a new intermediate by the root, once in years; then `fieldloop fleet server`."""
    fleet = _open(folder)
    fleet.renew_intermediate(root_key, read_passphrase(passphrase_file, is_new=False), utc_s())
    typer.echo(f"wrote {fleet.intermediate} and its key; now: fieldloop fleet server")


@fleet_app.command("status")
def fleet_status(folder: FolderOption = _FOLDER, *, as_json: JsonOption = False) -> None:
    """Tell until when the certificates of the server side are good, and what enrolment refused."""
    from broker.identity_authority import dates_of

    fleet = _open(folder)
    ends = {path.name: dates_of(path.read_bytes())[1] for path in (fleet.ca, fleet.intermediate, fleet.server_chain)}
    with _register(fleet) as register:
        refusals, view = register.refusals(), register.view()
    if as_json:
        _print_json(
            {
                "fleet": fleet.fleet,
                "certificates": ends,
                "active": len(view.active),
                "revoked": list(view.revoked),
                "refusals": {each.kind: each.count for each in refusals},
                "root_key_is_here": fleet.root_key.exists(),
            }
        )
        return
    typer.echo(f"fleet {fleet.fleet}: {len(view.active)} identities hold, {len(view.revoked)} are revoked or rotated")
    for name, ends_s in ends.items():
        typer.echo(f"  {name:18} good until {_day(ends_s)}")
    for each in refusals:
        typer.echo(f"  refused {each.count:6} × {each.kind}, last {_minute(each.last_utc_s)} from {each.last_address}")
    if fleet.root_key.exists():
        typer.echo(f"  {fleet.offline} is still here: carry it away; no command but `fleet intermediate` needs it")


@enrolment_app.callback()
def _enrolment() -> None:
    """Keep `up` a command of its own."""


@enrolment_app.command("up")
def enrolment_up(
    folder: FolderOption = _FOLDER,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 or :: for all.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Default: the fleet's; 0 picks a free one.")
    ] = None,
    device_days: Annotated[float, typer.Option(min=0.001, help="How long a device's certificate is good.")] = 30.0,
    grace_days: Annotated[
        float, typer.Option(min=0, help="How long after its end a certificate may still be renewed.")
    ] = 90.0,
    *,
    as_json: JsonOption = False,
) -> None:
    """Let devices enrol and renew until Ctrl-C."""
    import signal
    import threading

    from broker.enrolment import EnrolmentRules
    from broker.enrolment_server import EnrolmentServer

    fleet = _open(folder)
    try:
        server = EnrolmentServer(
            fleet,
            (host, fleet.about.enrolment_port if port is None else port),
            utc_s=utc_s,
            monotonic_s=time.monotonic,  # noqa: TID251
            rules=EnrolmentRules(device_days, grace_days),
        )
    except OSError as error:
        raise IdentityError(f"cannot listen on {host}: {error.strerror or error}") from error
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    serving = threading.Thread(target=server.serve_forever, name="enrolment", daemon=True)
    serving.start()
    if as_json:
        _print_json({"host": host, "port": server.port, "fleet": fleet.fleet})
    else:
        typer.echo(f"fleet {fleet.fleet}: devices enrol at https://{fleet.about.hosts[0]}:{server.port}; Ctrl-C ends")
    sys.stdout.flush()
    ended.wait()
    server.shutdown()
    server.server_close()


# --- device ----------------------------------------------------------------------------------------------------------


@device_app.command("add")
def device_add(
    device: Annotated[str, typer.Argument(metavar="ID", help="The device's name, as in its settings.")],
    folder: FolderOption = _FOLDER,
    csr: Annotated[
        Path | None, typer.Option(help="Sign this request, which the device made, instead of making a claim token.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the token, or for the certificate; default: prints.")
    ] = None,
    expires: ExpiresOption = "7d",
    *,
    as_json: JsonOption = False,
) -> None:
    """Put down a device and make the claim token with which it, and no other, enrols; or sign its request."""
    fleet = _open(folder)
    identity = _device(device)
    with _register(fleet) as register:
        registrar = _registrar(register, fleet)
        if csr is None:
            expires_s = _seconds(expires)
            _give_token(registrar, registrar.add(identity), expires_s, out, as_json=as_json)
            return
        from broker.identity_authority import SigningRequest

        request, issuer = SigningRequest(_read(csr)), fleet.open_issuer()
        registrar.add(identity)
        issued = registrar.sign(issuer, request, identity)
    _give(issued.chain.decode(), out, is_secret=False)
    if out is not None:
        typer.echo(f"wrote {out}: {identity.name}, good until {_day(issued.not_after_utc_s)}")


@device_app.command("token")
def device_token(
    folder: FolderOption = _FOLDER,
    uses: Annotated[int, typer.Option(min=1, help="How many devices may enrol with it, each once.")] = 1,
    expires: ExpiresOption = "7d",
    out: Annotated[Path | None, typer.Option(help="File for the token; default: prints it.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a claim token for devices that are not known yet: put it on their cards; each enrols once."""
    fleet = _open(folder)
    with _register(fleet) as register:
        token = _registrar(register, fleet).make_token(_seconds(expires), uses=uses)
    told = {"token": token.text, "label": token.label, "uses": uses, "expires": expires}
    _give(json.dumps(told) if as_json and out is None else token.text, out, is_secret=True)
    if out is not None:
        typer.echo(f"wrote {out}: token {token.label} for {uses} devices, good for {expires}")


@device_app.command("list")
def device_list(folder: FolderOption = _FOLDER, *, as_json: JsonOption = False) -> None:
    """List the identities of devices, and the tokens that are out."""
    _list(folder, as_json=as_json, of_devices=True)


@device_app.command("show")
def device_show(device: str, folder: FolderOption = _FOLDER, *, as_json: JsonOption = False) -> None:
    """Show every identity and certificate that a device ever had."""
    fleet = _open(folder)
    wanted = _device(device)
    with _register(fleet) as register:
        rows = [row for row in register.identities() if _is_of(row, wanted)]
        if not rows:
            raise IdentityError(f"{device} is not known in fleet {fleet.fleet}")
        shown = [_shown(row, register) for row in rows]
    if as_json:
        _print_json({"device": device, "identities": shown})
        return
    for each in shown:
        typer.echo(
            f"{each['name']}: {each['state']} since {_minute(each['since_utc_s'])}, {each['by']}: {each['reason']}"
        )
        for held in each["certificates"]:
            ends, use = _minute(held["not_after_utc_s"]), " superseded" if held["superseded"] else ""
            typer.echo(f"  {held['serial']}  until {ends}  by {held['by']}{use}")


@device_app.command("revoke")
def device_revoke(
    device: str,
    folder: FolderOption = _FOLDER,
    reason: ReasonOption = "no reason given",
    *,
    as_json: JsonOption = False,
) -> None:
    """Have a device's certificates hold no more; the broker refuses it once its access rules are made anew."""
    _revoke(folder, _device(device), reason, as_json=as_json)


@device_app.command("rotate")
def device_rotate(
    device: str,
    folder: FolderOption = _FOLDER,
    reason: ReasonOption = "no reason given",
    expires: ExpiresOption = "7d",
    out: Annotated[Path | None, typer.Option(help="File for the token; default: prints it.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Give a device a new identity, because its key may be in other hands: prints a claim token for it.

    The old one holds no more at once. (A certificate that only ends is renewed by the device itself.)
    """
    fleet = _open(folder)
    expires_s = _seconds(expires)
    with _register(fleet) as register:
        registrar = _registrar(register, fleet)
        _write_down(fleet, "rotate", _device(device), reason)
        new = registrar.rotate(_device(device), reason)
        _give_token(registrar, new, expires_s, out, as_json=as_json)


# --- person ----------------------------------------------------------------------------------------------------------


@person_app.command("add")
def person_add(
    name: Annotated[str, typer.Argument(metavar="ROLE:NAME", help="operator:anna, monitor:hall-1, reader:wall …")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.key and NAME.pem; is made, readable by you alone.")],
    folder: FolderOption = _FOLDER,
    days: Annotated[float, typer.Option(min=0.001, help="How long the certificate is good.")] = 90.0,
    *,
    again: Annotated[bool, typer.Option("--again", help="A new certificate for one who is known already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a key and a certificate for a person or a service."""
    from broker.identity_authority import make_request
    from broker.identity_files import make_private_folder, write_file

    fleet = _open(folder)
    identity = _person(name)
    key, request = make_request()
    issuer = fleet.open_issuer()
    stem = f"{identity.role.value}-{identity.owner}"
    make_private_folder(out)
    with _register(fleet) as register:
        registrar = _registrar(register, fleet)
        if not again:
            registrar.add(identity)
        # The key first: a certificate without one would be of no use.
        write_file(out / f"{stem}.key", key, is_secret=True, replaces=again)
        issued = registrar.sign(issuer, request, identity, days)
    write_file(out / f"{stem}.pem", issued.chain, is_secret=False, replaces=again)
    write_file(out / "ca.pem", fleet.ca.read_bytes(), is_secret=False, replaces=True)
    if as_json:
        _print_json({"name": name, "certificate": str(out / f"{stem}.pem"), "not_after_utc_s": issued.not_after_utc_s})
    else:
        typer.echo(f"wrote {out / stem}.key and .pem, and ca.pem: {name}, good until {_day(issued.not_after_utc_s)}")


@person_app.command("list")
def person_list(folder: FolderOption = _FOLDER, *, as_json: JsonOption = False) -> None:
    """List people and services."""
    _list(folder, as_json=as_json, of_devices=False)


@person_app.command("revoke")
def person_revoke(
    name: Annotated[str, typer.Argument(metavar="ROLE:NAME")],
    folder: FolderOption = _FOLDER,
    reason: ReasonOption = "no reason given",
    *,
    as_json: JsonOption = False,
) -> None:
    """Have the certificates of a person or a service hold no more."""
    _revoke(folder, _person(name), reason, as_json=as_json)


# ---------------------------------------------------------------------------------------------------------------------


def _open(folder: Path) -> "FleetFolder":
    from broker.identity_folder import FleetFolder

    return FleetFolder(folder)


@contextlib.contextmanager
def _register(fleet: "FleetFolder") -> Iterator["Register"]:
    register = fleet.open_register()
    try:
        yield register
    finally:
        register.close()


def _registrar(register: "Register", fleet: "FleetFolder") -> "Registrar":
    from broker.identity_registrar import Registrar

    return Registrar(register, fleet.fleet, getpass.getuser(), utc_s)


def _device(text: str) -> Identity:
    identity = parse_identity(text)
    if identity.role is not Role.DEVICE or not identity.is_first:
        raise IdentityError(f"{text}: give the device's id; it has one whatever its certificates are called")
    return identity


def _person(text: str) -> Identity:
    identity = parse_identity(text)
    if identity.role is Role.DEVICE or not identity.is_first:
        roles = ", ".join(role.value for role in Role if role is not Role.DEVICE)
        raise IdentityError(f"{text}: write ROLE:NAME, with a role of {roles}")
    return identity


def _is_of(row: "IdentityRow", identity: Identity) -> bool:
    return (row.identity.role, row.identity.owner) == (identity.role, identity.owner)


def _revoke(folder: Path, identity: Identity, reason: str, *, as_json: bool) -> None:
    fleet = _open(folder)
    with _register(fleet) as register:
        _write_down(fleet, "revoke", identity, reason)
        row = _registrar(register, fleet).revoke(identity, reason)
    if as_json:
        _print_json({"name": row.identity.name, "state": row.state, "reason": row.reason})
    else:
        typer.echo(f"{row.identity.name} is revoked")


def _write_down(fleet: "FleetFolder", what: str, identity: Identity, reason: str) -> None:
    from broker.audit import AUDIT_NAME, AuditLog

    log = AuditLog(fleet.path / AUDIT_NAME, utc_s)
    log.append(by=getpass.getuser(), what=what, device=identity.device or "", detail=f"{identity.name}: {reason}")


def _list(folder: Path, *, as_json: bool, of_devices: bool) -> None:
    fleet = _open(folder)
    with _register(fleet) as register:
        rows = [row for row in register.identities() if (row.identity.role is Role.DEVICE) == of_devices]
        shown = [_shown(row, register) for row in rows]
        tokens = register.tokens() if of_devices else ()
    now_s = utc_s()
    out = [t for t in tokens if not t.withdrawn and t.used < t.uses and now_s < t.expires_utc_s]
    if as_json:
        told: dict[str, object] = {"devices" if of_devices else "people": shown}
        if of_devices:
            told["tokens"] = [
                {
                    "label": t.digest[:12],
                    "for": t.name,
                    "uses": t.uses,
                    "used": t.used,
                    "expires_utc_s": t.expires_utc_s,
                }
                for t in out
            ]
        _print_json(told)
        return
    for each in shown:
        held = each["certificates"]
        until = f"good until {_minute(held[-1]['not_after_utc_s'])}" if held else "no certificate yet"
        typer.echo(f"{each['name']:32} {each['state']:8} {until}  {each['reason']}")
    for t in out:
        whose = t.name or "any new device"
        typer.echo(f"token {t.digest[:12]} for {whose}: {t.used} of {t.uses} used, until {_minute(t.expires_utc_s)}")


def _shown(row: "IdentityRow", register: "Register") -> dict[str, Any]:
    return {
        "name": row.identity.name,
        "role": row.identity.role.value,
        "state": row.state,
        "since_utc_s": row.since_utc_s,
        "by": row.by,
        "reason": row.reason,
        "certificates": [
            {
                "serial": held.serial,
                "fingerprint": held.fingerprint,
                "not_before_utc_s": held.not_before_utc_s,
                "not_after_utc_s": held.not_after_utc_s,
                "by": held.by,
                "superseded": held.superseded,
            }
            for held in register.certificates(row.identity.name)
        ],
    }


def _give_token(
    registrar: "Registrar", identity: Identity, expires_s: float, out: Path | None, *, as_json: bool
) -> None:
    token = registrar.make_token(expires_s, identity=identity)
    told = {"device": identity.owner, "name": identity.name, "token": token.text, "label": token.label}
    _give(json.dumps(told) if as_json and out is None else token.text, out, is_secret=True)
    if out is not None:
        typer.echo(f"wrote {out}: token {token.label}, with which {identity.owner} enrols once")


def _give(text: str, out: Path | None, *, is_secret: bool) -> None:
    from broker.identity_files import write_file

    if out is None:
        typer.echo(text)
        return
    try:
        write_file(out, text.encode() + b"\n", is_secret=is_secret)
    except OSError as error:
        raise IdentityError(f"{out} cannot be written: {error.strerror or error}") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise IdentityError(f"{path} cannot be read: {error.strerror or error}") from error


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(text)
    if found is None:
        raise IdentityError(f"{text!r} is no time: write 30m, 12h or 7d")
    return float(int(found[1]) * _SECONDS[found[2]])


def _print_json(told: object) -> None:
    typer.echo(json.dumps(told))


def _day(at_utc_s: float) -> str:
    return f"{datetime.fromtimestamp(at_utc_s, UTC):%Y-%m-%d}"


def _minute(at_utc_s: float) -> str:
    return f"{datetime.fromtimestamp(at_utc_s, UTC):%Y-%m-%d %H:%M}"
