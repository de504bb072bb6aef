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
    ) -> None:
        """Describe it; nothing is sent before `connect`."""
        self._tls = tls
        self._endpoint = endpoint
        self._fleet = fleet
        self._device = device
        self._keepalive_s = keepalive_s
        self._client: WireClient | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the link is up."""
        return self._client is not None and self._client.is_connected

    def connect(
        self,
        on_delivery: Callable[[Delivery], None],
        on_link: Callable[[bool], None],
        will: Status,
        rng: random.Random,
    ) -> None:
        """Start to connect in the background, and again for ever; both callbacks run in the network's thread."""
        self._client = WireClient(
            self._endpoint,
            f"{self._fleet}.{self._device}",
            filters=device_filters(self._fleet, self._device),
            on_delivery=on_delivery,
            on_link=on_link,
            will=(self._topic(Channel.STATUS), will),
            rng=rng,
            keepalive_s=self._keepalive_s,
            tls=self._tls,
        )
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
        if self._client is None:
            return
        closing = threading.Thread(target=self._client.close, name="mqtt-close", daemon=True)
        closing.start()
        closing.join(timeout_s)

    def _connected(self) -> WireClient:
        if self._client is None:
            raise LinkError(f"{self._endpoint}: not connected yet")
        return self._client

    def _topic(self, channel: Channel) -> Topic:
        return Topic(self._fleet, self._device, channel)


def open_tls(ca: str, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """Return how a broker is known by a CA's certificate, and this device by its own; TLS 1.2 at least.

    Raises:
        LinkError: a file is missing, or is not what it should be.
    """
    try:
        # Of this CA alone: the system's list would cost a megabyte, and trust strangers.
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        raise LinkError(f"TLS with {ca}, {certificate}, {key}: {error}") from error
    return context
