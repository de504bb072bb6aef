"""The MQTT client: holds one link to a broker, hands over what is published, passes on what arrives.

It speaks MQTT 3.1.1 and publishes with QoS 1, so that any broker serves. It decides when to connect again and nothing
else: what a message means, and whether it is stored, is for its callers (a PUBACK says only that a broker took it).
Devices run it: it imports little. `broker/frames.py` knows the packets, `broker/link.py` the connection.
"""

import logging
import random
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from broker import frames
from broker.backoff import CUT_SHORT, STEADY_S, backoff_s, cap_after, cut_short_after, failures_after, return_s
from broker.errors import LinkError
from broker.frames import FrameReader, Will
from broker.link import Link
from broker.messages import MAX_BYTES, MAX_PACKET_BYTES, Body, MessageTooLargeError, encode
from broker.silence import Silence
from broker.topics import RULES, Channel, Topic, TopicError, parse_topic

logger = logging.getLogger(__name__)

_QOS: Final = 1
_MAX_IN_FLIGHT: Final = 100
_MAX_PACKET_ID: Final = 0xFFFF
# A broker sends so and so many messages (ours 100) and waits for their acknowledgements: it gets them while what came
# with them is still handled, so that neither waits for the other.
_ACKNOWLEDGED_TOGETHER: Final = 32
# A polite goodbye takes one round trip; a peer that does not read must not hold up the end of a program.
_GOODBYE_S: Final = 2.0
_GOODBYE_LOOP_S: Final = 0.1
_JOIN_S: Final = 10.0
# Topics that were read once are known; so many of them, and no more, whoever sends.
_KNOWN_TOPICS: Final = 20_000


class Endpoint(Struct, frozen=True):
    """Where a broker listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``host:port``, as people write it."""
        return f"{self.host}:{self.port}"


class Delivery(Struct, frozen=True):
    """One message as it arrived: its topic is checked, its payload is not yet.

    Of a payload over its channel's limit one byte more than the limit is kept: it is refused by its length as before,
    and no queue holds it all.
    """

    topic: Topic
    payload: bytes
    retained: bool


class WireClient:
    """One client of one broker, with a network thread of its own that connects again for ever.

    The link counts as up once the broker has accepted the client and answered its subscriptions, which are made anew
    at every connect, because some brokers forget them. What was published and not yet acknowledged when a link broke is
    sent again by the next one, so a receiver may see it twice.
    """

    def __init__(  # noqa: PLR0913 - each is named by its caller, and most have a default
        self,
        endpoint: Endpoint,
        client_id: str,
        *,
        filters: tuple[str, ...],
        on_delivery: Callable[[Delivery], None],
        rng: random.Random,
        will: tuple[Topic, Body] | None = None,
        on_link: Callable[[bool], None] | None = None,
        keepalive_s: int = 60,
        clean_session: bool = False,
        max_queued: int = 1000,
        tls: ssl.SSLContext | None = None,
        spread_s: float = 0.0,
        monotonic_s: Callable[[], float] = time.monotonic,  # noqa: TID251 - floor 1 has no clock of its own
    ) -> None:
        """Describe the client; nothing is sent before `start`.

        Args:
            endpoint: where the broker listens.
            client_id: unique at the broker: it ends an older link of the same name.
            filters: subscriptions, made with QoS 1, but of marks with QoS 0.
            on_delivery: called in the network thread, one delivery at a time, and holds up the link while it runs. What
                it raises is logged and does not end the link.
            rng: chance for the waits between attempts.
            will: what the broker publishes when this client is gone without a goodbye.
            on_link: called in the network thread with True when the link is up and False when it is lost.
            keepalive_s: seconds of silence after which the link is tested.
            clean_session: True to let the broker forget this client at its end.
            max_queued: messages that may wait for the broker's acknowledgement; one more raises LinkError.
            tls: how the broker is known, and who this is to it; None: nothing is encrypted.
            spread_s: one of a fleet: once a steady link broke, the first attempt comes by chance within so long, so
                that not all come at once. 0: it comes at once.
            monotonic_s: tells how long a link held.
        """
        self._endpoint = endpoint
        self._client_id = client_id
        self._filters = filters
        self._on_delivery = on_delivery
        self._on_link = on_link
        self._rng = rng
        self._monotonic_s = monotonic_s
        self._up = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{client_id}", daemon=True)
        # Links in a row that did not come up or did not hold, those that came up among the last of them, and when the
        # present one came up.
        self._failures = 0
        self._cut_short = 0
        self._up_since_s = 0.0
        # Whether this row of failures began with the end of a steady link; nothing else begins one anew.
        self._has_held = False
        self._spread_s = spread_s
        self._refused_topics = 0
        self._refused_filters: tuple[str, ...] = ()
        self._reason = ""

        self._clean_session = clean_session
        self._keepalive_s = keepalive_s
        self._max_queued = max_queued
        self._tls = tls
        self._will = None
        if will is not None:
            topic, body = will
            self._will = Will(str(topic).encode(), encode(body), RULES[topic.channel].retained)
        # What threads share, under the lock: messages that wait for their turn, those that were sent and are not
        # acknowledged, by packet id and in the order of sending, and bytes that wait for the network thread.
        self._lock = threading.Lock()
        self._waiting: deque[_Outgoing] = deque()
        self._in_flight: dict[int, _Outgoing] = {}
        self._last_id = 0
        self._output = bytearray()
        self._link: Link | None = None
        # Of the network thread alone.
        self._known_topics: dict[bytes, Topic] = {}

    @property
    def is_connected(self) -> bool:
        """Whether the link is up: accepted and subscribed."""
        return self._up.is_set()

    @property
    def refused_topics(self) -> int:
        """How many messages were dropped because their topic does not follow the layout."""
        return self._refused_topics

    @property
    def refused_filters(self) -> tuple[str, ...]:
        """The subscriptions that the broker refused on the present link."""
        return self._refused_filters

    def start(self) -> None:
        """Start to connect, and return at once; the broker need not be there yet."""
        self._thread.start()

    def publish(self, topic: Topic, payload: bytes) -> None:
        """Hand a message over without waiting for it to be sent: QoS 1, retained as the channel's rule says.

        Raises:
            LinkError: the link is down, or too many messages wait already.
            MessageTooLargeError: the payload is over its channel's limit; no reader would accept it.
        """
        self._hand_over(topic, payload, None)

    def publish_and_wait(self, topic: Topic, payload: bytes, timeout_s: float) -> None:
        """Publish, and wait until the broker has acknowledged it.

        Raises:
            LinkError: the link is down, or no acknowledgement came in time (the message may still arrive later).
            MessageTooLargeError: the payload is over its channel's limit.
            RuntimeError: called from `on_delivery` or `on_link`, where waiting would wait for itself.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("publish_and_wait was called from the network thread: use publish there")
        acknowledged = threading.Event()
        self._hand_over(topic, payload, acknowledged)
        if not acknowledged.wait(timeout_s):
            raise LinkError(f"{topic}: {self._endpoint} did not acknowledge within {timeout_s} s")

    def close(self) -> None:
        """Say goodbye to the broker (the will is not published) and end the network thread."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            # After everything that was published before it; without a link there is nobody to say it to.
            self._output += frames.GOODBYE
            link = self._link
        if link is not None:
            link.wake()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_S)

    def _hand_over(self, topic: Topic, payload: bytes, acknowledged: threading.Event | None) -> None:
        limit = MAX_BYTES[topic.channel]
        if len(payload) > limit:
            raise MessageTooLargeError(f"{topic}: message of {len(payload)} bytes, at most {limit} are allowed")
        message = _Outgoing(str(topic).encode(), payload, RULES[topic.channel].retained, acknowledged)
        with self._lock:
            if not self._up.is_set() or self._closing.is_set():
                raise LinkError(f"{topic}: no link to {self._endpoint}; try again when it is up")
            if len(self._waiting) + len(self._in_flight) >= self._max_queued:
                raise LinkError(f"{topic}: too many messages wait for {self._endpoint}; try again later")
            is_idle = not self._output
            self._waiting.append(message)
            self._send_waiting()
            link = self._link
        if is_idle and link is not None and threading.current_thread() is not self._thread:
            link.wake()

    def _send_waiting(self) -> None:
        """Give packet ids to messages that wait, as long as not too many are in flight; holds the lock."""
        while self._waiting and len(self._in_flight) < _MAX_IN_FLIGHT:
            message = self._waiting.popleft()
            packet_id = self._next_id()
            message.packet = frames.publish(message.topic, message.payload, packet_id, retained=message.retained)
            self._in_flight[packet_id] = message
            self._output += message.packet

    def _next_id(self) -> int:
        while True:
            self._last_id = self._last_id % _MAX_PACKET_ID + 1
            if self._last_id not in self._in_flight:
                return self._last_id

    # --- network thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            self._reason = ""
            link: Link | None = None
            try:
                link = Link(self._endpoint.host, self._endpoint.port, self._tls)
                self._serve(link)
            except (OSError, LinkError, frames.FrameError) as error:
                self._reason = str(error)
            except Exception as error:
                # A mistake of ours must not end the thread that all hangs on.
                logger.exception("%s: surprise in the network thread, connecting again", self._client_id)
                self._reason = repr(error)
            self._end_link(link)
            if not self._closing.is_set():
                self._closing.wait(self._pause_s())

    def _pause_s(self) -> float:
        cap_s = cap_after(self._cut_short)
        if self._has_held and self._spread_s > 0.0:
            return return_s(self._failures, self._rng, spread_s=self._spread_s, cap_s=cap_s)
        return backoff_s(self._failures, self._rng, cap_s=cap_s)

    def _serve(self, link: Link) -> None:
        """Run the link until it breaks or the goodbye is sent.

        Raises:
            OSError: the connection broke.
            LinkError: the broker ended it, refused this client, or does not answer.
            frames.FrameError: it sends what no broker does.
        """
        packet = frames.connect(self._client_id, self._keepalive_s, clean_session=self._clean_session, will=self._will)
        with self._lock:
            self._link = link
            self._output[:] = packet + (frames.GOODBYE if self._closing.is_set() else b"")
        reader = FrameReader(MAX_PACKET_BYTES)
        silence = Silence(self._keepalive_s, self._monotonic_s())
        pending = bytearray()
        while not self._closing.is_set():
            self._take_output(pending, silence)
            chunk = link.exchange(pending, silence.left_s(self._monotonic_s(), is_up=self._up.is_set()))
            if chunk:
                silence.heard_at(self._monotonic_s())
                packets = reader.feed(chunk)
                for at in range(0, len(packets), _ACKNOWLEDGED_TOGETHER):
                    self._handle_packets(packets[at : at + _ACKNOWLEDGED_TOGETHER])
                    self._take_output(pending, silence)
                    link.send(pending)
            if silence.wants_ping(self._monotonic_s(), is_up=self._up.is_set()):
                pending += frames.PING
        end_s = self._monotonic_s() + _GOODBYE_S
        self._take_output(pending, silence)
        while pending and self._monotonic_s() < end_s:
            link.exchange(pending, _GOODBYE_LOOP_S)

    def _take_output(self, pending: bytearray, silence: Silence) -> None:
        with self._lock:
            pending += self._output
            self._output.clear()
        if pending:
            silence.said_at(self._monotonic_s())

    def _handle_packets(self, packets: list[tuple[int, bytes]]) -> None:
        acknowledgements = bytearray()
        for first, body in packets:
            kind = first & frames.KIND
            if kind == frames.PUBLISH:
                packet_id = self._handle_message(first, body)
                if packet_id is not None:
                    acknowledgements += frames.acknowledge(packet_id)
            elif kind == frames.PUBACK:
                self._handle_acknowledgement(frames.packet_id_of(body))
            elif kind == frames.CONNACK:
                self._handle_connect(body)
            elif kind == frames.SUBACK:
                self._handle_subscribe(body[2:])
        if acknowledgements:
            with self._lock:
                # What comes after the goodbye is as good as never said.
                if not self._closing.is_set():
                    self._output += acknowledgements

    def _end_link(self, link: Link | None) -> None:
        with self._lock:
            self._link = None
            was_up = self._up.is_set()
            self._up.clear()
        if link is not None:
            link.close()
        held_s = self._monotonic_s() - self._up_since_s if was_up else 0.0
        self._failures = failures_after(self._failures, held_s)
        self._has_held = self._has_held or held_s >= STEADY_S
        self._cut_short = cut_short_after(self._cut_short, held_s)
        if self._cut_short == CUT_SHORT and not self._closing.is_set():
            logger.warning(
                "%s: %s ended the link %d times in a row soon after it was up (%s). Another process may have this name "
                "or certificate, which has one link: stop one of the two. Trying again ever more seldom",
                self._client_id,
                self._endpoint,
                CUT_SHORT,
                self._reason,
            )
        if self._closing.is_set():
            logger.debug("%s: link to %s closed", self._client_id, self._endpoint)
        else:
            # A link that stays down is told once.
            level = logging.WARNING if self._failures == 1 else logging.DEBUG
            logger.log(level, "%s: no link to %s (%s), trying again", self._client_id, self._endpoint, self._reason)
        if was_up:
            self._tell_link(is_up=False)

    def _begin_link(self) -> None:
        if self._failures:
            logger.info("%s: link to %s is up again", self._client_id, self._endpoint)
        self._up_since_s = self._monotonic_s()
        self._up.set()
        self._tell_link(is_up=True)

    def _tell_link(self, *, is_up: bool) -> None:
        if self._on_link is None:
            return
        try:
            self._on_link(is_up)
        except Exception:
            logger.exception("%s: the handler of link changes failed", self._client_id)

    def _handle_connect(self, body: bytes) -> None:
        refusal = frames.refusal_of(body)
        if refusal is not None:
            raise LinkError(f"the broker refused: {refusal}")
        self._refused_filters = ()
        with self._lock:
            if self._filters:
                wanted = [(topic_filter, _qos_of(topic_filter)) for topic_filter in self._filters]
                self._output += frames.subscribe(self._next_id(), wanted)
            # Not acknowledged on the link before: the broker may have it or not.
            for message in self._in_flight.values():
                self._output += frames.resent(message.packet)
        if not self._filters:
            self._begin_link()

    def _handle_subscribe(self, codes: bytes) -> None:
        self._refused_filters = tuple(
            topic_filter
            for topic_filter, code in zip(self._filters, codes, strict=False)
            if code >= frames.REFUSED_FILTER
        )
        if self._refused_filters:
            # Asking again would not help, and what this client publishes is still wanted.
            logger.error("%s: %s refused to subscribe to %s", self._client_id, self._endpoint, self._refused_filters)
        self._begin_link()

    def _handle_acknowledgement(self, packet_id: int) -> None:
        with self._lock:
            message = self._in_flight.pop(packet_id, None)
            self._send_waiting()
        if message is not None and message.acknowledged is not None:
            message.acknowledged.set()

    def _handle_message(self, first: int, body: bytes) -> int | None:
        """Pass a message on; return the packet id by which it is acknowledged, None where nobody waits for that."""
        name, packet_id, payload = frames.parse_message(first, body)
        topic = self._known_topics.get(name)
        if topic is None:
            try:
                topic = parse_topic(name.decode())
            except (TopicError, UnicodeDecodeError) as error:
                self._refused_topics += 1
                logger.debug("%s: message dropped: %s", self._client_id, error)
                return packet_id
            if len(self._known_topics) >= _KNOWN_TOPICS:
                self._known_topics.clear()
            self._known_topics[name] = topic
        limit = MAX_BYTES[topic.channel]
        if len(payload) > limit:
            payload = payload[: limit + 1]
        try:
            self._on_delivery(Delivery(topic, payload, bool(first & frames.RETAINED)))
        except Exception:
            logger.exception("%s: the handler of %s failed", self._client_id, topic)
        return packet_id


class _Outgoing(Struct):
    """A message on its way to the broker.

    Attributes:
        acknowledged: is set when the broker has it; None: nobody waits.
        packet: as it was sent; empty before.
    """

    topic: bytes
    payload: bytes
    retained: bool
    acknowledged: threading.Event | None
    packet: bytes = b""


def _qos_of(topic_filter: str) -> int:
    """Return the quality of a subscription.

    A mark needs no acknowledgement: it is lost with its link only, the next link brings it again because it is
    retained, and the next mark says it as well. That spares a device a tenth of what its windows cost on the wire.
    """
    return 0 if topic_filter.rpartition("/")[2] == Channel.STORED.value else _QOS
