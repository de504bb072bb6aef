"""A fleet with identities and its own Mosquitto, hardened as `fieldloop broker up` does it, for tests."""

import contextlib
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.identity.folder import FleetFile, FleetFolder, init_fleet
from broker.identity.keys import make_request
from broker.identity.names import Identity, Role
from broker.identity.registrar import Registrar
from broker.servers.bare_client import BareClient, Will
from broker.servers.fleet import FleetBroker
from broker.servers.mosquitto import find_mosquitto
from broker.servers.mosquitto_server import ServerPlan
from edge_agent.clock import SystemClock
from tests.ports import free_port

HOST = "127.0.0.1"
PASSPHRASE = b"correct horse battery"
CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Credentials:
    """What somebody shows a broker, and the CA that the broker must be known by."""

    ca: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.certificate, self.key)
        return context


class TestFleet:
    """A fleet's folder, and identities that are made by need."""

    __test__ = False

    def __init__(self, folder: Path, name: str = "plant", hosts: tuple[str, ...] = (HOST, "localhost")) -> None:
        self.path = folder / name
        about = FleetFile(name, hosts, 8883, 8884)
        self.folder: FleetFolder = init_fleet(self.path, about, PASSPHRASE, CLOCK.utc_s())
        self.register = self.folder.open_register()
        self.registrar = Registrar(self.register, self.folder.fleet, "test", CLOCK.utc_s, write_down=lambda *_: None)

    def issue(self, role: Role, owner: str, *, days: float | None = None) -> Credentials:
        """Give somebody an identity and a certificate."""
        newest = self.register.newest(Identity(role, owner))
        identity = self.registrar.add(Identity(role, owner)) if newest is None else newest.identity
        return self._sign(identity, days)

    def rotate(self, role: Role, owner: str) -> Credentials:
        return self._sign(self.registrar.rotate(Identity(role, owner), "test"), None)

    def revoke(self, role: Role, owner: str) -> None:
        self.registrar.revoke(Identity(role, owner), "test")

    def _sign(self, identity: Identity, days: float | None) -> Credentials:
        key, request = make_request()
        issued = self.registrar.sign(self.folder.open_issuer(), request, identity, days)
        stem = identity.name.replace(":", "_")
        certificate, secret = self.path / f"{stem}.pem", self.path / f"{stem}.key"
        certificate.write_bytes(issued.chain)
        secret.write_bytes(key)
        return Credentials(self.folder.ca, certificate, secret)

    def plan(self, max_connections: int = 100) -> ServerPlan:
        return ServerPlan(
            self.path / "broker",
            self.folder.ca,
            self.folder.server_chain,
            self.folder.server_key,
            port=free_port(),
            host=HOST,
            user="root" if os.getuid() == 0 else None,
            max_connections=max_connections,
        )

    @contextlib.contextmanager
    def broker(self, *, exact: bool = False, max_connections: int = 100) -> Iterator[FleetBroker]:
        program = find_mosquitto()
        assert program is not None
        running = FleetBroker(program, self.plan(max_connections), self.register.view, exact=exact)
        try:
            yield running
        finally:
            running.stop()


def link(
    broker: FleetBroker,
    who: Credentials,
    client_id: str = "x",
    *,
    will: Will | None = None,
    clean: bool = True,
    acknowledges: bool = True,
) -> BareClient:
    """Connect with somebody's certificate."""
    tls = who.context()
    return BareClient(broker.process.endpoint, client_id, tls=tls, will=will, clean=clean, acknowledges=acknowledges)
