"""The peer of what reads the wire: a paho subscriber that counts messages, and does nothing else."""

import itertools
import threading
import time
from typing import Final

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from broker.client import Endpoint

DEADLINE_S: Final = 120.0


def count(endpoint: Endpoint, name: str, filters: tuple[str, ...], expected: int) -> tuple[float, float, float]:
    """Count messages for paho and an addition; return when it began, had the first, had all (0: none came)."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
    counted = itertools.count(1)
    first_s = last_s = 0.0
    done, subscribed = threading.Event(), threading.Event()

    def add(*_: object) -> None:
        nonlocal last_s
        if next(counted) == expected:
            last_s = time.perf_counter()
            done.set()

    def begin(*message: object) -> None:
        nonlocal first_s
        first_s = time.perf_counter()
        client.on_message = add
        add(*message)

    def subscribe(*_: object) -> None:
        client.subscribe([(each, 1) for each in filters])

    client.on_message = begin
    client.on_connect = subscribe
    client.on_subscribe = lambda *_: subscribed.set()
    start_s = time.perf_counter()
    client.connect(endpoint.host, endpoint.port)
    client.loop_start()
    assert subscribed.wait(DEADLINE_S), "no link"
    assert expected == 0 or done.wait(DEADLINE_S), f"not all of {expected} messages came"
    client.disconnect()
    client.loop_stop()
    return start_s, first_s, last_s
