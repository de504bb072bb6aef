"""Says to a broker what `broker.client.WireClient` never would."""

import itertools
import socket

from broker.client import Endpoint

RAW_CONNECT = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03raw"
_numbers = itertools.count(100)


def publish_raw(endpoint: Endpoint, topic: str, payload: bytes) -> None:
    """Publish at QoS 1 on a topic that `WireClient` could not even name, and wait for the acknowledgement."""
    encoded = topic.encode()
    content = len(encoded).to_bytes(2, "big") + encoded + b"\x00\x01" + payload
    length, rest = b"", len(content)
    while rest or not length:
        rest, digit = divmod(rest, 128)
        length += bytes([digit | (0x80 if rest else 0)])
    with socket.create_connection((endpoint.host, endpoint.port), 10) as link:
        # A name of its own: some brokers are slow to forget who had it before.
        link.sendall(RAW_CONNECT[:-3] + str(next(_numbers)).encode())
        assert link.recv(4)[0] == 0x20
        link.sendall(b"\x32" + length + content)
        # amqtt sends what is retained before it acknowledges.
        answer = link.recv(1 << 20)
        while b"\x40\x02\x00\x01" not in answer:
            more = link.recv(1 << 20)
            assert more, "the broker closed the link before it acknowledged"
            answer += more
        link.sendall(b"\xe0\x00")
