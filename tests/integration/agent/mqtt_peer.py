"""A program beside the agent on a local broker: publishes rows, and hears answers."""

import json
from types import TracebackType
from typing import Any, Self

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from broker.client import Endpoint
from tests.waiting import wait_until


class Peer:
    """Connected while it is entered, again and again; ``is_kept``: the broker keeps for it what comes meanwhile."""

    def __init__(self, endpoint: Endpoint, topic: str, *, is_kept: bool = False) -> None:
        self.heard: list[bytes] = []
        self._topic = topic
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="peer", clean_session=not is_kept)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = lambda _client, _data, message: self.heard.append(bytes(message.payload))
        self._client.connect(endpoint.host, endpoint.port)

    def __enter__(self) -> Self:
        subscribed: list[object] = []
        self._client.on_subscribe = lambda *_: subscribed.append(True)
        self._client.loop_start()
        self._client.subscribe(self._topic, 1)
        wait_until(lambda: subscribed, 10, "the peer has subscribed")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def is_connected(self) -> bool:
        """Whether it is, now."""
        return self._client.is_connected()

    def publish(self, topic: str, payload: bytes, qos: int = 1, *, retain: bool = False) -> None:
        """Publish, and wait until the broker has it."""
        self._client.publish(topic, payload, qos, retain).wait_for_publish(10)

    def answers(self) -> list[dict[str, Any]]:
        """Return what was heard, as JSON."""
        return [json.loads(payload) for payload in list(self.heard)]
