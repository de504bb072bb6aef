"""Proves, on a running broker, each thing that the wire relies on; says of each what it would mean to do without.

Works with one identity that holds one link at a time, because that is all that a broker with access rules may give.
With such a broker use an identity of the role trainer: it may write orders and read everything. The probes speak to a
device that does not exist, and leave nothing behind.
"""

import enum
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from broker.client import Endpoint
from broker.errors import LinkError
from broker.frames import encode_length
from broker.messages import MAX_BYTES, MAX_PACKET_BYTES
from broker.servers.bare_client import REFUSED, BareClient, RefusedError, Will
from broker.topics import Channel, DeviceId, FleetId, Topic

_ANSWER_S: Final = 5.0
_SILENCE_S: Final = 1.0
# A broker that has not seen a cut yet takes who comes back for a second client of that name; NATS holds those off.
_CUT_SEEN_S: Final = 1.0
_RIGHTS_TRIES: Final = 3
_RIGHTS_S: Final = 2.0
_CUT_OFF_S: Final = 5.0
_HUGE_BYTES: Final = 268_435_455
_LONG_KEEPALIVE_S: Final = 3600


class Need(enum.Enum):
    """How much hangs on a feature."""

    REQUIRED = "required"
    WANTED = "wanted"
    NOT_NEEDED = "not needed"


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that was tried.

    Attributes:
        name: short.
        need: how much hangs on it.
        holds: whether the broker does it.
        found: what was seen.
        without: what it means to do without.
    """

    name: str
    need: Need
    holds: bool
    found: str
    without: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Where to connect, as whom, and the device that does not exist."""

    endpoint: Endpoint
    fleet: FleetId
    device: DeviceId
    tls: ssl.SSLContext | None = None
    anonymous_tls: ssl.SSLContext | None = None

    def topic(self, channel: Channel) -> str:
        """Return a topic of the device."""
        return str(Topic(self.fleet, self.device, channel))

    @contextmanager
    def link(
        self, *, clean: bool = True, will: Will | None = None, acknowledges: bool = True, keepalive_s: int = 60
    ) -> Iterator[BareClient]:
        """Connect; the link ends with a goodbye."""

        def connect() -> BareClient:
            return BareClient(
                self.endpoint,
                self.device,
                tls=self.tls,
                clean=clean,
                will=will,
                acknowledges=acknowledges,
                keepalive_s=keepalive_s,
                timeout_s=_ANSWER_S,
            )

        try:
            client = connect()
        except RefusedError:
            raise
        except LinkError:
            _let_a_cut_be_seen()
            client = connect()
        try:
            yield client
        finally:
            client.close()


Finding = tuple[bool, str]


def _let_a_cut_be_seen() -> None:
    threading.Event().wait(_CUT_SEEN_S)


def check_broker(probe: Probe) -> tuple[Feature, ...]:
    """Try everything, one after another.

    Raises:
        LinkError: there is no broker, it does not want this client, or it went away while it was tried.
    """
    with probe.link() as client:
        client.ping()
    is_local = _is_loopback(probe.endpoint.host)
    identity_need = Need.WANTED if is_local else Need.REQUIRED
    tried: tuple[tuple[str, Need, Callable[[Probe], Finding], str], ...] = (
        ("QoS 1", Need.REQUIRED, _acknowledged, "nothing of ours can be sent"),
        ("retained messages", Need.REQUIRED, _retained, "a device that was away never hears of its order"),
        ("retained is cleared", Need.WANTED, _cleared, "an order cannot be taken back"),
        ("last will", Need.REQUIRED, _last_will, "a device that died looks online for ever"),
        ("largest message", Need.REQUIRED, _largest, "samples of many features do not arrive"),
        ("order of messages", Need.WANTED, _in_order, "marks come later: records wait for those before them"),
        ("redelivery after a cut", Need.NOT_NEEDED, _redelivered, "records come again anyway until they are marked"),
        (
            "persistent session",
            Need.NOT_NEEDED,
            _session,
            "a command to an absent device is lost; it must be sent again",
        ),
        ("long keepalive", Need.WANTED, _long_keepalive, "devices must ping more often: 204 bytes each"),
        ("size limit", identity_need, _size_limit, "one client can fill the broker's memory"),
        ("certificate needed", identity_need, _certificate_needed, "anybody who reaches the port is in"),
        ("access rules", identity_need, _access_rules, "whoever is in can speak as any device, and give orders"),
    )
    features = tuple(Feature(name, need, *_tried(how, probe), without) for name, need, how, without in tried)
    # Of a broker that is gone by now some of them tell what is not so: it refuses whoever comes without a certificate.
    with probe.link() as client:
        client.ping()
    return features


def _tried(how: Callable[[Probe], Finding], probe: Probe) -> Finding:
    try:
        return how(probe)
    except LinkError as error:
        return False, str(error)


def _acknowledged(probe: Probe) -> Finding:
    topic = probe.topic(Channel.COMMAND)
    with probe.link() as client:
        granted = client.subscribe(topic)
        received = None
        for _ in range(_RIGHTS_TRIES):
            # An identity that is seconds old: the broker may be about to read its rights.
            client.publish(topic, b"qos 1")
            received = client.take(_RIGHTS_S)
            if received is not None:
                break
    if received is None:
        return False, f"acknowledged and not delivered (subscription: {_granted(granted)})"
    return received.qos == 1, f"acknowledged, delivered with QoS {received.qos}"


def _retained(probe: Probe) -> Finding:
    topic = probe.topic(Channel.DESIRED)
    with probe.link() as client:
        client.publish(topic, b"kept", retained=True)
    with probe.link() as client:
        client.subscribe(topic)
        received = client.take(_ANSWER_S)
    if received is None:
        return False, "a later subscriber gets nothing"
    return received.retained and received.payload == b"kept", "a later subscriber gets it, marked as retained"


def _cleared(probe: Probe) -> Finding:
    topic = probe.topic(Channel.DESIRED)
    with probe.link() as client:
        client.publish(topic, b"kept", retained=True)
        client.publish(topic, b"", retained=True)
    with probe.link() as client:
        client.subscribe(topic)
        received = client.take(_SILENCE_S)
    return received is None, "an empty payload takes it back" if received is None else "it is still there"


def _last_will(probe: Probe) -> Finding:
    topic = probe.topic(Channel.DESIRED)
    with probe.link(will=Will(topic, b"gone", retained=True)) as client:
        client.cut()
    try:
        for _ in range(int(_ANSWER_S / _SILENCE_S)):
            with probe.link() as client:
                client.subscribe(topic)
                received = client.take(_SILENCE_S)
            if received is not None:
                return received.payload == b"gone", "published when the link was cut, and retained"
    finally:
        with probe.link() as client:
            client.publish(topic, b"", retained=True)
    return False, f"not published within {_ANSWER_S:g} s of the cut"


def _largest(probe: Probe) -> Finding:
    topic, size = probe.topic(Channel.COMMAND), max(MAX_BYTES.values())
    with probe.link() as client:
        client.subscribe(topic)
        client.publish(topic, b"x" * size)
        received = client.take(_ANSWER_S)
    whole = received is not None and len(received.payload) == size
    return whole, f"{size} bytes arrive" if whole else f"{size} bytes do not arrive"


def _in_order(probe: Probe) -> Finding:
    topic, count = probe.topic(Channel.COMMAND), 200
    with probe.link() as client:
        client.subscribe(topic)
        for number in range(count):
            client.publish(topic, str(number).encode())
        received = [client.take(_ANSWER_S) for _ in range(count)]
    came = [int(message.payload) for message in received if message is not None]
    return came == list(
        range(count)
    ), f"{len(came)} of {count} came, {'in' if came == sorted(came) else 'out of'} order"


def _redelivered(probe: Probe) -> Finding:
    topic = probe.topic(Channel.COMMAND)
    with probe.link(clean=False, acknowledges=False) as client:
        client.subscribe(topic)
        client.publish(topic, b"not acknowledged")
        first = client.take(_ANSWER_S)
        client.cut()
    received, _ = _back(probe)
    if first is None:
        return False, "not even delivered once"
    again = received is not None and received == b"not acknowledged"
    return again, "comes again on the next link" if again else "does not come again"


def _session(probe: Probe) -> Finding:
    topic = probe.topic(Channel.COMMAND)
    # One identity has one link: what is sent while it is away is its own will.
    with probe.link(clean=False, will=Will(topic, b"while away")) as client:
        client.subscribe(topic)
        client.cut()
    received, present = _back(probe)
    kept = received == b"while away"
    found = "what came while it was away is delivered" if kept else "what came while it was away is lost"
    return kept, f"{found}; session {'present' if present else 'forgotten'}"


def _back(probe: Probe) -> tuple[bytes | None, bool]:
    """Come back to a session; return what waited, and whether the session was there; then have it forgotten."""
    _let_a_cut_be_seen()
    with probe.link(clean=False) as client:
        present = client.session_present
        # A cluster may take seconds to go on with a session.
        received = client.take(_ANSWER_S if present else _SILENCE_S)
    with probe.link(clean=True):
        pass
    return None if received is None else received.payload, present


def _long_keepalive(probe: Probe) -> Finding:
    with probe.link(keepalive_s=_LONG_KEEPALIVE_S) as client:
        client.ping()
    return True, f"{_LONG_KEEPALIVE_S} s are accepted"


def _size_limit(probe: Probe) -> Finding:
    name = probe.topic(Channel.COMMAND).encode()
    head = len(name).to_bytes(2, "big") + name + b"\x00\x01"
    for announced in (MAX_PACKET_BYTES + 1, _HUGE_BYTES):
        with probe.link() as client:
            client.send_raw(b"\x32" + encode_length(announced) + head)
            if not client.is_cut_off(_CUT_OFF_S):
                return False, f"a packet of {announced} bytes is awaited"
    return True, f"a packet over {MAX_PACKET_BYTES} bytes ends the link when it is announced"


def _certificate_needed(probe: Probe) -> Finding:
    try:
        BareClient(probe.endpoint, probe.device, tls=probe.anonymous_tls, timeout_s=_ANSWER_S).close()
    except RefusedError as error:
        return True, f"refused: {error}"
    except LinkError:
        return True, "without one the link is refused"
    return False, "without one the link is accepted"


def _access_rules(probe: Probe) -> Finding:
    """A trainer reads what devices say, and does not say it for them."""
    topic = probe.topic(Channel.EVENTS)
    with probe.link() as client:
        client.subscribe(topic)
        try:
            client.publish(topic, b"not mine to say")
            received = client.take(_SILENCE_S)
        except LinkError:
            return True, "speaking as a device ends the link"
    return received is None, "a device's words are its own" if received is None else "anybody can speak as any device"


def _granted(code: int) -> str:
    return "refused" if code == REFUSED else f"QoS {code}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
