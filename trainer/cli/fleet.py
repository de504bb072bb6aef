"""The commands ``fieldloop monitor``, ``fieldloop rollout`` and ``fieldloop devices``."""

import json
import signal
import sys
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli.link import CaOption, CertOption, KeyOption, giver_of_orders, tls_files
from trainer.cli.options import JsonOption, ProjectOption, VersionArgument

if TYPE_CHECKING:
    from broker.client import Endpoint
    from broker.messages import BundleRef
    from broker.topics import DeviceId
    from trainer.continuous.books import StoryEvent
    from trainer.continuous.station import Places, TlsFiles
    from trainer.monitoring.fleet import DeviceState
    from trainer.project.project import LoadedProject

app = typer.Typer(no_args_is_help=True, add_completion=False)

_TICK_S = 0.5

BrokerOption = Annotated[str, typer.Option("--broker", metavar="HOST:PORT", help="Where the MQTT broker listens.")]
DatabaseOption = Annotated[
    str | None, typer.Option("--database", metavar="URI", help="The fleet's database; default: <state>/fleet.db.")
]


@app.command("monitor")
def monitor(
    project: ProjectOption = Path(),
    broker: BrokerOption = "127.0.0.1:1883",
    database: DatabaseOption = None,
    *,
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Receive what the fleet sends, notice losses, and mend them; until Ctrl-C.

    Prints one line for each turn of the story. A monitor that was ended goes on where it was. At a broker with
    identities it needs one of the role trainer.
    """
    import random
    import threading

    from edge_agent.clock import SystemClock
    from trainer.continuous.station import Station
    from trainer.monitoring.store import StoreUnavailableError

    loaded, places = load_places(project, broker, database, tls_files(ca, cert, key))
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    station = Station(
        loaded,
        places,
        clock=SystemClock(),
        rng=random.Random(),
        on_story=lambda event: _print_story(event, as_json=as_json),
    )
    station.start()
    if not as_json:
        typer.echo(f"monitoring fleet {loaded.project.fleet!r} at {places.endpoint}; Ctrl-C ends")
    try:
        while not ended.wait(_TICK_S):
            try:
                station.step()
            except StoreUnavailableError as error:
                typer.echo(f"{error}; trying again", err=True)
    finally:
        station.close()


@app.command("rollout")
def rollout(  # noqa: PLR0913 - each is an option
    version: VersionArgument,
    project: ProjectOption = Path(),
    broker: BrokerOption = "127.0.0.1:1883",
    database: DatabaseOption = None,
    device: Annotated[list[str] | None, typer.Option("--device", help="Only this device; may be repeated.")] = None,
    reason: Annotated[str, typer.Option(help="Why; devices and the audit keep it.")] = "by hand",
    patience_s: Annotated[float, typer.Option(min=1, help="Excuse a device that is silent for so long.")] = 900.0,
    *,
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    everywhere: Annotated[bool, typer.Option("--all", help="To the whole fleet at once, without rings.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Order a published bundle to the fleet, ring by ring, and wait until it is done or halted.

    A monitor must be running: it stores what devices prove. Ended early, the rollout is carried on by the monitor.
    """
    from trainer.cli.ordering import order_bundle

    if everywhere and device:
        raise typer.BadParameter("--all and --device exclude each other")
    loaded, places = load_places(project, broker, database, tls_files(ca, cert, key))
    names = [parse_device_argument(name) for name in device] if device else None
    bundle = published_bundle(loaded, places, version)
    state = order_bundle(
        loaded,
        places,
        bundle,
        reason=reason,
        shares=(1.0,) if everywhere or names else loaded.project.rollout.rings,
        patience_s=patience_s,
        devices=names,
        on_step=lambda step: None if as_json else typer.echo(f"{bundle}: {step}"),
    )
    if as_json:
        facts = {"order_id": state.order_id, "bundle": str(bundle), "state": state.state, "reason": state.last_step}
        typer.echo(json.dumps(facts))
    elif state.state == "running":
        typer.echo("not finished; a running monitor carries it on")
    if state.state != "done":
        raise typer.Exit(1)


@app.command("devices")
def devices(
    project: ProjectOption = Path(),
    database: DatabaseOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the devices of the fleet: link, bundle, rows, when last seen, and their estimated quality."""
    from edge_agent.clock import SystemClock
    from exporter.repository.repository import load_listed_manifest
    from trainer.console.fleet import read_fleet
    from trainer.monitoring.fleet import list_devices, refused_by_device
    from trainer.monitoring.store import open_store

    _, places = load_places(project, "127.0.0.1:1883", database)
    store = open_store(places.database)
    try:
        states = {state.device: state for state in list_devices(store)}
        find_manifest = cache(partial(load_listed_manifest, places.repository))
        lines = read_fleet(store, find_manifest)
        unreadable = refused_by_device(store)
    finally:
        store.close()
    now = SystemClock().utc_s()
    rows: list[dict[str, object]] = [
        {
            "device": line.device,
            "online": line.online,
            "bundle": line.bundle,
            "variant": line.variant,
            "update_state": line.update_state,
            "rows_scored": line.rows,
            "rows_refused": line.refused,
            "samples": line.samples,
            "estimated_quality": line.estimated,
            "usual_quality": line.usual,
            "seen_s_ago": _ago(states, line.device, now),
            "unreadable_messages": unreadable.get(line.device, 0),
        }
        for line in lines
    ]
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        print_table(rows)


def print_table(rows: list[dict[str, object]], *, nothing: str = "no device has announced itself yet") -> None:
    """Print rows that have the same keys for people; ``nothing`` where there is none."""
    from rich.console import Console
    from rich.table import Table

    if not rows:
        typer.echo(nothing)
        return
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    # Cut columns would hide what is asked for; where output is not a terminal, nothing limits the width.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _ago(states: "dict[DeviceId, DeviceState]", device: "DeviceId", now_utc_s: float) -> int:
    return round(now_utc_s - states[device].seen_utc_s)


def _print_story(event: "StoryEvent", *, as_json: bool) -> None:
    if as_json:
        facts = {"at_utc_s": event.at_utc_s, "kind": event.kind, "text": event.text, "facts": event.facts}
        typer.echo(json.dumps(facts))
    else:
        from datetime import UTC, datetime

        at = datetime.fromtimestamp(event.at_utc_s, UTC)
        typer.echo(f"{at:%H:%M:%S} {event.kind:<12} {event.text}")
    sys.stdout.flush()


def load_places(
    project: Path, broker: str, database: str | None, link: "TlsFiles | None" = None
) -> "tuple[LoadedProject, Places]":
    """Load a project, and return it with the places that its fleet's commands work with."""
    from dataclasses import replace

    from trainer.continuous.station import usual_places
    from trainer.project.loading import load_project

    loaded = load_project(project)
    places = usual_places(loaded, parse_endpoint(broker))
    loaded.state.mkdir(parents=True, exist_ok=True)
    by = giver_of_orders(link)
    return loaded, replace(places, database=database or places.database, link=link, by=by)


def parse_device_argument(name: str) -> "DeviceId":
    """Return a device's name as topics have it; raise BadParameter where it can be none."""
    from broker.topics import TopicError, parse_device

    try:
        return parse_device(name)
    except TopicError as error:
        raise typer.BadParameter(str(error)) from error


def parse_endpoint(text: str) -> "Endpoint":
    """Return where a broker listens; raise BadParameter where it is no HOST:PORT."""
    from broker.client import Endpoint

    host, _, port = text.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:  # noqa: PLR2004 - ports have 16 bits
        raise typer.BadParameter(f"{text!r}: expected HOST:PORT, for example 127.0.0.1:1883", param_hint="--broker")
    return Endpoint(host.strip("[]"), int(port))


def published_bundle(loaded: "LoadedProject", places: "Places", version: str) -> "BundleRef":
    """Return the bundle that a version or an alias names; it must be listed in the update repository."""
    from broker.messages import BundleRef
    from exporter.repository.repository import list_bundles
    from trainer.errors import RegistryError

    bundle = BundleRef(loaded.project.name, _number_of(loaded, version))
    listed = list_bundles(places.repository)
    if bundle not in listed:
        known = ", ".join(map(str, listed)) or "none"
        raise RegistryError(
            f"{bundle} is not published in {places.repository} (published: {known}); "
            f"publish it with: fieldloop publish {bundle.version}"
        )
    return bundle


def _number_of(loaded: "LoadedProject", version: str) -> int:
    """Return the number of a version; a number may be of a bundle that only the update repository knows."""
    from trainer.registry.registry import open_registry

    if version.isdecimal():
        return int(version)
    return open_registry(loaded).resolve(version, loaded.project.name).version
