"""Composes the commands on identities: ``fieldloop fleet`` (without ``init``), ``device`` and ``person``."""

import typer

from broker.commands.devices import device_app
from broker.commands.fleets import fleet_app
from broker.commands.people import person_app

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(fleet_app, name="fleet")
app.add_typer(device_app, name="device")
app.add_typer(person_app, name="person")
