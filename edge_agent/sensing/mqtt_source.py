"""Takes rows from a topic of a local MQTT broker: one message, one row of JSON (`edge_agent.sensing.json_rows`).

QoS 1: a message is acknowledged once the journal has its row. Where too many rows wait, nothing more is read for
`WAIT_S`, then the link is cut: the broker keeps what is not acknowledged, within its own bounds, and sends it again.
QoS 0 has no acknowledgement: what finds no room is turned away and counted. A retained message is no row: it was there
before, and would come again with every connection.
"""

import zlib
from collections.abc import Sequence
from typing import Final

from edge_agent.sensing.inlet import Inlet
from edge_agent.sensing.mqtt_link import MAX_TOGETHER, Arrival

WAIT_S: Final = 5.0
# As many as any broker has on its way to us, and some.
_MAX_KNOWN: Final = 1024


class MqttRows:
    """Puts what arrives on a topic into an inlet; `receive` belongs to the link's thread."""

    def __init__(self, inlet: Inlet) -> None:
        self._inlet = inlet
        # Packet: checksum of what was accepted under it. Its acknowledgement may have been lost with a link.
        self._known: dict[int, int] = {}

    def receive(self, arrivals: Sequence[Arrival]) -> bool:
        """Accept rows; return whether they may be acknowledged: see `mqtt_link.Receive`."""
        new = [arrival for arrival in arrivals if not (arrival.is_retained or self._is_known(arrival))]
        step = min(MAX_TOGETHER, self._inlet.max_rows)
        return all(self._accept(new[at : at + step]) for at in range(0, len(new), step))

    def _accept(self, arrivals: Sequence[Arrival]) -> bool:
        if self._inlet.offer([arrival.payload for arrival in arrivals], WAIT_S) is None:
            unanswered = sum(arrival.qos == 0 for arrival in arrivals)
            if unanswered:
                self._inlet.turn_away(unanswered, "messages of QoS 0 came faster than they are scored")
            return unanswered == len(arrivals)
        for arrival in arrivals:
            if arrival.qos == 1:
                self._known.pop(arrival.packet, None)
                self._known[arrival.packet] = zlib.crc32(arrival.payload)
        while len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]
        return True

    def _is_known(self, arrival: Arrival) -> bool:
        """Tell whether the broker repeats what was accepted already, because our acknowledgement did not reach it."""
        return (
            arrival.is_repeated and arrival.qos == 1 and self._known.get(arrival.packet) == zlib.crc32(arrival.payload)
        )
