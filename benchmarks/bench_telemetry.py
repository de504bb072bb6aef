"""Telemetry by the byte: what an hour of windows costs as payloads, and on a link with TLS.

The hour: six windows of 64 features × 10 bins over 600 rows, every bin as likely as every other (of what comes from one
distribution, nothing costs more), sent by the agent's own forwarder and link with its default settings. The link is
real: to a Mosquitto with TLS 1.3 and client certificates. The kernel counts (TCP_INFO): bytes of the stream both ways,
and segments both ways, each with 52 bytes of headers (IPv4, TCP with timestamps); acknowledgements are segments too.

An hour is not waited for. Its parts are measured, each often enough for a mean: one message with its acknowledgement
and the monitor's mark; one ping. An hour has ``6 / windows_together`` of the first, and of the second one for each time
that the link is silent for ``keepalive_s`` between two of them. Samples (`background_rows`, each row of 64 features
about 600 bytes), events and orders come on top; what the link's beginning costs is printed beside.
"""

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import msgspec
import numpy as np
import pytest

from benchmarks.fleet_windows import ROWS, make_window
from broker.client import Delivery, WireClient
from broker.messages import (
    Epoch,
    FeatureCounts,
    RecordKey,
    Status,
    Stored,
    TelemetryWindow,
    encode,
    encode_body,
    encode_record,
    parse,
    parse_as,
)
from broker.packs import pack_windows, unpack
from broker.tls import open_tls
from broker.topics import Channel, DeviceId, FleetId, Topic, fleet_filter
from edge_agent.clock import SystemClock
from edge_agent.link import DeviceLink
from edge_agent.settings import BrokerSettings, TelemetrySettings
from edge_agent.telemetry.forwarder import Forwarder
from edge_agent.telemetry.spool import Spool
from tests.tls_broker import TlsBroker, running_tls_broker, why_not

SEED: Final = 1
SEEDS: Final = range(5)
AN_HOUR: Final = 6
PAYLOAD_REACH: Final = 2400.0
STEADY_REACH: Final = 500.0
WIRE_REACH: Final = 4000.0
HEADER_BYTES: Final = 52
FLEET: Final = FleetId("plant")
DEVICE: Final = DeviceId("press-1")
# Longer than a delayed acknowledgement, as on a link that is used every half hour.
QUIET_S: Final = 0.3
MESSAGES: Final = 12
PINGS: Final = 6
DEADLINE_S: Final = 30.0
# Where tcp_info keeps bytes acknowledged and received, and segments out and in (linux/tcp.h).
_TCP_INFO: Final = struct.Struct("=QQII")
_TCP_INFO_AT: Final = 120


def bench_payloads_of_an_hour_in_which_everything_is_counted_anew(record_ratio) -> None:
    hours = [_hour(seed) for seed in SEEDS]
    packed = [_packed_bytes(hour) for hour in hours]
    plain = [sum(len(encode_record(key, encode_body(window))) for key, window in _keyed(hour)) for hour in hours]
    record_ratio(
        "payloads of six windows of 64 features, every bin as likely / 2,400 bytes an hour",
        ours=max(packed),
        peer=PAYLOAD_REACH,
        reach=1.0,
        unit="bytes",
        runs=len(packed),
    )
    record_ratio(
        "the same windows in packs / as version 1 of the wire",
        ours=sum(packed) / len(packed),
        peer=sum(plain) / len(plain),
        reach=0.5,
        unit="bytes",
        runs=len(packed),
    )


def bench_payloads_of_an_hour_in_which_nothing_changes(record_ratio) -> None:
    """Nothing changes: every feature and every answer stays in its bin; times, latencies and resources go on."""
    record_ratio(
        "payloads of six windows in which every number keeps to its bin / 500 bytes an hour",
        ours=max(_packed_bytes(_steady(seed)) for seed in SEEDS),
        peer=STEADY_REACH,
        reach=1.0,
        unit="bytes",
        runs=len(SEEDS),
    )


def _hour(seed: int) -> list[TelemetryWindow]:
    rng = np.random.default_rng(seed)
    return [make_window(rng, number) for number in range(AN_HOUR)]


def _steady(seed: int) -> list[TelemetryWindow]:
    place = random.Random(seed)
    features = tuple(
        FeatureCounts(tuple(ROWS if at == full else 0 for at in range(10)))
        for full in (place.randrange(10) for _ in range(64))
    )
    answers = {"features": features, "predictions": (0, ROWS, *[0] * 8), "agreement": (*[0] * 19, ROWS)}
    return [msgspec.structs.replace(window, **answers) for window in _hour(seed)]


def _keyed(windows: list[TelemetryWindow]) -> list[tuple[RecordKey, TelemetryWindow]]:
    return [(RecordKey(Epoch(2_271_560_481), 1000 + at, 999 + at), window) for at, window in enumerate(windows)]


def _packed_bytes(windows: list[TelemetryWindow]) -> int:
    together, records = TelemetrySettings().windows_together, _keyed(windows)
    payloads = [pack_windows(records[at : at + together]) for at in range(0, len(records), together)]
    assert [parse(Channel.TELEMETRY, each)[1] for p in payloads for each in unpack(Channel.TELEMETRY, p)] == windows
    return sum(map(len, payloads))


# --- on the wire -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a connection has carried so far, both ways."""

    stream_bytes: int
    segments: int

    @property
    def wire_bytes(self) -> int:
        """Bytes on the wire, with the headers of IPv4 and TCP."""
        return self.stream_bytes + HEADER_BYTES * self.segments

    def __sub__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.stream_bytes - other.stream_bytes, self.segments - other.segments)


def _traffic(link: socket.socket) -> Traffic:
    info = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    acked, received, out, came = _TCP_INFO.unpack_from(info, _TCP_INFO_AT)
    return Traffic(acked + received, out + came)


class Device:
    """An agent's spool, forwarder and link, without what scores."""

    def __init__(self, broker: TlsBroker, folder: Path, keepalive_s: int) -> None:
        self.spool = Spool(folder / "spool.db", random.Random(SEED))
        self.link = DeviceLink(
            broker.endpoint,
            FLEET,
            DEVICE,
            keepalive_s,
            open_tls(str(broker.ca), str(broker.certificate), str(broker.key)),
        )
        defaults = TelemetrySettings()
        self.forwarder = Forwarder(
            self.spool,
            self.link.publish,
            SystemClock(),
            random.Random(SEED),
            resend_after_s=defaults.resend_after_s,
            together=defaults.windows_together,
        )

    def __enter__(self) -> Self:
        will = Status(online=False, at_utc_s=0.0, boot_id="0" * 16, agent_version="0.1.0")
        self.link.connect(self._on_delivery, self.forwarder.on_link, will, random.Random(SEED))
        _wait_until(lambda: self.link.is_connected)
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close(1.0)
        self.spool.close()

    def _on_delivery(self, delivery: Delivery) -> None:
        if delivery.topic.channel is Channel.STORED:
            self.forwarder.on_stored(parse_as(Stored, Channel.STORED, delivery.payload))

    @property
    def socket(self) -> socket.socket:
        """The link's own socket, to ask the kernel about."""
        assert self.link._client is not None  # noqa: SLF001 - the agent has no use for its socket, only the kernel counts
        link = self.link._client._link  # noqa: SLF001
        assert link is not None
        found = link._socket  # noqa: SLF001
        assert isinstance(found, socket.socket)
        return found

    def send(self, windows: list[TelemetryWindow]) -> None:
        """Spool windows, send them, and wait until they are stored."""
        for window in windows:
            self.spool.put([(Channel.TELEMETRY, encode_body(window))])
        _wait_until(lambda: self.forwarder.step() == 0 and not self.spool.waiting_through(self.spool.last_sequence))


@pytest.fixture
def tls_broker(tmp_path: Path) -> Iterator[TlsBroker]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with running_tls_broker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def tls_monitor(tls_broker: TlsBroker) -> Iterator[WireClient]:
    """Says that it has stored whatever comes."""
    client: WireClient
    marks = threading.Lock()

    def store(delivery: Delivery) -> None:
        *_, last = unpack(delivery.topic.channel, delivery.payload)
        key, _ = parse(delivery.topic.channel, last)
        assert key is not None
        with marks:
            client.publish(Topic(FLEET, DEVICE, Channel.STORED), encode(Stored(key.epoch, key.sequence, time.time())))

    filters = (fleet_filter(FLEET, Channel.TELEMETRY),)
    client = WireClient(tls_broker.plain, "monitor", filters=filters, on_delivery=store, rng=random.Random(SEED))
    client.start()
    _wait_until(lambda: client.is_connected)
    yield client
    client.close()


@pytest.mark.usefixtures("tls_monitor")
def bench_an_hour_on_the_wire(tls_broker, tmp_path, record_ratio) -> None:
    together = TelemetrySettings().windows_together
    rng = np.random.default_rng(SEED)
    with Device(tls_broker, tmp_path, keepalive_s=3600) as device:
        beginning = _settled(device)
        for turn in range(MESSAGES):
            device.send([make_window(rng, turn * together + n) for n in range(together)])
            time.sleep(QUIET_S)
        message_bytes = (_settled(device) - beginning).wire_bytes / MESSAGES
    (tmp_path / "pings").mkdir()
    with Device(tls_broker, tmp_path / "pings", keepalive_s=1) as device:
        ping_bytes = _bytes_of_a_ping(device)
    keepalive_s = BrokerSettings().keepalive_s
    hour_bytes = _hour_bytes(keepalive_s, message_bytes, ping_bytes)
    pings = _pings(keepalive_s)
    print(
        f"\nwith TLS, TCP and IP: {message_bytes:.0f} bytes a message of {together} windows with its mark, "
        f"{ping_bytes:.0f} a ping, {beginning.wire_bytes} to connect; an hour: "
        + ", ".join(
            f"{_hour_bytes(each, message_bytes, ping_bytes):.0f} at a keepalive of {each} s"
            for each in (60, 300, 600, 1200, 1800)
        )
    )
    record_ratio(
        f"an hour on the wire with TLS, {AN_HOUR / together:.0f} messages and {pings:.0f} pings / 4,000 bytes",
        ours=hour_bytes,
        peer=WIRE_REACH,
        reach=1.0,
        unit="bytes",
        runs=MESSAGES,
    )
    record_ratio(
        "a ping with TLS / a message of three windows with its mark",
        ours=ping_bytes,
        peer=message_bytes,
        reach=0.2,
        unit="bytes",
        runs=PINGS,
    )


def _pings(keepalive_s: int) -> float:
    """Return the pings of an hour: the client sends one after each silence of the keepalive, and a message ends one."""
    messages = AN_HOUR / TelemetrySettings().windows_together
    return messages * ((3600 / messages - 1) // keepalive_s)


def _hour_bytes(keepalive_s: int, message_bytes: float, ping_bytes: float) -> float:
    return AN_HOUR / TelemetrySettings().windows_together * message_bytes + _pings(keepalive_s) * ping_bytes


def _bytes_of_a_ping(device: Device) -> float:
    """Let the link ping once a second, as its client does at this keepalive, and count what that costs."""
    before = _settled(device)
    grown: list[Traffic] = []
    ends_s = time.monotonic() + DEADLINE_S
    while len(grown) < PINGS:
        assert time.monotonic() < ends_s, "no pings were sent"
        now = _settled(device)
        if now.segments > before.segments:
            grown.append(now - before)
            before = now
    # The first of them may have begun before it was looked at; several may have come together.
    return float(np.median([each.wire_bytes for each in grown[1:]]))


def _settled(device: Device) -> Traffic:
    """Return the traffic once nothing moves any more."""
    traffic = _traffic(device.socket)
    while True:
        time.sleep(QUIET_S)
        now = _traffic(device.socket)
        if now == traffic:
            return now
        traffic = now


def _wait_until(predicate: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not predicate():
        assert time.monotonic() < deadline_s, "the other side did not do its part"
        time.sleep(0.002)
