"""The MQTT client: holds one link to a broker, hands over what is published, passes on what arrives.

It speaks MQTT 3.1.1 and publishes with QoS 1, so that any broker serves. It decides when to connect again and nothing
else: what a message means, and whether it is stored, is for its callers (a PUBACK says only that a broker took it). The
types of paho-mqtt stay inside this module. Devices run it: it imports little.
"""

import contextlib
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable

from msgspec import Struct
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from broker.backoff import backoff_s, failures_after
from broker.errors import LinkError
from broker.messages import MAX_BYTES, Body, MessageTooLargeError, encode
from broker.topics import RULES, Channel, Topic, TopicError, parse_topic

logger = logging.getLogger(__name__)

_QOS = 1
_LOOP_S = 1.0
# A polite goodbye takes one round trip; a peer that does not read must not hold up the end of a program.
_GOODBYE_LOOPS = 20
_GOODBYE_LOOP_S = 0.1
_JOIN_S = 10.0
# What was sent and is not acknowledged by the other machine for so long ends the link. Without this the kernel goes on
# for a quarter of an hour, and a link that is seldom tested would be found dead that late. It costs no byte.
_UNACKNOWLEDGED_MS = 60_000


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
        # Links in a row that did not come up or did not hold, and when the present one came up.
        self._failures = 0
        self._up_since_s = 0.0
        self._refused_topics = 0
        self._refused_filters: tuple[str, ...] = ()
        self._reason = ""

        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=clean_session,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        self._client.max_inflight_messages_set(100)
        self._client.max_queued_messages_set(max_queued)
        self._client.on_connect = self._handle_connect
        self._client.on_subscribe = self._handle_subscribe
        self._client.on_message = self._handle_message
        # With this set, publish() leaves the writing to the network thread: it never waits for the socket, and two
        # threads never write at once.
        self._client.on_socket_register_write = _leave_to_network_thread
        self._client.on_socket_open = _bound_silence
        if tls is not None:
            self._client.tls_set_context(tls)
        if will is not None:
            topic, body = will
            self._client.will_set(str(topic), encode(body), _QOS, retain=RULES[topic.channel].retained)
        self._client.connect_async(endpoint.host, endpoint.port, keepalive_s)

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
        self._hand_over(topic, payload)

    def publish_and_wait(self, topic: Topic, payload: bytes, timeout_s: float) -> None:
        """Publish, and wait until the broker has acknowledged it.

        Raises:
            LinkError: the link is down, or no acknowledgement came in time (the message may still arrive later).
            MessageTooLargeError: the payload is over its channel's limit.
            RuntimeError: called from `on_delivery` or `on_link`, where waiting would wait for itself.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("publish_and_wait was called from the network thread: use publish there")
        info = self._hand_over(topic, payload)
        try:
            info.wait_for_publish(timeout_s)
            is_published = info.is_published()
        except (RuntimeError, ValueError) as error:
            raise LinkError(f"{topic}: not sent to {self._endpoint}: {error}") from error
        if not is_published:
            raise LinkError(f"{topic}: {self._endpoint} did not acknowledge within {timeout_s} s")

    def close(self) -> None:
        """Say goodbye to the broker (the will is not published) and end the network thread."""
        if self._closing.is_set():
            return
        self._closing.set()
        # Order matters: disconnect() only appends a packet, after everything that was published before it.
        self._client.disconnect()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_S)

    def _hand_over(self, topic: Topic, payload: bytes) -> mqtt.MQTTMessageInfo:
        limit = MAX_BYTES[topic.channel]
        if len(payload) > limit:
            raise MessageTooLargeError(f"{topic}: message of {len(payload)} bytes, at most {limit} are allowed")
        if not self._up.is_set() or self._closing.is_set():
            raise LinkError(f"{topic}: no link to {self._endpoint}; try again when it is up")
        info = self._client.publish(str(topic), payload, _QOS, retain=RULES[topic.channel].retained)
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            raise LinkError(f"{topic}: too many messages wait for {self._endpoint}; try again later")
        # MQTT_ERR_NO_CONN: the link broke this moment; paho keeps the message and sends it over the next one.
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise LinkError(f"{topic}: not sent to {self._endpoint}: {mqtt.error_string(info.rc)}")
        return info

    # --- network thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            self._reason = ""
            try:
                self._client.reconnect()
                self._serve()
            except OSError as error:
                self._reason = str(error)
            except Exception as error:
                # What paho makes of a broken packet is not foreseeable; the thread must live on.
                logger.exception("%s: surprise in the network thread, connecting again", self._client_id)
                self._reason = repr(error)
            self._end_link()
            if not self._closing.is_set():
                self._closing.wait(backoff_s(self._failures, self._rng))

    def _serve(self) -> None:
        """Run the link until it breaks or the goodbye is sent."""
        if self._closing.is_set():
            # close() came while there was no socket to say goodbye on; without one the broker would publish the will.
            self._client.disconnect()
        result = MQTTErrorCode.MQTT_ERR_SUCCESS
        while result == MQTTErrorCode.MQTT_ERR_SUCCESS and not self._closing.is_set():
            result = self._client.loop(_LOOP_S)
        loops = 0
        while result == MQTTErrorCode.MQTT_ERR_SUCCESS and loops < _GOODBYE_LOOPS:
            result = self._client.loop(_GOODBYE_LOOP_S)
            loops += 1
        self._reason = self._reason or mqtt.error_string(result)

    def _end_link(self) -> None:
        socket = self._client.socket()
        if socket is not None:
            socket.close()
        was_up = self._up.is_set()
        self._up.clear()
        self._failures = failures_after(self._failures, self._monotonic_s() - self._up_since_s if was_up else 0.0)
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

    def _handle_connect(
        self,
        client: mqtt.Client,
        _userdata: object,
        _flags: mqtt.ConnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if code.is_failure:
            self._reason = f"the broker refused: {code}"
            return
        self._refused_filters = ()
        if self._filters:
            client.subscribe([(topic_filter, _qos_of(topic_filter)) for topic_filter in self._filters])
        else:
            self._begin_link()

    def _handle_subscribe(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _mid: int,
        codes: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._refused_filters = tuple(
            topic_filter for topic_filter, code in zip(self._filters, codes, strict=False) if code.is_failure
        )
        if self._refused_filters:
            # Asking again would not help, and what this client publishes is still wanted.
            logger.error("%s: %s refused to subscribe to %s", self._client_id, self._endpoint, self._refused_filters)
        self._begin_link()

    def _handle_message(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        try:
            topic = parse_topic(message.topic)
        except (TopicError, UnicodeDecodeError) as error:
            self._refused_topics += 1
            logger.debug("%s: message dropped: %s", self._client_id, error)
            return
        payload = bytes(message.payload[: MAX_BYTES[topic.channel] + 1])
        try:
            self._on_delivery(Delivery(topic, payload, message.retain))
        except Exception:
            logger.exception("%s: the handler of %s failed", self._client_id, topic)


def _leave_to_network_thread(_client: mqtt.Client, _userdata: object, _socket: object) -> None:
    """Do nothing: the network thread watches the queue itself."""


def _qos_of(topic_filter: str) -> int:
    """Return the quality of a subscription.

    A mark needs no acknowledgement: it is lost with its link only, the next link brings it again because it is
    retained, and the next mark says it as well. That spares a device a tenth of what its windows cost on the wire.
    """
    return 0 if topic_filter.rpartition("/")[2] == Channel.STORED.value else _QOS


def _bound_silence(_client: mqtt.Client, _userdata: object, link: object) -> None:
    """Have the kernel give up a link on which nothing is acknowledged; where it cannot, the keepalive has to do."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and isinstance(link, socket.socket):
        with contextlib.suppress(OSError):
            link.setsockopt(socket.IPPROTO_TCP, option, _UNACKNOWLEDGED_MS)
