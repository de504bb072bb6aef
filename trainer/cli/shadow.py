"""The commands ``fieldloop shadow start|end|show``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli.fleet import (
    BrokerOption,
    DatabaseOption,
    load_places,
    parse_device_argument,
    print_table,
    published_bundle,
)
from trainer.cli.link import CaOption, CertOption, KeyOption, tls_files
from trainer.cli.options import JsonOption, ProjectOption, VersionArgument, minute_of
from trainer.errors import TrainerError

if TYPE_CHECKING:
    from broker.messages import BundleRef, StartShadow, StopShadow
    from trainer.continuous.station import Places
    from trainer.project.project import LoadedProject

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Let a second bundle score beside the one that counts, and see how far it differs.",
)

DeviceArgument = Annotated[str, typer.Argument(metavar="DEVICE", help="Name of the device.")]
TimeoutOption = Annotated[
    float, typer.Option("--timeout-s", min=1, max=86400, help="Wait so long for the device's reply.")
]


@app.command("start")
def start(  # noqa: PLR0913 - each is an option
    device: DeviceArgument,
    version: VersionArgument,
    project: ProjectOption = Path(),
    broker: BrokerOption = "127.0.0.1:1883",
    rows: Annotated[int, typer.Option(min=0, help="End after so many compared rows; 0: when told to.")] = 0,
    timeout_s: TimeoutOption = 60.0,
    *,
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a device fetch and prove a published bundle, and score its rows with it too; nobody sees these answers."""
    from broker.messages import StartShadow

    loaded, places = load_places(project, broker, None, tls_files(ca, cert, key))
    bundle = published_bundle(loaded, places, version)
    order_id = _ask(loaded, places, device, StartShadow(bundle, rows), timeout_s)
    is_named = _name_challenger(loaded, bundle, device, order_id, by=places.by)
    if as_json:
        typer.echo(json.dumps({"device": device, "bundle": str(bundle), "rows": rows, "challenger": is_named}))
        return
    typer.echo(f"{device} takes {bundle} into the shadow; see how far it differs with: fieldloop shadow show {device}")
    if is_named:
        typer.echo(f"{bundle} is the challenger now.")


@app.command("end")
def end(
    device: DeviceArgument,
    project: ProjectOption = Path(),
    broker: BrokerOption = "127.0.0.1:1883",
    timeout_s: TimeoutOption = 60.0,
    *,
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have no bundle score in a device's shadow any more."""
    from broker.messages import StopShadow
    from edge_agent.update.shadows import NO_SHADOW
    from trainer.rollout.commanding import OrderRefusedError

    loaded, places = load_places(project, broker, None, tls_files(ca, cert, key))
    try:
        _ask(loaded, places, device, StopShadow(), timeout_s)
    except OrderRefusedError as error:
        # It ended by itself: after its rows, or because it failed.
        if NO_SHADOW in str(error):
            _end_challenger(loaded, device)
        raise
    ended = _end_challenger(loaded, device)
    if as_json:
        typer.echo(json.dumps({"device": device, "no_challenger": ended}))
        return
    typer.echo(f"{device} has ended its shadow")
    for version in ended:
        typer.echo(f"{loaded.project.name}/{version} is the challenger no more: no device has it in its shadow.")


@app.command("show")
def show(
    device: Annotated[str | None, typer.Argument(metavar="[DEVICE]", help="Only this device.")] = None,
    project: ProjectOption = Path(),
    database: DatabaseOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show how far bundles in the shadow differed from those that count, as far as a monitor has heard of it."""
    from trainer.monitoring.shadows import sum_shadows
    from trainer.monitoring.store import open_store

    _, places = load_places(project, "127.0.0.1:1883", database)
    name = None if device is None else parse_device_argument(device)
    store = open_store(places.database)
    try:
        found = sum_shadows(store, name)
    finally:
        store.close()
    rows: list[dict[str, object]] = [
        {
            "device": each.device,
            "shadow": str(each.bundle),
            "against": str(each.against),
            "rows": each.rows,
            "differ": each.disagreements,
            "share": each.share,
            "mean_difference": each.mean_difference,
            "refused": each.refused,
            "not_seen": each.dropped,
            "median_us": each.median_latency_us,
            "last_report": minute_of(each.last_utc_s),
        }
        for each in found
    ]
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        print_table(rows, nothing="no shadow was reported yet; a monitor must be running to hear of one")


def _name_challenger(loaded: "LoadedProject", bundle: "BundleRef", device: str, order_id: str, *, by: str) -> bool:
    """Name what scores beside the champion; that it cannot be named does not undo what the device has agreed to."""
    import getpass

    from trainer.registry.challenger import name_challenger
    from trainer.registry.registry import open_registry

    try:
        registry, who = open_registry(loaded), by or getpass.getuser()
        named = name_challenger(registry, bundle.name, bundle.version, by=who, device=device, order_id=order_id)
    except TrainerError as error:
        typer.echo(f"the device takes {bundle}, and the registry could not name it challenger: {error}", err=True)
        return False
    return named is not None


def _end_challenger(loaded: "LoadedProject", device: str) -> list[int]:
    """Take the stage away from what no device has in its shadow; that it cannot be does not undo the shadow's end."""
    from trainer.registry.challenger import end_challenger
    from trainer.registry.registry import open_registry

    try:
        return list(end_challenger(open_registry(loaded), loaded.project.name, device))
    except TrainerError as error:
        typer.echo(f"{device} has ended its shadow, and the registry could not be told: {error}", err=True)
        return []


def _ask(
    loaded: "LoadedProject", places: "Places", device: str, order: "StartShadow | StopShadow", timeout_s: float
) -> str:
    """Have a device do it, and return the id of the order."""
    import random

    from broker.audit import AuditLog
    from broker.topics import FleetId
    from edge_agent.clock import SystemClock
    from trainer.rollout.commanding import ask_device

    clock = SystemClock()
    reply = ask_device(
        places.endpoint,
        FleetId(loaded.project.fleet),
        parse_device_argument(device),
        order,
        by=places.by,
        timeout_s=timeout_s,
        clock=clock,
        log=AuditLog(places.audit, clock.utc_s),
        tls=places.link.context() if places.link else None,
        # Names of a client and a command must differ from those of every other run.
        rng=random.SystemRandom(),
    )
    return reply.command_id
