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

from broker import frames
from broker.client import Endpoint
from broker.errors import LinkError
from broker.frames import FrameError, FrameReader, packet, text

_CONNECT: Final = 0x10
_DUPLICATE: Final = 0x08
_MAX_PACKET_BYTES: Final = 8 << 20
REFUSED: Final = frames.REFUSED_FILTER
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
        self._reader = FrameReader(_MAX_PACKET_BYTES)
        self._packets: deque[tuple[int, bytes]] = deque()
        try:
            plain = socket.create_connection((endpoint.host, endpoint.port), timeout_s)
        except OSError as error:
            raise LinkError(f"{endpoint}: {error}") from error
        try:
            self._socket = plain if tls is None else tls.wrap_socket(plain, server_hostname=endpoint.host)
            self._send(_connect_packet(client_id, clean=clean, will=will, user=user, keepalive_s=keepalive_s))
            answer = self._wait_for(frames.CONNACK)
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
        body = text(name) + (packet_id if qos else b"") + payload
        self._send(packet(frames.PUBLISH | qos << 1 | int(retained), body))
        if qos:
            self._wait_for(frames.PUBACK, lambda body: body[:2] == packet_id)

    def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        """Subscribe; return the QoS that was granted, or `REFUSED`."""
        packet_id = self._next_id()
        self._send(frames.subscribe(int.from_bytes(packet_id, "big"), [(topic_filter, qos)]))
        return self._wait_for(frames.SUBACK, lambda body: body[:2] == packet_id)[2]

    def ping(self) -> None:
        """Return once the broker has answered: what it sent before has been received then."""
        self._send(frames.PING)
        self._wait_for(frames.PINGRESP)

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
            self._socket.sendall(frames.GOODBYE)
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
            if got & frames.KIND == kind and fits(body):
                return body

    def _read_packet(self) -> tuple[int, bytes]:
        """Read one packet whole; on a timeout nothing of it is lost."""
        while not self._packets:
            data = self._socket.recv(65536)
            if not data:
                raise LinkError(f"{self.endpoint}: the broker ended the link")
            try:
                self._packets.extend(self._reader.feed(data))
            except FrameError as error:
                raise LinkError(f"{self.endpoint}: {error}") from error
        kind, body = self._packets.popleft()
        if kind & frames.KIND == frames.PUBLISH:
            self._take_publish(kind, body)
        return kind, body

    def _take_publish(self, kind: int, body: bytes) -> None:
        try:
            topic, packet_id, payload = frames.parse_message(kind, body)
        except FrameError as error:
            raise LinkError(f"{self.endpoint}: {error}") from error
        if packet_id is not None and self._acknowledges:
            self._send(frames.acknowledge(packet_id))
        name, is_duplicate = topic.decode(errors="replace"), bool(kind & _DUPLICATE)
        qos, is_retained = int(packet_id is not None), bool(kind & frames.RETAINED)
        self.received.append(Received(name, payload, qos, is_retained, is_duplicate))


def _connect_packet(client_id: str, *, clean: bool, will: Will | None, user: str | None, keepalive_s: int) -> bytes:
    flags = (2 if clean else 0) | (0x80 if user is not None else 0)
    tail = text(client_id.encode())
    if will is not None:
        flags |= 4 | 1 << 3 | (0x20 if will.retained else 0)
        tail += text(will.topic.encode()) + text(will.payload)
    if user is not None:
        tail += text(user.encode())
    return packet(_CONNECT, text(b"MQTT") + bytes([4, flags]) + struct.pack(">H", keepalive_s) + tail)
