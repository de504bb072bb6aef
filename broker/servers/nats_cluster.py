"""Writes the files of a NATS cluster for a fleet: of each node its configuration, users, key and certificate.

The folder of a node is complete: it is carried to the node's machine, to the same path.
"""

import contextlib
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import typer

from broker.errors import BrokerError, BrokerStartError
from broker.identity.certificates import dates_of
from broker.identity.files import UnwritableError, make_private_folder, read_secret, write_file
from broker.identity.folder import FleetFolder
from broker.identity.names import Fleet
from broker.servers.nats import CONFIG_NAME, USERS_NAME, Keys, Limits, Node, parse_nodes, render_node
from broker.servers.nats_users import render_users

_SHARED_NAME: Final = "cluster.secret"
CLUSTER_FOLDER: Final = "nats"
_STATE: Final = "state"
_SECRET_BYTES: Final = 32
# A certificate with less to live is replaced when the files are written.
_RENEWED_S: Final = 60 * 86400.0


@dataclass(frozen=True, slots=True)
class ClusterFiles:
    """Where the files of a cluster are.

    Attributes:
        configs: of each node.
        active, revoked: how many identities the nodes let in, and refuse.
    """

    configs: tuple[Path, ...]
    active: int
    revoked: int


def write_cluster(
    fleet: FleetFolder, folder: Path, nodes: Sequence[Node], limits: Limits, now_s: float
) -> ClusterFiles:
    """Write the files of all nodes, each whole; the cluster's secret and good certificates stay as they are.

    Args:
        fleet: whose identities and authority these are.
        folder: gets one folder for each node; absolute.
        nodes: the cluster.
        limits: of each node.
        now_s: UTC seconds.

    Raises:
        BrokerError: a file cannot be read or written, or the authority cannot sign.
    """
    with contextlib.closing(fleet.open_register()) as register:
        view = register.view()
    users = render_users(view)
    try:
        make_private_folder(folder)
        secret = _secret_of(folder)
        configs = tuple(_write_node(fleet, folder, node, nodes, secret, users, limits, now_s) for node in nodes)
    except (OSError, UnwritableError) as error:
        raise BrokerStartError(f"{folder} cannot be written: {error}") from error
    return ClusterFiles(configs, len(view.active), len(view.revoked))


def write_users(folder: Path, nodes: Sequence[Node], view: Fleet) -> None:
    """Write the list of identities of every node, each whole.

    Raises:
        BrokerStartError: one cannot be written.
    """
    users = render_users(view).encode()
    try:
        for node in nodes:
            write_file(folder / node.name / USERS_NAME, users, is_secret=True, replaces=True)
    except (OSError, UnwritableError) as error:
        raise BrokerStartError(f"{folder} cannot be written: {error}") from error


def render_cluster(
    fleet: Path, folder: Path | None, nodes: Sequence[str], *, max_connections: int, as_json: bool
) -> None:
    """Do what ``fieldloop broker render --nats`` says, and tell what was written."""
    try:
        about = FleetFolder(fleet.absolute())
        place = (folder or fleet / CLUSTER_FOLDER).absolute()
        limits = replace(Limits(), connections=max_connections)
        now_s = time.time()  # noqa: TID251 - the command's edge: floor 1 has no clock of its own
        written = write_cluster(about, place, parse_nodes(nodes), limits, now_s)
    except BrokerError as error:
        typer.echo(f"fieldloop: {error}", err=True)
        raise typer.Exit(1) from error
    if as_json:
        facts = {"configs": list(map(str, written.configs)), "active": written.active, "revoked": written.revoked}
        typer.echo(json.dumps(facts))
        return
    for config in written.configs:
        typer.echo(f"{config}: nats-server -c {config}")
    typer.echo(f"{written.active} identities active, {written.revoked} revoked; after a change render again and reload")


def _write_node(
    fleet: FleetFolder,
    folder: Path,
    node: Node,
    nodes: Sequence[Node],
    secret: str,
    users: str,
    limits: Limits,
    now_s: float,
) -> Path:
    place = folder / node.name
    make_private_folder(place)
    make_private_folder(place / _STATE)
    keys = Keys(place / "ca.pem", place / "node.pem", place / "node.key")
    write_file(keys.ca, fleet.ca.read_bytes(), is_secret=False, replaces=True)
    _renew(fleet, node, keys, now_s)
    write_file(place / USERS_NAME, users.encode(), is_secret=True, replaces=True)
    config = render_node(node, nodes, keys, place / _STATE, secret, limits)
    write_file(place / CONFIG_NAME, config.encode(), is_secret=True, replaces=True)
    return place / CONFIG_NAME


def _renew(fleet: FleetFolder, node: Node, keys: Keys, now_s: float) -> None:
    if keys.key.exists() and keys.certificate.exists():
        _, ends_s = dates_of(keys.certificate.read_bytes())
        if ends_s - now_s > _RENEWED_S:
            return
    # The fleet's own names too: one name may stand for all nodes.
    hosts = dict.fromkeys((node.host, *fleet.about.hosts))
    key, issued = fleet.open_issuer().issue_node(node.name, tuple(hosts), now_s)
    # A cut between the two leaves a pair that does not fit, which a node refuses at its start.
    write_file(keys.key, key, is_secret=True, replaces=True)
    write_file(keys.certificate, issued.chain, is_secret=False, replaces=True)


def _secret_of(folder: Path) -> str:
    path = folder / _SHARED_NAME
    if not path.exists():
        write_file(path, secrets.token_hex(_SECRET_BYTES).encode(), is_secret=True)
    return read_secret(path).decode()
