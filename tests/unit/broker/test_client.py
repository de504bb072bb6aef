"""What the client says to a broker byte by byte, where a real one cannot be made to wait for it."""

import random
import socket
import threading

from broker import frames
from broker.client import Delivery, Endpoint, WireClient
from broker.frames import FrameReader
from broker.topics import Channel, DeviceId, FleetId, Topic

DEADLINE_S = 20.0
TOGETHER = 60
TOPIC = str(Topic(FleetId("plant"), DeviceId("press-1"), Channel.TELEMETRY)).encode()


def test_acknowledgements_go_out_while_what_came_with_them_is_still_handled():
    """Else a broker, which sends so many messages at most without them, and its reader wait for each other in turns."""
    acknowledged = threading.Event()
    # Of each message, whether an acknowledgement was out when it was handled.
    handled: list[bool] = []

    def handle(_: Delivery) -> None:
        is_last = len(handled) == TOGETHER - 1
        handled.append(acknowledged.wait(DEADLINE_S) if is_last else acknowledged.is_set())

    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        client = WireClient(Endpoint(host, port), "m", filters=(), on_delivery=handle, rng=random.Random(1))
        client.start()
        link, _ = server.accept()
        with link:
            link.settimeout(DEADLINE_S)
            assert link.recv(1 << 16)[0] == 0x10
            messages = [frames.publish(TOPIC, b"\x01", number, retained=False) for number in range(1, TOGETHER + 1)]
            link.sendall(b"\x20\x02\x00\x00" + b"".join(messages))
            reader, known = FrameReader(100), 0
            while known < TOGETHER:
                known += len(reader.feed(link.recv(1 << 16)))
                acknowledged.set()
            client.close()
    assert len(handled) == TOGETHER
    assert handled[-1]
