"""A device that connects with a last will and then waits to be killed: ``dying_device.py PORT``."""

import random
import sys
import threading

from broker.client import Endpoint, WireClient
from broker.messages import Status
from broker.topics import Channel, DeviceId, FleetId, Topic

if __name__ == "__main__":
    topic = Topic(FleetId("stations"), DeviceId("dying"), Channel.STATUS)
    gone = Status(online=False, at_utc_s=0.0, boot_id="b", agent_version="1")
    client = WireClient(
        Endpoint("127.0.0.1", int(sys.argv[1])),
        "dying",
        filters=(),
        on_delivery=lambda _delivery: None,
        on_link=lambda is_up: print("up" if is_up else "down", flush=True),  # noqa: T201
        will=(topic, gone),
        rng=random.Random(1),
    )
    client.start()
    threading.Event().wait()
