"""Takes rows from a topic of a local MQTT broker: one message, one row of JSON (`edge_agent.sensing.json_rows`).

QoS 1: a message is acknowledged once the journal has its row. If the link or the agent ends in between, the broker
sends it again, and it is known by its packet's identifier and its content: it is acknowledged, and no second row.
Where too many rows wait, nothing more is read for `WAIT_S`, then the link is cut: the broker keeps what is not
acknowledged, within its own bounds, and sends it again. QoS 0 has no acknowledgement: what finds no room is turned away
and counted. A retained message is no row: it was there before, and would come again with every connection.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import Final

from edge_agent.scoring.schema import RawRow
from edge_agent.sensing.inlet import Inlet
from edge_agent.sensing.json_rows import parse_row
from edge_agent.sensing.mqtt_link import MAX_TOGETHER, Arrival

WAIT_S: Final = 5.0
# More than a broker has on its way to us without acknowledgement (Mosquitto: 20).
_MAX_KNOWN: Final = 128
# What stands before the JSON in the journal: the identifier of the packet that brought it, 0 for QoS 0.
_PACKET: Final = struct.Struct(">H")


def parse_kept(payload: bytes, features: Sequence[str]) -> RawRow:
    """Return the values of ``features`` of a row as the journal keeps it."""
    return parse_row(payload[_PACKET.size :], features)


class MqttRows:
    """Puts what arrives on a topic into an inlet; `receive` belongs to the link's thread."""

    def __init__(self, inlet: Inlet) -> None:
        """Know again what an earlier process accepted last: its acknowledgement may not have reached the broker."""
        self._inlet = inlet
        # Packet: checksum of what was accepted under it.
        self._known: dict[int, int] = {}
        self._learn(inlet.last_kept())

    def receive(self, arrivals: Sequence[Arrival]) -> bool:
        """Accept rows; return whether they may be acknowledged: see `mqtt_link.Receive`."""
        new = [arrival for arrival in arrivals if not (arrival.is_retained or self._is_known(arrival))]
        step = min(MAX_TOGETHER, self._inlet.max_rows)
        return all(self._accept(new[at : at + step]) for at in range(0, len(new), step))

    def _accept(self, arrivals: Sequence[Arrival]) -> bool:
        payloads = [_PACKET.pack(arrival.packet if arrival.qos else 0) + arrival.payload for arrival in arrivals]
        if self._inlet.offer(payloads, WAIT_S) is None:
            unanswered = sum(arrival.qos == 0 for arrival in arrivals)
            if unanswered:
                self._inlet.turn_away(unanswered, "messages of QoS 0 came faster than they are scored")
            return unanswered == len(arrivals)
        self._learn(payloads)
        return True

    def _learn(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads[-_MAX_KNOWN:]:
            (packet,) = _PACKET.unpack_from(payload) if len(payload) >= _PACKET.size else (0,)
            self._known.pop(packet, None)
            self._known[packet] = zlib.crc32(payload[_PACKET.size :])
        while len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def _is_known(self, arrival: Arrival) -> bool:
        """Tell whether the broker repeats what was accepted already, because our acknowledgement did not reach it."""
        return (
            arrival.is_repeated and arrival.qos == 1 and self._known.get(arrival.packet) == zlib.crc32(arrival.payload)
        )
