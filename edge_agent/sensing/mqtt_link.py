"""A link to a local MQTT broker for rows and answers: the one adapter of paho-mqtt here.

It is not the fleet's wire (`broker.client`): topics are the user's own, payloads any bytes. It speaks MQTT 3.1.1, holds
one connection, and connects again for ever, at the wire's pace (`broker.backoff`). What arrived is acknowledged when
the receiver says that it has it: messages are taken together and none is acknowledged by itself, which is why the
network thread's loop is not the wire's.
"""

import logging
import random
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from broker.backoff import backoff_s, failures_after
from edge_agent.clock import Clock
from edge_agent.sensing.json_rows import MAX_ROW_BYTES

logger = logging.getLogger(__name__)

# Most messages that are received before the receiver is asked.
MAX_TOGETHER: Final = 64
MAX_QUEUED: Final = 256
# Of a longer payload the rest is dropped at once: by its length alone it is refused.
MAX_PAYLOAD_BYTES: Final = MAX_ROW_BYTES + 1

_LOOP_S: Final = 1.0
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
        self._arrived: list[Arrival] = []
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{place.client_id}", daemon=True)
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=place.client_id,
            clean_session=receive is None,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        if place.username is not None:
            self._client.username_pw_set(place.username, place.password)
        if place.tls is not None:
            self._client.tls_set_context(place.tls)
        self._client.max_inflight_messages_set(MAX_QUEUED)
        self._client.max_queued_messages_set(MAX_QUEUED)
        self._client.on_connect = self._handle_connect
        self._client.on_subscribe = self._handle_subscribe
        self._client.on_message = self._handle_message
        # The network thread alone writes; publish() only queues.
        self._client.on_socket_register_write = _leave_to_network_thread
        self._client.connect_async(place.host, place.port, place.keepalive_s)

    @property
    def is_up(self) -> bool:
        """Whether the broker has accepted us and our subscription."""
        return self._up.is_set()

    def start(self) -> None:
        """Start to connect, and return at once."""
        self._thread.start()

    def publish(self, topic: str, payloads: Sequence[bytes], timeout_s: float) -> int:
        """Publish with QoS 1, and wait until the broker has acknowledged; return how many of the first it has.

        Raises:
            ConnectionError: the link is down.
        """
        if not self.is_up:
            raise ConnectionError(f"no link to {self._place}")
        sent = [self._client.publish(topic, payload, 1) for payload in payloads]
        for number, info in enumerate(sent):
            try:
                info.wait_for_publish(timeout_s)
                is_acknowledged = info.is_published()
            except (RuntimeError, ValueError):
                # It did not get into the queue.
                is_acknowledged = False
            if not is_acknowledged:
                if number == 0:
                    raise ConnectionError(f"{self._place} did not acknowledge within {timeout_s} s")
                return number
        return len(sent)

    def close(self) -> None:
        """Say goodbye, and end the thread."""
        self._closing.set()
        self._client.disconnect()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

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
                logger.exception("%s: surprise in the network thread, connecting again", self._place)
                self._reason = repr(error)
            self._end()
            if not self._closing.is_set():
                self._closing.wait(backoff_s(self._failures, self._rng))

    def _serve(self) -> None:
        result = MQTTErrorCode.MQTT_ERR_SUCCESS
        while result == MQTTErrorCode.MQTT_ERR_SUCCESS and not self._closing.is_set():
            result = self._client.loop(_LOOP_S)
            # paho reads one packet a call: what else has come is taken along, so that one sync serves them all.
            before = 0
            while result == MQTTErrorCode.MQTT_ERR_SUCCESS and before < len(self._arrived) < MAX_TOGETHER:
                before = len(self._arrived)
                result = self._client.loop(0.0)
            if self._arrived and not self._hand_over():
                return
        self._client.loop(0.0)
        self._reason = self._reason or mqtt.error_string(result)

    def _hand_over(self) -> bool:
        """Give the receiver what arrived, and acknowledge it; return whether the link may go on."""
        arrived, self._arrived = self._arrived, []
        if self._receive is None or not self._receive(arrived):
            self.cut += 1
            self._is_cut = True
            self._reason = "too many rows wait; the broker keeps what is not acknowledged"
            return False
        for arrival in arrived:
            if arrival.qos == 1:
                self._client.ack(arrival.packet, 1)
        return True

    def _end(self) -> None:
        socket = self._client.socket()
        if socket is not None:
            socket.close()
        self._arrived.clear()
        was_up = self._up.is_set()
        self._up.clear()
        held_s = self._clock.monotonic_s() - self._up_since_s if was_up else 0.0
        self._failures = 1 if self._is_cut else failures_after(self._failures, held_s)
        self._is_cut = False
        if not self._closing.is_set():
            level = logging.WARNING if self._failures == 1 else logging.DEBUG
            logger.log(level, "no link to the broker at %s (%s), trying again", self._place, self._reason)

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
        elif self._filter is not None:
            client.subscribe(self._filter, 1)
        else:
            self._begin()

    def _handle_subscribe(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _packet: int,
        codes: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        if any(code.is_failure for code in codes):
            logger.error("%s refused to subscribe us to %s: no row will come", self._place, self._filter)
        logger.info("linked to the broker at %s", self._place)
        self._begin()

    def _begin(self) -> None:
        self._up_since_s = self._clock.monotonic_s()
        self._up.set()

    def _handle_message(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        payload = bytes(message.payload[:MAX_PAYLOAD_BYTES])
        self._arrived.append(Arrival(payload, message.mid, message.qos, message.dup, message.retain))


def _leave_to_network_thread(_client: mqtt.Client, _userdata: object, _socket: object) -> None:
    """Do nothing: the network thread watches the queue itself."""
