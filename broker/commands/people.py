"""The commands ``fieldloop person``."""

from pathlib import Path
from typing import Annotated

import typer

from broker.commands.listing import print_list, revoke
from broker.commands.options import (
    DEFAULT_FOLDER,
    FolderOption,
    JsonOption,
    ReasonOption,
    day_of,
    open_fleet,
    opened_register,
    parse_person_name,
    print_json,
    registrar_of,
)
from broker.identity.names import IdentityError

person_app = typer.Typer(no_args_is_help=True, help="Certificates for people and services, by role.")


@person_app.command("add")
def person_add(
    name: Annotated[str, typer.Argument(metavar="ROLE:NAME", help="operator:anna, monitor:hall-1, reader:wall …")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.key and NAME.pem; is made, readable by you alone.")],
    folder: FolderOption = DEFAULT_FOLDER,
    days: Annotated[float, typer.Option(min=0.001, help="How long the certificate is good.")] = 90.0,
    *,
    again: Annotated[
        bool, typer.Option("--again", help="For one who is known; one who was revoked gets a new name.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a key and a certificate for a person or a service."""
    from broker.identity.files import make_private_folder, write_file
    from broker.identity.keys import make_request

    fleet = open_fleet(folder)
    identity = parse_person_name(name)
    key, request = make_request()
    issuer = fleet.open_issuer()
    stem = f"{identity.role.value}-{identity.owner}"
    # Before anything is signed, and asked again when it is written.
    if not again and (out / f"{stem}.key").exists():
        raise IdentityError(f"{out / stem}.key is there already; --again replaces it, or name another folder")
    make_private_folder(out)
    with opened_register(fleet) as register:
        registrar = registrar_of(register, fleet)
        identity = registrar.let_back(identity) if again else registrar.add(identity)
        issued = registrar.sign(issuer, request, identity, days)
    # A cut between the two leaves a pair that does not fit, which every program refuses; --again mends it.
    write_file(out / f"{stem}.key", key, is_secret=True, replaces=again)
    write_file(out / f"{stem}.pem", issued.chain, is_secret=False, replaces=again)
    write_file(out / "ca.pem", fleet.ca.read_bytes(), is_secret=False, replaces=True)
    if as_json:
        print_json(
            {"name": identity.name, "certificate": str(out / f"{stem}.pem"), "not_after_utc_s": issued.not_after_utc_s}
        )
    else:
        typer.echo(
            f"wrote {out / stem}.key and .pem, and ca.pem: {identity.name}, good until {day_of(issued.not_after_utc_s)}"
        )


@person_app.command("list")
def person_list(folder: FolderOption = DEFAULT_FOLDER, *, as_json: JsonOption = False) -> None:
    """List people and services."""
    print_list(folder, as_json=as_json, of_devices=False)


@person_app.command("revoke")
def person_revoke(
    name: Annotated[str, typer.Argument(metavar="ROLE:NAME")],
    folder: FolderOption = DEFAULT_FOLDER,
    reason: ReasonOption = "no reason given",
    *,
    as_json: JsonOption = False,
) -> None:
    """Have the certificates of a person or a service hold no more."""
    revoke(folder, parse_person_name(name), reason, as_json=as_json)
