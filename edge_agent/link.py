"""One device's way to the broker: its own topics, its last will."""

import random
import ssl
import threading
from collections.abc import Callable

from broker.client import Delivery, Endpoint, WireClient
from broker.errors import LinkError
from broker.messages import Status
from broker.topics import Channel, DeviceId, FleetId, Topic, device_filters


class DeviceLink:
    """Publishes on one device's channels; implements `edge_agent.housekeeping.Link`."""

    def __init__(
        self,
        endpoint: Endpoint,
        fleet: FleetId,
        device: DeviceId,
        keepalive_s: int,
        tls: ssl.SSLContext | None = None,
        *,
        spread_s: float = 0.0,
        is_known: bool = True,
    ) -> None:
        """Describe it; nothing is sent before `connect`.

        Args:
            endpoint: where the broker listens.
            fleet: whose topics are used.
            device: which of them.
            keepalive_s: silence after which the link is tested.
            tls: how the broker is known, and this device by it.
            spread_s: within how long this device comes back once a steady link broke, by chance.
            is_known: False: this device has no identity yet; the link waits for `use`.
        """
        self._tls = tls
        self._is_known = is_known
        self._lock = threading.Lock()
        self._is_closed = False
        self._open: Callable[[], WireClient] | None = None
        self._on_link: Callable[[bool], None] | None = None
        self._endpoint = endpoint
        self._fleet = fleet
        self._device = device
        self._keepalive_s = keepalive_s
        self._spread_s = spread_s
        self._client: WireClient | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the link is up."""
        client = self._client
        return client is not None and client.is_connected

    def connect(
        self,
        on_delivery: Callable[[Delivery], None],
        on_link: Callable[[bool], None],
        will: Status,
        rng: random.Random,
    ) -> None:
        """Start to connect in the background, and again for ever; both callbacks run in the network's thread."""

        def open_client() -> WireClient:
            held: list[WireClient] = []
            client = WireClient(
                self._endpoint,
                f"{self._fleet}.{self._device}",
                filters=device_filters(self._fleet, self._device),
                on_delivery=on_delivery,
                # The last word of a client that was replaced may come after the first one of its successor.
                on_link=lambda is_up: on_link(is_up) if held and self._client is held[0] else None,
                will=(self._topic(Channel.STATUS), will),
                rng=rng,
                keepalive_s=self._keepalive_s,
                tls=self._tls,
                spread_s=self._spread_s,
            )
            held.append(client)
            return client

        with self._lock:
            self._open, self._on_link = open_client, on_link
            if self._is_known:
                self._start()

    def use(self, endpoint: Endpoint, tls: ssl.SSLContext, timeout_s: float) -> None:
        """Go on as another identity: say goodbye as the old one, and connect again.

        Nothing is lost by it: what the broker has not acknowledged is in the spool until the monitor has stored it.

        Args:
            endpoint: where the broker listens now.
            tls: the new identity.
            timeout_s: a broker that does not listen to the goodbye is left alone after so long.
        """
        with self._lock:
            if self._is_closed:
                return
            self._endpoint, self._tls, self._is_known = endpoint, tls, True
            old, self._client = self._client, None
            if old is not None:
                was_up = old.is_connected
                _close(old, timeout_s)
                if was_up and self._on_link is not None:
                    self._on_link(False)  # noqa: FBT003 - the link's own word, as its listener gets it
            self._start()

    def _start(self) -> None:
        if self._open is not None:
            self._client = self._open()
            self._client.start()

    def publish(self, channel: Channel, payload: bytes) -> None:
        """Hand a payload over without waiting.

        Raises:
            LinkError: the link does not take it now.
        """
        self._connected().publish(self._topic(channel), payload)

    def publish_and_wait(self, channel: Channel, payload: bytes, timeout_s: float) -> None:
        """Publish, and wait for the broker's word.

        Raises:
            LinkError: it did not come in time.
        """
        self._connected().publish_and_wait(self._topic(channel), payload, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Say goodbye; a broker that does not listen is left alone after so long."""
        with self._lock:
            self._is_closed = True
            if self._client is not None:
                _close(self._client, timeout_s)

    def _connected(self) -> WireClient:
        # Another thread may put another one in its place.
        client = self._client
        if client is None:
            raise LinkError(f"{self._endpoint}: not connected yet")
        return client

    def _topic(self, channel: Channel) -> Topic:
        return Topic(self._fleet, self._device, channel)


def _close(client: WireClient, timeout_s: float) -> None:
    closing = threading.Thread(target=client.close, name="mqtt-close", daemon=True)
    closing.start()
    closing.join(timeout_s)
