"""What ``fieldloop broker render`` and ``fieldloop broker up --fleet`` do: Mosquitto for a fleet with identities."""

import contextlib
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from broker.errors import BrokerError, BrokerStartError

if TYPE_CHECKING:
    from broker.identity.folder import FleetFolder
    from broker.servers.fleet import FleetBroker
    from broker.servers.mosquitto_server import ServerPlan
    from broker.servers.nats_nodes import NatsNodes
    from broker.servers.process import LocalBroker

_FOLLOW_S: Final = 1.0
_BROKER_FOLDER: Final = "broker"

FleetFolderOption = Annotated[
    Path | None, typer.Option("--fleet", help="Folder that `fieldloop fleet init` made; certificates decide who is in.")
]
ExactOption = Annotated[
    bool, typer.Option("--exact", help="Name each device in the rules, and let in no name that is not in the register.")
]


@dataclass(frozen=True, slots=True)
class Running:
    """A broker that runs, or all nodes of a cluster; ``wait`` returns an exit code when all have ended."""

    brokers: "tuple[LocalBroker, ...]"
    wait: Callable[[], int]


def render(  # noqa: PLR0913 - each is an option
    fleet: Annotated[Path, typer.Option("--fleet", help="Folder that `fieldloop fleet init` made.")],
    folder: Annotated[Path | None, typer.Option(help="Where to write to; default: <fleet>/broker.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: all.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: the fleet's.")] = None,
    max_connections: Annotated[int, typer.Option(min=1, help="Links at a time; one more is refused.")] = 10_000,
    user: Annotated[str | None, typer.Option(help="Whom systemd shall run it as; default: the folder's owner.")] = None,
    nats: Annotated[
        list[str] | None, typer.Option(metavar="NAME=HOST[:PORT]", help="A node of a NATS cluster instead; thrice.")
    ] = None,
    *,
    exact: ExactOption = False,
    syslog: Annotated[bool, typer.Option("--syslog", help="Log to syslog instead of standard error.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write Mosquitto's configuration, access rules, drop-in for systemd, firewall rule; or those of a NATS cluster.

    Run it again when identities have changed, and reload the broker: the rules are read anew without a restart.
    """
    from broker.identity.files import write_file
    from broker.servers.firewall import FIREWALL_NAME, render_firewall
    from broker.servers.fleet import write_server_files
    from broker.servers.mosquitto import find_mosquitto
    from broker.servers.mosquitto_server import DROP_IN_NAME, render_drop_in

    if nats is not None:
        from broker.servers.nats_cluster import render_cluster

        render_cluster(fleet, folder, nats, max_connections=max_connections, as_json=as_json)
        return
    try:
        about, plan = _plan_of(fleet, folder, host=host, port=port)
        user = user or about.path.owner()
        plan = replace(plan, max_connections=max_connections, log="syslog" if syslog else "stderr", user=user)
        with contextlib.closing(about.open_register()) as register:
            view = register.view()
        write_server_files(plan, view, exact=exact)
        drop_in = plan.folder / DROP_IN_NAME
        program = find_mosquitto() or Path("/usr/sbin/mosquitto")
        text = render_drop_in(plan, program, user)
        write_file(drop_in, text.encode(), is_secret=False, replaces=True)
        firewall = plan.folder / FIREWALL_NAME
        write_file(firewall, render_firewall(plan.port).encode(), is_secret=False, replaces=True)
    except BrokerError as error:
        typer.echo(f"fieldloop: {error}", err=True)
        raise typer.Exit(1) from error
    facts = {
        "config": str(plan.config),
        "rules": str(plan.rules),
        "drop_in": str(drop_in),
        "firewall": str(firewall),
        "active": len(view.active),
        "revoked": len(view.revoked),
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    typer.echo(f"{plan.config}: port {plan.port}, TLS 1.2 or newer, certificates of fleet {view.fleet} only")
    typer.echo(f"{plan.rules}: {len(view.active)} identities active, {len(view.revoked)} revoked")
    typer.echo(f"{drop_in}: for /etc/systemd/system/mosquitto.service.d/")
    typer.echo(f"{firewall}: for `nft -f`, bounds what one link may send")


def start(
    closing: contextlib.ExitStack, fleet: Path, folder: Path | None, *, host: str | None, port: int | None, exact: bool
) -> Running:
    """Start Mosquitto for a fleet; ``closing`` ends it.

    Raises:
        BrokerError: there is no Mosquitto or no fleet, or it did not come up.
    """
    from broker.servers.fleet import FleetBroker
    from broker.servers.local import pick_free_port
    from broker.servers.mosquitto import find_mosquitto

    program = find_mosquitto()
    if program is None:
        raise BrokerStartError("no mosquitto is installed, and no other local broker knows identities: apt-get install")
    about, plan = _plan_of(fleet, folder, host=host, port=pick_free_port() if port == 0 else port)
    register = closing.enter_context(contextlib.closing(about.open_register()))
    broker = FleetBroker(program, plan, register.view, exact=exact)
    closing.callback(broker.stop)
    return Running((broker.process,), lambda: _wait(broker))


def start_nats(closing: contextlib.ExitStack, fleet: Path, folder: Path | None, nodes: list[str]) -> Running:
    """Start the nodes of a NATS cluster on this machine; ``closing`` ends them.

    Raises:
        BrokerError: there is no nats-server or no fleet, or a node did not come up.
    """
    from broker.identity.folder import FleetFolder
    from broker.servers.nats import Limits, find_nats_server, parse_nodes
    from broker.servers.nats_cluster import CLUSTER_FOLDER
    from broker.servers.nats_nodes import NatsNodes

    program = find_nats_server()
    if program is None:
        raise BrokerStartError("no nats-server is installed: apt-get install nats-server")
    about = FleetFolder(fleet.absolute())
    register = closing.enter_context(contextlib.closing(about.open_register()))
    place = (folder or fleet / CLUSTER_FOLDER).absolute()
    now_s = time.time()  # noqa: TID251 - the command's edge: floor 1 has no clock of its own
    cluster = parse_nodes(nodes)
    running = NatsNodes(program, about, place, cluster, limits=Limits(), view=register.view, now_s=now_s)
    closing.callback(running.stop)
    return Running(tuple(running.running.values()), lambda: _wait_for_nodes(running))


def _wait_for_nodes(nodes: "NatsNodes") -> int:
    """Wait until the last node ends, and have them follow the identities meanwhile."""
    code = 0
    while living := nodes.living():
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = living[0].process.wait(_FOLLOW_S)
        nodes.follow()
    return code


def _wait(broker: "FleetBroker") -> int:
    """Wait until the broker ends, and have it follow the identities meanwhile."""
    while True:
        try:
            return broker.process.process.wait(_FOLLOW_S)
        except subprocess.TimeoutExpired:
            broker.follow()


def _plan_of(
    fleet: Path, folder: Path | None, *, host: str | None, port: int | None
) -> "tuple[FleetFolder, ServerPlan]":
    import os

    from broker.identity.folder import FleetFolder
    from broker.servers.mosquitto_server import ServerPlan

    about = FleetFolder(fleet.absolute())
    return about, ServerPlan(
        (folder or fleet / _BROKER_FOLDER).absolute(),
        about.ca,
        about.server_chain,
        about.server_key,
        port=port or about.about.broker_port,
        host=host or "",
        # Otherwise it becomes the user mosquitto, who may not read the key, and forgets to die with its parent.
        user="root" if os.getuid() == 0 else None,
    )
