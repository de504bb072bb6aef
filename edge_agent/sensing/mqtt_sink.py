"""Publishes answers on a topic of a local MQTT broker: one message an answer, QoS 1, JSON."""

from collections.abc import Sequence
from typing import Final

from edge_agent.sensing.answers import Answer, encode_answer
from edge_agent.sensing.mqtt_link import MqttLink

_WAIT_S: Final = 2.0


class MqttAnswers:
    """A topic; implements `edge_agent.sensing.outlet.Carrier`.

    An answer was handed over when the broker has acknowledged it. Where a link breaks in between, it is published
    again: a subscriber tells by ``id``.
    """

    def __init__(self, link: MqttLink, topic: str) -> None:
        """Start the link."""
        self._link = link
        self._topic = topic
        link.start()

    def send(self, answers: Sequence[Answer]) -> int:
        """Publish them; see `Carrier.send`."""
        return self._link.publish(self._topic, [encode_answer(answer) for answer in answers], _WAIT_S)

    def close(self) -> None:
        """Close the link."""
        self._link.close()
