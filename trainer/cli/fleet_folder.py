"""The commands ``fieldloop fleet``: those of floor 1, and ``init``, which lays an update repository beside them."""

import json
from pathlib import Path
from typing import Annotated

import typer

from broker.commands.fleets import fleet_app
from broker.commands.options import JsonOption, PassphraseOption

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(fleet_app, name="fleet")


@fleet_app.command("init")
def fleet_init(
    folder: Annotated[Path, typer.Argument(help="Is made; what is in it already is never replaced.")],
    fleet: Annotated[str, typer.Option("--fleet", help="The fleet's name, as in topics.")],
    broker_host: Annotated[
        list[str], typer.Option("--broker-host", help="Name or address of the server as devices reach it; repeatable.")
    ],
    broker_port: Annotated[int, typer.Option(min=1, max=65535, help="Where the broker listens, with TLS.")] = 8883,
    enrolment_port: Annotated[int, typer.Option(min=1, max=65535, help="Where devices enrol.")] = 8884,
    passphrase_file: PassphraseOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a fleet: its root, its intermediate, its server certificate, its register, its update repository.

    FOLDER/offline then holds the root's key and the root key of the update repository, both encrypted: carry it away.
    """
    from broker.commands.options import read_passphrase
    from broker.identity.folder import FleetFile, init_fleet
    from edge_agent.clock import SystemClock
    from exporter.repository.repository import init_repository

    clock = SystemClock()
    about = FleetFile(fleet, tuple(broker_host), broker_port, enrolment_port)
    passphrase = read_passphrase(passphrase_file, is_new=True)
    made = init_fleet(folder, about, passphrase, clock.utc_s())
    repository, keys, root_keys = folder / "repository", folder / "repository-keys", made.offline / "repository-root"
    root = init_repository(repository, keys, clock=clock, root_keys_folder=root_keys, root_passphrase=passphrase)
    if as_json:
        told = {"fleet": fleet, "ca": made.ca, "offline": made.offline, "repository": repository, "root": root}
        typer.echo(json.dumps({key: str(value) for key, value in told.items()}))
        return
    typer.echo(f"made fleet {fleet} in {folder}")
    typer.echo(f"  give {made.ca} and {root} to each device, in its image")
    typer.echo(f"  carry {made.offline} away, to a stick in a drawer, and keep its passphrase elsewhere:")
    typer.echo("  only a new intermediate, once in years, and a new root of the repository need it")


# What comes first in the life of a fleet is listed first.
fleet_app.registered_commands.insert(0, fleet_app.registered_commands.pop())
