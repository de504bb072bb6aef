"""Real brokers for the contract of the client, and clients that end with their test."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Protocol

import pytest

from broker.client import Delivery, Endpoint, WireClient
from broker.messages import Body
from broker.servers.local import LocalBroker, start_local_broker
from broker.servers.mosquitto import find_mosquitto
from broker.topics import Topic
from tests.ports import free_port
from tests.waiting import wait_until

Kind = Literal["mosquitto", "amqtt"]
MOSQUITTO = pytest.param("mosquitto", marks=pytest.mark.mosquitto)


class Inbox:
    """What a client heard, in order."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.links: list[bool] = []

    @property
    def payloads(self) -> list[bytes]:
        return [delivery.payload for delivery in self.deliveries]


class Connect(Protocol):
    def __call__(
        self,
        client_id: str,
        *filters: str,
        endpoint: Endpoint | None = None,
        will: tuple[Topic, Body] | None = None,
        on_delivery: Callable[[Delivery], None] | None = None,
        max_queued: int = 1000,
        monotonic_s: Callable[[], float] = time.monotonic,
        spread_s: float = 0.0,
        rng: random.Random | None = None,
        wait: bool = True,
    ) -> tuple[WireClient, Inbox]: ...


@pytest.fixture(params=[MOSQUITTO, "amqtt"])
def kind(request) -> Kind:
    found: Kind = request.param
    if found == "mosquitto" and find_mosquitto() is None:
        pytest.skip("no mosquitto is installed: apt-get install mosquitto")
    return found


@pytest.fixture
def broker(kind: Kind, tmp_path: Path) -> Iterator[LocalBroker]:
    started = start_local_broker(tmp_path / "broker", port=free_port(), kind=kind)
    yield started
    started.stop()


@pytest.fixture
def connect(broker: LocalBroker) -> Iterator[Connect]:
    """Start clients of the broker; wait until their link is up, and close them after the test."""
    clients: list[WireClient] = []

    def start(
        client_id: str,
        *filters: str,
        endpoint: Endpoint | None = None,
        will: tuple[Topic, Body] | None = None,
        on_delivery: Callable[[Delivery], None] | None = None,
        max_queued: int = 1000,
        monotonic_s: Callable[[], float] = time.monotonic,
        spread_s: float = 0.0,
        rng: random.Random | None = None,
        wait: bool = True,
    ) -> tuple[WireClient, Inbox]:
        inbox = Inbox()
        client = WireClient(
            endpoint or broker.endpoint,
            client_id,
            filters=filters,
            on_delivery=on_delivery or inbox.deliveries.append,
            on_link=inbox.links.append,
            will=will,
            rng=rng or random.Random(1),
            max_queued=max_queued,
            spread_s=spread_s,
            monotonic_s=monotonic_s,
        )
        clients.append(client)
        client.start()
        if wait:
            wait_until(lambda: client.is_connected, what=f"{client_id} is connected")
        return client, inbox

    yield start
    for client in clients:
        client.close()
