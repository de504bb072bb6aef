"""MQTT 3.1.1 packets, as bytes: those that a client sends, and a reader of those that it is sent. No I/O.

Of the protocol it has what is used here: QoS 0 and 1, a last will, and, at a local broker, a user name (in the fleet an
identity is a certificate).
OASIS, MQTT Version 3.1.1, chapters 2 and 3.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from broker.errors import WireError

CONNACK: Final = 0x20
PUBLISH: Final = 0x30
PUBACK: Final = 0x40
SUBACK: Final = 0x90
PINGRESP: Final = 0xD0
# The upper half of a packet's first byte.
KIND: Final = 0xF0
RETAINED: Final = 0x01
RESENT: Final = 0x08
REFUSED_FILTER: Final = 0x80

PING: Final = b"\xc0\x00"
GOODBYE: Final = b"\xe0\x00"

_CONNECT: Final = 0x10
_SUBSCRIBE: Final = 0x82
_PUBLISH_ONCE_OR_MORE: Final = 0x32
_QOS: Final = 0x06
_QOS_1: Final = 0x02
_PROTOCOL: Final = b"\x00\x04MQTT\x04"
_CLEAN_SESSION: Final = 0x02
_WILL_QOS_1: Final = 0x0C
_WILL_RETAINED: Final = 0x20
_USERNAME: Final = 0x80
_PASSWORD: Final = 0x40
_REFUSALS: Final = {
    1: "it does not speak MQTT 3.1.1",
    2: "it does not take this client's name",
    3: "it is not available",
    4: "wrong user name or password",
    5: "this client may not connect",
}
_FROM_BROKER: Final = frozenset({CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP})
_MOST_DIGITS: Final = 4
_MORE_DIGITS: Final = 0x80
_ID_BYTES: Final = 2


class FrameError(WireError):
    """What came is no packet that a broker sends to such a client."""


class Will(Struct, frozen=True):
    """What the broker publishes, with QoS 1, when a client is gone without a goodbye."""

    topic: bytes
    payload: bytes
    retained: bool


def encode_length(n_bytes: int) -> bytes:
    """Return the length of a packet's body as digits of seven bits, the least first (2.2.3)."""
    digits, rest = b"", n_bytes
    while rest or not digits:
        rest, digit = rest >> 7, rest & 0x7F
        digits += bytes([digit | (_MORE_DIGITS if rest else 0)])
    return digits


def packet(first: int, body: bytes) -> bytes:
    """Return a packet: its first byte, its length, its body."""
    return bytes([first]) + encode_length(len(body)) + body


def text(encoded: bytes) -> bytes:
    """Return a text as packets carry it: its length in two bytes, then itself (1.5.3)."""
    return len(encoded).to_bytes(2, "big") + encoded


def connect(
    client_id: str,
    keepalive_s: int,
    *,
    clean_session: bool,
    will: Will | None,
    username: str | None = None,
    password: str | None = None,
) -> bytes:
    """Return the packet that opens a link; a password without a user name is left out, as the protocol wants."""
    flags = _CLEAN_SESSION if clean_session else 0
    content = text(client_id.encode())
    if will is not None:
        flags |= _WILL_QOS_1 | (_WILL_RETAINED if will.retained else 0)
        content += text(will.topic) + text(will.payload)
    if username is not None:
        flags |= _USERNAME
        content += text(username.encode())
        if password is not None:
            flags |= _PASSWORD
            content += text(password.encode())
    return packet(_CONNECT, _PROTOCOL + bytes([flags]) + keepalive_s.to_bytes(2, "big") + content)


def subscribe(packet_id: int, filters: Sequence[tuple[str, int]]) -> bytes:
    """Return the packet that asks for filters, each with the quality of service that is granted at most."""
    wanted = b"".join(text(topic_filter.encode()) + bytes([qos]) for topic_filter, qos in filters)
    return packet(_SUBSCRIBE, packet_id.to_bytes(2, "big") + wanted)


def publish(topic: bytes, payload: bytes, packet_id: int, *, retained: bool) -> bytes:
    """Return a message with QoS 1."""
    first = _PUBLISH_ONCE_OR_MORE | (RETAINED if retained else 0)
    return packet(first, text(topic) + packet_id.to_bytes(2, "big") + payload)


def resent(message: bytes) -> bytes:
    """Return a message of `publish` as it is sent again."""
    return bytes([message[0] | RESENT]) + message[1:]


def acknowledge(packet_id: int) -> bytes:
    """Return the acknowledgement of a message with QoS 1."""
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


def parse_message(first: int, body: bytes) -> tuple[bytes, int | None, bytes]:
    """Return topic, packet id (None: nobody waits for an acknowledgement) and payload of a PUBLISH.

    Raises:
        FrameError: it is shorter than it says, or of a quality that nobody asked for.
    """
    start = 2 + int.from_bytes(body[:2], "big")
    qos = first & _QOS
    if qos == 0 and start <= len(body):
        return body[2:start], None, body[start:]
    if qos == _QOS_1 and start + 2 <= len(body):
        return body[2:start], int.from_bytes(body[start : start + 2], "big"), body[start + 2 :]
    raise FrameError(f"a message of {len(body)} bytes and quality {qos >> 1} is none")


def refusal_of(body: bytes) -> str | None:
    """Return why a CONNACK refuses a client; None: it is taken."""
    code = body[1] if len(body) > 1 else 0
    return _REFUSALS.get(code, f"code {code}") if code else None


def packet_id_of(body: bytes) -> int:
    """Return the packet id that a PUBACK or SUBACK begins with.

    Raises:
        FrameError: there is none.
    """
    if len(body) < _ID_BYTES:
        raise FrameError("an acknowledgement of nothing")
    return int.from_bytes(body[:2], "big")


class FrameReader:
    """Cuts what arrives into packets; holds no more of one than it was told."""

    def __init__(self, most_bytes: int) -> None:
        """Begin before the first byte of a link.

        Args:
            most_bytes: of a packet's body that is kept; what is longer is cut off there.
        """
        self._most_bytes = most_bytes
        self._left = b""
        self._skip = 0

    def feed(self, chunk: bytes) -> list[tuple[int, bytes]]:
        """Return the first byte and the body of each packet that is complete now.

        Raises:
            FrameError: no broker sends this; the reader is of no use any more.
        """
        if self._skip:
            skipped = min(self._skip, len(chunk))
            self._skip -= skipped
            chunk = chunk[skipped:]
        data = self._left + chunk if self._left else chunk
        packets: list[tuple[int, bytes]] = []
        at, size = 0, len(data)
        while at < size:
            first = data[at]
            if first & KIND not in _FROM_BROKER:
                raise FrameError(f"a packet of kind {first >> 4}, which no broker sends")
            # Nearly every packet's length has one or two digits.
            start, length = _length(data, at + 1)
            if start == 0:
                break
            kept = min(length, self._most_bytes)
            end = start + kept
            if end > size:
                break
            packets.append((first, data[start:end]))
            at = end + min(length - kept, size - end)
            self._skip = length - kept - (at - end)
        self._left = data[at:]
        return packets


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Return where a body starts and how long it is; (0, 0) while that has not arrived."""
    length = 0
    for place in range(_MOST_DIGITS):
        if at + place >= len(data):
            return 0, 0
        digit = data[at + place]
        length |= (digit & 0x7F) << 7 * place
        if digit < _MORE_DIGITS:
            return at + place + 1, length
    raise FrameError("a packet whose length has more than four digits")
