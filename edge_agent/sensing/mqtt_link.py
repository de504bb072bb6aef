"""A link to a local MQTT broker for rows and answers.

It is not the fleet's wire (`broker.client`): topics are the user's own, payloads any bytes. It is made of the same
packets and connection (`broker.frames`, `broker.link`), connects again for ever, and at the same pace. What arrived is
acknowledged when the receiver says that it has it: messages are taken together and none is acknowledged by itself,
which is why the network thread's loop is not the wire's.
"""

import logging
import random
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from broker import frames
from broker.backoff import backoff_s, failures_after
from broker.errors import LinkError
from broker.link import Link
from broker.silence import Silence
from edge_agent.clock import Clock
from edge_agent.sensing.json_rows import MAX_ROW_BYTES

logger = logging.getLogger(__name__)

# Most messages that the receiver is asked about at once.
MAX_TOGETHER: Final = 64
# Of a longer payload the rest is dropped at once: by its length alone it is refused.
MAX_PAYLOAD_BYTES: Final = MAX_ROW_BYTES + 1

# A topic of any length with its own length before it, and a packet's identifier.
_MAX_HEAD_BYTES: Final = 2 + 0xFFFF + 2
_MAX_PACKET_ID: Final = 0xFFFF
_QOS: Final = 1
# A broker that leaves so much unread gets nothing more.
_MAX_UNSENT_BYTES: Final = 1 << 18
_GOODBYE_S: Final = 0.5
_GOODBYE_LOOP_S: Final = 0.1
_JOIN_S: Final = 1.0


class MqttPlace(Struct, frozen=True):
    """Where a broker listens, and who we are there.

    Attributes:
        client_id: unique at the broker.
        username: None: anonymous, or known by a certificate.
        password: never part of what is shown of this value.
        tls: how the broker is known, and who we are to it; None: nothing is encrypted.
    """

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    keepalive_s: int = 60

    def __str__(self) -> str:
        """Return ``host:port``."""
        return f"{self.host}:{self.port}"

    # Of a Struct it would show every field, the password too.
    __repr__ = __str__


class Arrival(Struct, frozen=True):
    """One message as it came.

    Attributes:
        packet: its identifier; the broker uses it again once it is acknowledged.
        qos: 0 or 1; only 1 is acknowledged, and comes again if it was not.
        is_repeated: the broker says that it sent this before.
        is_retained: it lay at the broker before we subscribed.
    """

    payload: bytes
    packet: int
    qos: int
    is_repeated: bool
    is_retained: bool


# Takes messages together; returns whether they may be acknowledged. If not, the link is cut, and they come again.
Receive = Callable[[Sequence[Arrival]], bool]


class MqttLink:
    """One connection, with a network thread of its own.

    Attributes:
        cut: how often the link was cut because the receiver did not take what arrived.
    """

    def __init__(
        self,
        place: MqttPlace,
        rng: random.Random,
        clock: Clock,
        topic_filter: str | None = None,
        receive: Receive | None = None,
    ) -> None:
        """Describe it; nothing is sent before `start`.

        Args:
            place: the broker; with ``receive``, it keeps what arrives while we are away.
            rng: chance for the waits between attempts.
            clock: monotonic: tells how long a link held.
            topic_filter: what to subscribe to, with QoS 1.
            receive: takes what arrives, in the network thread.
        """
        self.cut = 0
        self._place = place
        self._rng = rng
        self._clock = clock
        self._filter = topic_filter
        self._receive = receive
        self._up = threading.Event()
        self._closing = threading.Event()
        # Links in a row that did not come up or did not hold, and when the present one came up.
        self._failures = 0
        self._up_since_s = 0.0
        # Whether we cut it, to have rows wait: the broker is not to blame, and is asked again soon.
        self._is_cut = False
        self._reason = ""
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{place.client_id}", daemon=True)
        # What threads share, under the lock: bytes for the network thread, and messages without acknowledgement.
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._output = bytearray()
        self._unacknowledged: set[int] = set()
        self._last_id = 0
        self._link: Link | None = None
        # What the network thread has taken and the broker has not; others look at its length only.
        self._unsent = bytearray()

    @property
    def is_up(self) -> bool:
        """Whether the broker has accepted us and our subscription."""
        return self._up.is_set()

    def start(self) -> None:
        """Start to connect, and return at once."""
        self._thread.start()

    def publish(self, topic: str, payloads: Sequence[bytes], timeout_s: float) -> int:
        """Publish with QoS 1, and wait until the broker has acknowledged; return how many of the first it has.

        What it has not may have arrived nevertheless. One thread publishes.

        Raises:
            ConnectionError: the link is down, or nothing was acknowledged.
        """
        name = topic.encode()
        with self._lock:
            link = self._link
            if link is None or not self.is_up:
                raise ConnectionError(f"no link to {self._place}")
            if len(self._unsent) > _MAX_UNSENT_BYTES:
                raise ConnectionError(f"{self._place} does not read what was sent before")
            packets = [self._next_id() for _ in payloads]
            self._unacknowledged = set(packets)
            for packet, payload in zip(packets, payloads, strict=True):
                self._output += frames.publish(name, payload, packet, retained=False)
        link.wake()
        with self._lock:
            self._settled.wait_for(lambda: not self._unacknowledged or self._link is not link, timeout_s)
            n_first = next((n for n, packet in enumerate(packets) if packet in self._unacknowledged), len(packets))
            self._unacknowledged = set()
        if packets and not n_first:
            raise ConnectionError(f"{self._place} acknowledged nothing within {timeout_s} s")
        return n_first

    def close(self) -> None:
        """Say goodbye, and end the thread."""
        self._closing.set()
        with self._lock:
            link = self._link
        if link is not None:
            link.wake()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _next_id(self) -> int:
        self._last_id = self._last_id % _MAX_PACKET_ID + 1
        return self._last_id

    # --- network thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            self._reason = ""
            link: Link | None = None
            try:
                link = Link(self._place.host, self._place.port, self._place.tls)
                self._serve(link)
            except (OSError, LinkError, frames.FrameError) as error:
                self._reason = str(error)
            except Exception as error:
                # A mistake of ours must not end the thread that all hangs on.
                logger.exception("%s: surprise in the network thread, connecting again", self._place)
                self._reason = repr(error)
            self._end(link)
            if not self._closing.is_set():
                self._closing.wait(backoff_s(self._failures, self._rng))

    def _serve(self, link: Link) -> None:
        """Run the link until it breaks or the goodbye is sent.

        Raises:
            OSError: the connection broke.
            LinkError: the broker ended it, refused us, or does not answer; or we cut it.
            frames.FrameError: it sends what no broker does.
        """
        place = self._place
        self._unsent.clear()
        with self._lock:
            self._link = link
            self._output[:] = frames.connect(
                place.client_id,
                place.keepalive_s,
                clean_session=self._receive is None,
                will=None,
                username=place.username,
                password=place.password,
            )
        reader = frames.FrameReader(MAX_PAYLOAD_BYTES + _MAX_HEAD_BYTES)
        silence = Silence(place.keepalive_s, self._clock.monotonic_s())
        while not self._closing.is_set():
            self._take_output(silence)
            chunk = link.exchange(self._unsent, silence.left_s(self._clock.monotonic_s(), is_up=self.is_up))
            if chunk:
                silence.heard_at(self._clock.monotonic_s())
                self._handle_packets(link, reader.feed(chunk))
            if silence.wants_ping(self._clock.monotonic_s(), is_up=self.is_up):
                self._unsent += frames.PING
        self._take_output(silence)
        self._unsent += frames.GOODBYE
        end_s = self._clock.monotonic_s() + _GOODBYE_S
        while self._unsent and self._clock.monotonic_s() < end_s:
            link.exchange(self._unsent, _GOODBYE_LOOP_S)

    def _take_output(self, silence: Silence) -> None:
        with self._lock:
            self._unsent += self._output
            self._output.clear()
        if self._unsent:
            silence.said_at(self._clock.monotonic_s())

    def _handle_packets(self, link: Link, packets: Sequence[tuple[int, bytes]]) -> None:
        arrived: list[Arrival] = []
        for first, body in packets:
            kind = first & frames.KIND
            if kind == frames.PUBLISH:
                arrived.append(_arrival_of(first, body))
                if len(arrived) == MAX_TOGETHER:
                    self._hand_over(link, arrived)
                    arrived = []
            elif kind == frames.PUBACK:
                self._settle(frames.packet_id_of(body))
            elif kind == frames.CONNACK:
                self._handle_connect(body)
            elif kind == frames.SUBACK:
                self._handle_subscribe(body[2:])
        if arrived:
            self._hand_over(link, arrived)

    def _hand_over(self, link: Link, arrived: Sequence[Arrival]) -> None:
        """Give the receiver what arrived, and acknowledge it.

        Raises:
            LinkError: it does not take it.
        """
        if self._receive is None or not self._receive(arrived):
            self.cut += 1
            self._is_cut = True
            raise LinkError("too many rows wait; the broker keeps what is not acknowledged")
        for arrival in arrived:
            if arrival.qos == _QOS:
                self._unsent += frames.acknowledge(arrival.packet)
        # At once: what came in the same read may wait for the receiver for long.
        link.send(self._unsent)

    def _settle(self, packet: int) -> None:
        with self._lock:
            self._unacknowledged.discard(packet)
            if not self._unacknowledged:
                self._settled.notify_all()

    def _end(self, link: Link | None) -> None:
        if link is not None:
            link.close()
        with self._lock:
            self._link = None
            was_up = self._up.is_set()
            self._up.clear()
            self._settled.notify_all()
        held_s = self._clock.monotonic_s() - self._up_since_s if was_up else 0.0
        self._failures = 1 if self._is_cut else failures_after(self._failures, held_s)
        self._is_cut = False
        if not self._closing.is_set():
            level = logging.WARNING if self._failures == 1 else logging.DEBUG
            logger.log(level, "no link to the broker at %s (%s), trying again", self._place, self._reason)

    def _handle_connect(self, body: bytes) -> None:
        refusal = frames.refusal_of(body)
        if refusal is not None:
            raise LinkError(f"the broker refused: {refusal}")
        if self._filter is None:
            self._begin()
        else:
            with self._lock:
                self._output += frames.subscribe(self._next_id(), [(self._filter, _QOS)])

    def _handle_subscribe(self, codes: bytes) -> None:
        if any(code >= frames.REFUSED_FILTER for code in codes):
            logger.error("%s refused to subscribe us to %s: no row will come", self._place, self._filter)
        logger.info("linked to the broker at %s", self._place)
        self._begin()

    def _begin(self) -> None:
        self._up_since_s = self._clock.monotonic_s()
        self._up.set()


def _arrival_of(first: int, body: bytes) -> Arrival:
    """Return a message as it came.

    Raises:
        FrameError: it is none.
    """
    _, packet, payload = frames.parse_message(first, body)
    return Arrival(
        payload[:MAX_PAYLOAD_BYTES],
        packet or 0,
        0 if packet is None else _QOS,
        is_repeated=bool(first & frames.RESENT),
        is_retained=bool(first & frames.RETAINED),
    )
