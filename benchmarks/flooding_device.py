"""A device that floods: it sends messages as fast as its broker takes them, from a process of its own.

    python -m benchmarks.flooding_device HOST PORT CA CERTIFICATE NAME

Each line on its standard input, a kind of flood, a number of seconds and the bytes a second at most, is one flood on a
link of its own; it answers by a line of JSON: how many messages went out, their bytes, and whether the broker ended the
link.
"""

import json
import ssl
import sys
import time
from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct

from benchmarks.fleet_load import FLEET
from benchmarks.fleet_windows import make_window
from broker import frames
from broker.client import Endpoint
from broker.link import Link
from broker.messages import MAX_BYTES, Epoch, RecordKey, encode_body, encode_record
from broker.packs import pack_payloads
from broker.topics import Channel, DeviceId, Topic

WINDOWS: Final = "windows"
ACKNOWLEDGED: Final = "acknowledged"
LARGE: Final = "large"
# More than sockets hold: there is always something that waits to be sent.
_CHUNK_BYTES: Final = 1 << 18
_KEEPALIVE_S: Final = 60
_EPOCH: Final = 13
_LOOK_S: Final = 0.05
_PACE_S: Final = 0.001


class Flood(Struct, frozen=True):
    """What was sent."""

    messages: int
    bytes: int
    was_cut_off: bool


def packet_of(kind: str, name: DeviceId) -> bytes:
    """Return the packet that a kind of flood is made of.

    Windows, with QoS 0 or acknowledged with QoS 1, are what a monitor would have to read and to store; large messages
    are as large as any channel takes.
    """
    channel = Channel.SAMPLES if kind == LARGE else Channel.TELEMETRY
    topic = str(Topic(FLEET, name, channel)).encode()
    if kind == LARGE:
        return frames.publish(topic, bytes(MAX_BYTES[channel]), 1, retained=False)
    body = encode_body(make_window(np.random.default_rng(_EPOCH), 0))
    payload = pack_payloads([encode_record(RecordKey(Epoch(_EPOCH), 1, 0), body)])
    if kind == ACKNOWLEDGED:
        return frames.publish(topic, payload, 1, retained=False)
    return frames.packet(frames.PUBLISH, frames.text(topic) + payload)


def flood(
    endpoint: Endpoint, tls: ssl.SSLContext, name: DeviceId, kind: str, seconds: float, bytes_per_s: float
) -> Flood:
    """Flood a broker for so long, at a rate at most."""
    one = packet_of(kind, name)
    together = max(1, _CHUNK_BYTES // len(one))
    begin_s = time.monotonic()
    link = Link(endpoint.host, endpoint.port, tls)
    pending = bytearray(frames.connect(name, _KEEPALIVE_S, clean_session=True, will=None))
    sent = -len(pending)
    end_s = time.monotonic() + seconds
    was_cut_off = False
    try:
        while (now_s := time.monotonic()) < end_s:
            if len(pending) < _CHUNK_BYTES and sent < bytes_per_s * (now_s - begin_s):
                pending += one * together
                sent += len(one) * together
            # What the broker answers is read and forgotten: who never reads is cut off sooner.
            link.exchange(pending, _LOOK_S if len(pending) > _CHUNK_BYTES else _PACE_S)
    except OSError:
        was_cut_off = True
    link.close()
    sent -= len(pending)
    return Flood(max(0, sent) // len(one), max(0, sent), was_cut_off)


def main(arguments: Sequence[str]) -> None:
    """Flood as often as asked."""
    host, port, ca, certificate, name = arguments
    tls = ssl.create_default_context(cafile=ca)
    tls.load_cert_chain(certificate)
    for line in sys.stdin:
        kind, seconds, bytes_per_s = line.split()
        done = flood(Endpoint(host, int(port)), tls, DeviceId(name), kind, float(seconds), float(bytes_per_s))
        print(json.dumps({"messages": done.messages, "bytes": done.bytes, "cut": done.was_cut_off}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
