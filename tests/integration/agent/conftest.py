"""A broker, an update repository and stations, each for one test."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker.messages import BundleRef, Desired
from broker.servers.local import LocalBroker, start_local_broker
from broker.topics import Channel
from edge_agent.clock import SystemClock
from exporter.repository.repository import init_repository, publish_bundle
from exporter.repository.serving import RepositoryServer, start_repository_server
from tests.bundles import make_bundle, write_rows
from tests.forging import only_whole
from tests.integration.agent.station import Station
from tests.ports import free_port
from tests.receiver import Receiver
from tests.waiting import wait_until


@dataclass
class UpdateRepository:
    """A signed repository with its server."""

    folder: Path
    keys: Path
    root: Path
    server: RepositoryServer
    work: Path
    published: list[BundleRef] = field(default_factory=list)

    def publish(self, version: int, **changes: Any) -> BundleRef:
        """Make, sign and list a bundle."""
        bundle = make_bundle(self.work / f"v{version}", version=version, **changes)
        ref = publish_bundle(bundle, self.folder, self.keys, clock=SystemClock())
        self.published.append(ref)
        return ref

    def serve(self, port: int) -> None:
        """Serve it again, where it was served before."""
        self.server = start_repository_server(self.folder, port)

    def file_of(self, ref: BundleRef, name: str) -> Path:
        """Return the served file of a target, after its smaller forms are gone."""
        return only_whole(self.folder / "targets" / ref.name / str(ref.version), name)


@pytest.fixture(params=["mosquitto", "amqtt"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalBroker]:
    """Both brokers, one after the other."""
    if request.param == "mosquitto":
        request.getfixturevalue("mosquitto")
    running = start_local_broker(tmp_path / "broker", port=free_port(), kind=request.param)
    yield running
    running.stop()


@pytest.fixture
def any_broker(tmp_path: Path) -> Iterator[LocalBroker]:
    """Whichever broker is there."""
    running = start_local_broker(tmp_path / "broker", port=free_port())
    yield running
    running.stop()


@pytest.fixture
def updates(tmp_path: Path) -> Iterator[UpdateRepository]:
    """An empty update repository."""
    folder, keys = tmp_path / "repository", tmp_path / "keys"
    root = init_repository(folder, keys, clock=SystemClock())
    trusted = tmp_path / "root.json"
    trusted.write_bytes(root.read_bytes())
    repository = UpdateRepository(
        folder, keys, trusted, start_repository_server(folder, free_port()), tmp_path / "bundles"
    )
    yield repository
    repository.server.stop()


@dataclass
class Fleet:
    """A receiver and its stations on one broker."""

    receiver: Receiver
    broker: LocalBroker
    updates: UpdateRepository
    folder: Path
    stations: list[Station] = field(default_factory=list)
    orders: int = 0

    def station(self, name: str = "one", n_rows: int = 2000, **changes: str) -> Station:
        """Describe a station that replays rows of its own."""
        folder = self.folder / name
        folder.mkdir()
        rows = write_rows(folder / "rows.csv", n_rows)
        station = Station(folder, name, self.broker.endpoint, self.updates.server.url, self.updates.root, rows)
        station = dataclasses.replace(station, **changes)  # type: ignore[arg-type]  # names of fields
        self.stations.append(station)
        return station

    def order(self, station: Station, bundle: BundleRef, order_id: str | None = None) -> str:
        """Publish what a station should run; return the order's id."""
        self.orders += 1
        order_id = order_id or f"order-{self.orders}"
        desired = Desired(bundle, order_id, SystemClock().utc_s(), "test", "because")
        self.receiver.publish(station.name, Channel.DESIRED, desired)
        return order_id

    def wait_committed(self, station: Station, bundle: BundleRef, timeout_s: float = 30.0) -> None:
        """Wait until a station says that it committed a bundle."""
        wait_until(
            lambda: any(e.bundle == bundle for e in self.receiver.events(station.name, "committed")),
            timeout_s,
            f"{station.name} commits {bundle}; its log: {station.log}",
        )

    def wait_for_event(self, station: Station, kind: str, n: int = 1, timeout_s: float = 30.0) -> str:
        """Wait for the n-th event of a kind, and return its reason."""
        wait_until(
            lambda: len(self.receiver.events(station.name, kind)) >= n,
            timeout_s,
            f"event {kind} number {n} of {station.name}",
        )
        return self.receiver.events(station.name, kind)[n - 1].reason


def _fleet(broker: LocalBroker, updates: UpdateRepository, folder: Path) -> Iterator[Fleet]:
    receiver = Receiver(broker.endpoint)
    receiver.start()
    wait_until(lambda: receiver.is_connected, 10, "the receiver is connected")
    fleet = Fleet(receiver, broker, updates, folder)
    yield fleet
    for station in fleet.stations:
        if station.is_running:
            station.kill()
    receiver.close()


@pytest.fixture
def fleet(broker: LocalBroker, updates: UpdateRepository, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet on each of both brokers."""
    yield from _fleet(broker, updates, tmp_path)


@pytest.fixture
def one_fleet(any_broker: LocalBroker, updates: UpdateRepository, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet on whichever broker is there."""
    yield from _fleet(any_broker, updates, tmp_path)
