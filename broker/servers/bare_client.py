"""A bare MQTT 3.1.1 client, one packet at a time, to find out what a broker does.

Unlike ``client.py`` it never connects again, and it can do what a good client does not: leave a message
unacknowledged, cut the link without a goodbye, send bytes that are no packet. For checks and tests, not for traffic.
"""

import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from broker.client import Endpoint
from broker.errors import LinkError

_CONNECT, _CONNACK, _PUBLISH, _PUBACK = 0x10, 0x20, 0x30, 0x40
_SUBSCRIBE, _SUBACK, _PINGREQ, _PINGRESP, _DISCONNECT = 0x82, 0x90, 0xC0, 0xD0, 0xE0
_MAX_LENGTH_BYTES: Final = 4
_MAX_PACKET_BYTES: Final = 8 << 20
REFUSED: Final = 0x80
_REASONS: Final = {
    1: "unacceptable protocol version",
    2: "client id rejected",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorised",
}


class RefusedError(LinkError):
    """The broker answered, and the answer is no."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker shall publish when the link ends without a goodbye."""

    topic: str
    payload: bytes
    retained: bool = False


class BareClient:
    """One link; everything waits for the broker's answer, at most `timeout_s`."""

    def __init__(  # noqa: PLR0913 - each is an option of MQTT's CONNECT
        self,
        endpoint: Endpoint,
        client_id: str,
        *,
        tls: ssl.SSLContext | None = None,
        clean: bool = True,
        will: Will | None = None,
        user: str | None = None,
        keepalive_s: int = 60,
        acknowledges: bool = True,
        timeout_s: float = 10.0,
    ) -> None:
        """Connect.

        Args:
            endpoint: of the broker.
            client_id: of the session.
            tls: None: nothing is encrypted.
            clean: whether the broker forgets the session at its end.
            will: see `Will`.
            user: user name to send.
            keepalive_s: of silence, after which the broker may end the link.
            acknowledges: whether messages of QoS 1 are acknowledged.
            timeout_s: for each answer.

        Raises:
            RefusedError: the broker does not want this client.
            LinkError: there is no broker, or no link.
        """
        self.endpoint = endpoint
        self.received: deque[Received] = deque()
        self._acknowledges = acknowledges
        self._packet_id = 0
        self._buffer = b""
        try:
            plain = socket.create_connection((endpoint.host, endpoint.port), timeout_s)
        except OSError as error:
            raise LinkError(f"{endpoint}: {error}") from error
        try:
            self._socket = plain if tls is None else tls.wrap_socket(plain, server_hostname=endpoint.host)
            self._send(_connect_packet(client_id, clean=clean, will=will, user=user, keepalive_s=keepalive_s))
            answer = self._wait_for(_CONNACK)
        except (OSError, LinkError) as error:
            plain.close()
            raise error if isinstance(error, LinkError) else LinkError(f"{endpoint}: {error}") from error
        self.session_present = bool(answer[0] & 1)
        if answer[1]:
            self.cut()
            raise RefusedError(f"{endpoint}: connection refused: {_REASONS.get(answer[1], answer[1])}")

    def __enter__(self) -> Self:
        """Return the link."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it politely."""
        self.close()

    def publish(self, topic: str | bytes, payload: bytes, *, qos: int = 1, retained: bool = False) -> None:
        """Publish; with QoS 1 return once it is acknowledged.

        Raises:
            LinkError: the link ended, or no acknowledgement came.
        """
        name = topic.encode() if isinstance(topic, str) else topic
        packet_id = self._next_id()
        body = _text(name) + (packet_id if qos else b"") + payload
        self._send(packet(_PUBLISH | qos << 1 | int(retained), body))
        if qos:
            self._wait_for(_PUBACK, lambda body: body[:2] == packet_id)

    def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        """Subscribe; return the QoS that was granted, or `REFUSED`."""
        packet_id = self._next_id()
        self._send(packet(_SUBSCRIBE, packet_id + _text(topic_filter.encode()) + bytes([qos])))
        return self._wait_for(_SUBACK, lambda body: body[:2] == packet_id)[2]

    def ping(self) -> None:
        """Return once the broker has answered: what it sent before has been received then."""
        self._send(packet(_PINGREQ, b""))
        self._wait_for(_PINGRESP)

    def take(self, timeout_s: float) -> Received | None:
        """Return the next message; None when none comes in time or the link has ended."""
        if self.received:
            return self.received.popleft()
        self._socket.settimeout(timeout_s)
        try:
            while not self.received:
                self._read_packet()
        except (OSError, LinkError):
            return None
        return self.received.popleft()

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are; raise LinkError when the link has ended."""
        self._send(data)

    def is_cut_off(self, timeout_s: float) -> bool:
        """Tell whether the broker ends the link within a time; what comes meanwhile is received."""
        self._socket.settimeout(timeout_s)
        try:
            while True:
                self._read_packet()
        except TimeoutError:
            return False
        except (OSError, LinkError):
            return True

    def cut(self) -> None:
        """End the link without a goodbye."""
        self._socket.close()

    def close(self) -> None:
        """End the link with a goodbye; the will is not published."""
        try:
            self._socket.sendall(packet(_DISCONNECT, b""))
        except OSError:
            pass  # It ended before.
        finally:
            self._socket.close()

    def _next_id(self) -> bytes:
        self._packet_id = self._packet_id % 0xFFFF + 1
        return struct.pack(">H", self._packet_id)

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise LinkError(f"{self.endpoint}: {error}") from error

    def _wait_for(self, kind: int, fits: Callable[[bytes], bool] = lambda _: True) -> bytes:
        while True:
            try:
                got, body = self._read_packet()
            except OSError as error:
                raise LinkError(f"{self.endpoint}: no answer: {error}") from error
            if got & 0xF0 == kind & 0xF0 and fits(body):
                return body

    def _read_packet(self) -> tuple[int, bytes]:
        """Read one packet whole; on a timeout nothing of it is lost."""
        while True:
            parsed = _split(self._buffer)
            if parsed is not None:
                kind, body, self._buffer = parsed
                if kind & 0xF0 == _PUBLISH:
                    self._take_publish(kind, body)
                return kind, body
            data = self._socket.recv(65536)
            if not data:
                raise LinkError(f"{self.endpoint}: the broker ended the link")
            self._buffer += data

    def _take_publish(self, kind: int, body: bytes) -> None:
        qos = kind >> 1 & 3
        length = struct.unpack_from(">H", body)[0]
        topic, rest = body[2 : 2 + length], body[2 + length :]
        if qos:
            packet_id, rest = rest[:2], rest[2:]
            if self._acknowledges:
                self._send(packet(_PUBACK, packet_id))
        self.received.append(Received(topic.decode(errors="replace"), rest, qos, bool(kind & 1), bool(kind & 8)))


def packet(kind: int, body: bytes) -> bytes:
    """Return a packet: its first byte, its length, its body."""
    return bytes([kind]) + encode_length(len(body)) + body


def encode_length(length: int) -> bytes:
    """Return a length as MQTT writes it: seven bits a byte, the least first (3.1.1, 2.2.3)."""
    out = bytearray()
    while True:
        length, low = divmod(length, 128)
        out.append(low | (128 if length else 0))
        if not length:
            return bytes(out)


def _split(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Return kind, body and what follows, of the first packet; None while it is not whole."""
    length = 0
    for index in range(_MAX_LENGTH_BYTES):
        if len(data) < index + 2:
            return None
        length |= (data[index + 1] & 127) << (7 * index)
        if not data[index + 1] & 128:
            if length > _MAX_PACKET_BYTES:
                raise LinkError(f"the broker announces a packet of {length} bytes")
            begin = index + 2
            return (
                (data[0], data[begin : begin + length], data[begin + length :]) if len(data) >= begin + length else None
            )
    raise LinkError("the broker sent no MQTT packet")


def _text(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def _connect_packet(client_id: str, *, clean: bool, will: Will | None, user: str | None, keepalive_s: int) -> bytes:
    flags = (2 if clean else 0) | (0x80 if user is not None else 0)
    tail = _text(client_id.encode())
    if will is not None:
        flags |= 4 | 1 << 3 | (0x20 if will.retained else 0)
        tail += _text(will.topic.encode()) + _text(will.payload)
    if user is not None:
        tail += _text(user.encode())
    return packet(_CONNECT, _text(b"MQTT") + bytes([4, flags]) + struct.pack(">H", keepalive_s) + tail)
