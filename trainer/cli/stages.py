"""The commands ``fieldloop registry promote|rollback|history``: versions change their stage, and the fleet follows."""

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli.fleet import BrokerOption, DatabaseOption, load_places, print_table, published_bundle
from trainer.cli.link import CaOption, CertOption, KeyOption, tls_files
from trainer.cli.options import JsonOption, ProjectOption, VersionArgument
from trainer.errors import RegistryError

if TYPE_CHECKING:
    from broker.messages import BundleRef
    from trainer.continuous.station import Places
    from trainer.monitoring.fleet import DeviceState
    from trainer.project.project import LoadedProject

ByOption = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who approves it; it is kept. By default who is logged in.")
]


def promote(
    version: VersionArgument,
    project: ProjectOption = Path(),
    to: Annotated[str, typer.Option("--to", metavar="STAGE", help="staging, challenger or champion.")] = "champion",
    by: ByOption = None,
    reason: Annotated[str, typer.Option(help="Why the gate is overruled; it is kept.")] = "",
    *,
    force: Annotated[bool, typer.Option("--force", help="Although the gate refused it; needs --reason.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Promote a version to a stage; refused where the gate refused it.

    Devices keep what they run until: fieldloop rollout champion
    """
    from trainer.project.loading import load_project
    from trainer.registry.registry import open_registry

    if force != bool(reason.strip()):
        raise typer.BadParameter("--force and --reason go together: whoever overrules the gate says why")
    loaded = load_project(project)
    registry = open_registry(loaded)
    model = registry.resolve(version, loaded.project.name)
    stage = registry.stages.stage_of(to) or to
    if by is None and stage in registry.stages.approval:
        raise typer.BadParameter(f"the project wants a person to approve {to}: --by NAME")
    made = registry.promote(model.name, model.version, stage=stage, by=by or getpass.getuser(), reason=reason.strip())
    if as_json:
        typer.echo(json.dumps({"promoted": made is not None, "model": model.name, "version": model.version, "to": to}))
        return
    name = registry.stages.alias_of(stage)
    if made is None:
        typer.echo(f"{model.name}/{model.version} is {name} already.")
        return
    until = f", until now version {made.before}" if made.before else ""
    typer.echo(f"{name} of {model.name}: version {model.version}{until}; gate: {made.gate}; by {made.by}.")


def rollback(  # noqa: PLR0913 - each is an option
    project: ProjectOption = Path(),
    broker: BrokerOption = "127.0.0.1:1883",
    database: DatabaseOption = None,
    by: ByOption = None,
    patience_s: Annotated[float, typer.Option(min=1, help="Excuse a device that is silent for so long.")] = 900.0,
    *,
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    leave_fleet: Annotated[
        bool, typer.Option("--leave-fleet", help="Only in the registry: devices keep what they run.")
    ] = False,
    rings: Annotated[bool, typer.Option("--rings", help="Ring by ring, not the whole fleet at once.")] = False,
) -> None:
    """Make the previous champion the champion again, and order its bundle to the fleet.

    A monitor must be running: it stores what devices prove. Ended early, the rollout is carried on by the monitor.
    """
    from trainer.cli.ordering import order_bundle
    from trainer.registry.registry import PREVIOUS, open_registry

    loaded, places = load_places(project, broker, database, tls_files(ca, cert, key))
    registry, name = open_registry(loaded), loaded.project.name
    before, goal = registry.load(name), registry.find(name, alias=PREVIOUS)
    if goal is None:
        raise RegistryError(f"model {name!r} has no previous version to go back to")
    devices = () if leave_fleet else _devices(places)
    # Before anything changes: a champion that no device can be given would be half a rollback.
    bundle = published_bundle(loaded, places, str(goal.version)) if devices else None
    after = registry.rollback(name, by=by or getpass.getuser())
    typer.echo(f"champion of {name}: version {after.version}, until now {before.version}.")
    if bundle is None:
        why = "" if leave_fleet else "no device has announced itself; "
        typer.echo(f"{why}devices keep what they run until: fieldloop rollout champion")
        return
    _say_what_changes(loaded, devices, bundle)
    state = order_bundle(
        loaded,
        places,
        bundle,
        reason=f"rolled back from {name}/{before.version}",
        shares=loaded.project.rollout.rings if rings else (1.0,),
        patience_s=patience_s,
        on_step=lambda step: typer.echo(f"{bundle}: {step}"),
    )
    if state.state == "running":
        typer.echo("not finished; a running monitor carries it on")
    if state.state != "done":
        raise typer.Exit(1)


def history(project: ProjectOption = Path(), *, as_json: JsonOption = False) -> None:
    """List every promotion and rollback: which stage, which version, by whom, and what the gate had said."""
    from trainer.project.loading import load_project
    from trainer.registry.registry import open_registry

    loaded = load_project(project)
    registry = open_registry(loaded)
    rows: list[dict[str, object]] = [
        {
            "at": datetime.fromtimestamp(made.at_utc_s, UTC).isoformat(timespec="seconds"),
            "what": made.kind,
            "stage": registry.stages.alias_of(made.stage),
            "version": made.version,
            "before": made.before or None,
            "by": made.by,
            "gate": made.gate,
            "reason": made.reason,
        }
        for made in registry.promotions(loaded.project.name)
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        print_table(rows, nothing="nothing was promoted yet")


def _devices(places: "Places") -> "tuple[DeviceState, ...]":
    from trainer.monitoring.fleet import list_devices
    from trainer.monitoring.store import open_store

    store = open_store(places.database)
    try:
        return tuple(list_devices(store))
    finally:
        store.close()


def _say_what_changes(loaded: "LoadedProject", devices: "tuple[DeviceState, ...]", bundle: "BundleRef") -> None:
    typer.echo(f"the fleet {loaded.project.fleet!r}:")
    for state in sorted(devices, key=lambda state: state.device):
        link = "" if state.online else ", offline: when it is back"
        if state.bundle == bundle:
            typer.echo(f"  {state.device}: runs {bundle} already")
        else:
            typer.echo(f"  {state.device}: gets {bundle}, runs {state.bundle or 'nothing'}{link}")
