"""The commands ``fieldloop device``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from broker.commands.listing import give_token, is_of, print_list, revoke, shown
from broker.commands.options import (
    DEFAULT_FOLDER,
    ExpiresOption,
    FolderOption,
    JsonOption,
    ReasonOption,
    day_of,
    give,
    minute_of,
    open_fleet,
    opened_register,
    parse_device_name,
    print_json,
    read_file,
    registrar_of,
    seconds_of,
    verify_out,
)
from broker.identity.names import IdentityError

device_app = typer.Typer(no_args_is_help=True, help="Add, list, revoke and rotate the identities of devices.")


@device_app.command("add")
def device_add(
    device: Annotated[str, typer.Argument(metavar="ID", help="The device's name, as in its settings.")],
    folder: FolderOption = DEFAULT_FOLDER,
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
    fleet = open_fleet(folder)
    identity, expires_s = parse_device_name(device), seconds_of(expires)
    verify_out(out)
    with opened_register(fleet) as register:
        registrar = registrar_of(register, fleet)
        if csr is None:
            give_token(registrar, registrar.add(identity), expires_s, out, as_json=as_json)
            return
        from broker.identity.keys import SigningRequest

        request, issuer = SigningRequest(read_file(csr)), fleet.open_issuer()
        registrar.add(identity)
        issued = registrar.sign(issuer, request, identity)
    give(issued.chain.decode(), out, is_secret=False)
    if out is not None:
        typer.echo(f"wrote {out}: {identity.name}, good until {day_of(issued.not_after_utc_s)}")


@device_app.command("token")
def device_token(
    folder: FolderOption = DEFAULT_FOLDER,
    uses: Annotated[int, typer.Option(min=1, help="How many devices may enrol with it, each once.")] = 1,
    expires: ExpiresOption = "7d",
    out: Annotated[Path | None, typer.Option(help="File for the token; default: prints it.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a claim token for devices that are not known yet: put it on their cards; each enrols once."""
    fleet = open_fleet(folder)
    verify_out(out)
    with opened_register(fleet) as register:
        token = registrar_of(register, fleet).make_token(seconds_of(expires), uses=uses)
    told = {"token": token.text, "label": token.label, "uses": uses, "expires": expires}
    give(json.dumps(told) if as_json and out is None else token.text, out, is_secret=True)
    if out is not None:
        typer.echo(
            f"wrote {out}: token {token.label} for {uses} {'device' if uses == 1 else 'devices'}, good for {expires}"
        )


@device_app.command("list")
def device_list(folder: FolderOption = DEFAULT_FOLDER, *, as_json: JsonOption = False) -> None:
    """List the identities of devices, and the tokens that are out."""
    print_list(folder, as_json=as_json, of_devices=True)


@device_app.command("show")
def device_show(device: str, folder: FolderOption = DEFAULT_FOLDER, *, as_json: JsonOption = False) -> None:
    """Show every identity and certificate that a device ever had."""
    fleet = open_fleet(folder)
    wanted = parse_device_name(device)
    with opened_register(fleet) as register:
        rows = [row for row in register.identities() if is_of(row, wanted)]
        if not rows:
            raise IdentityError(f"{device} is not known in fleet {fleet.fleet}")
        found = [shown(row, register) for row in rows]
    if as_json:
        print_json({"device": device, "identities": found})
        return
    for each in found:
        typer.echo(
            f"{each['name']}: {each['state']} since {minute_of(each['since_utc_s'])}, {each['by']}: {each['reason']}"
        )
        for held in each["certificates"]:
            ends, use = minute_of(held["not_after_utc_s"]), " superseded" if held["superseded"] else ""
            typer.echo(f"  {held['serial']}  until {ends}  by {held['by']}{use}")


@device_app.command("revoke")
def device_revoke(
    device: str,
    folder: FolderOption = DEFAULT_FOLDER,
    reason: ReasonOption = "no reason given",
    *,
    as_json: JsonOption = False,
) -> None:
    """Have a device's certificates hold no more; the broker refuses it once its access rules are made anew."""
    revoke(folder, parse_device_name(device), reason, as_json=as_json)


@device_app.command("rotate")
def device_rotate(
    device: str,
    folder: FolderOption = DEFAULT_FOLDER,
    reason: ReasonOption = "no reason given",
    expires: ExpiresOption = "7d",
    out: Annotated[Path | None, typer.Option(help="File for the token; default: prints it.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Give a device a new identity, because its key may be in other hands: prints a claim token for it.

    The old one holds no more at once. (A certificate that only ends is renewed by the device itself.)
    """
    fleet = open_fleet(folder)
    expires_s = seconds_of(expires)
    verify_out(out)
    with opened_register(fleet) as register:
        registrar = registrar_of(register, fleet)
        new = registrar.rotate(parse_device_name(device), reason)
        give_token(registrar, new, expires_s, out, as_json=as_json)
