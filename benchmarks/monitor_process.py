"""A monitor process that reads the records of its shards into checked structs, whenever it is told to.

    python -m benchmarks.monitor_process READER HOST PORT FLEET FIRST_SHARD STEP

READER is ``structs``, or ``paho``: then it only counts messages, which is the peer. It owns every STEP-th shard from
FIRST_SHARD on. For each line that it is given, a number of records (or messages), it connects, reads so many, says when
the first and the last came (seconds of the machine's monotonic clock) and its processor time, and leaves; the broker
keeps what comes while it is away.
"""

import random
import sys
import threading
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.paho_counter import count
from broker.client import Delivery, Endpoint, WireClient
from broker.packs import parse_records
from broker.topics import SHARDS, parse_fleet
from trainer.monitoring.receiver import filters_of

DEADLINE_S: Final = 120.0


def drain(endpoint: Endpoint, name: str, filters: tuple[str, ...], expected: int) -> tuple[float, float, float]:
    """Read records into checked structs by the monitor's own client; return when it began, had the first, had all."""
    decoded = 0
    first_s = last_s = 0.0
    is_up, has_all = threading.Event(), threading.Event()

    def decode(delivery: Delivery) -> None:
        nonlocal decoded, first_s, last_s
        first_s = first_s or time.perf_counter()
        decoded += len(parse_records(delivery.topic.channel, delivery.payload))
        if decoded >= expected:
            last_s = time.perf_counter()
            has_all.set()

    client = WireClient(
        endpoint,
        name,
        filters=filters,
        on_delivery=decode,
        rng=random.Random(1),
        on_link=lambda up: is_up.set() if up else None,
    )
    start_s = time.perf_counter()
    client.start()
    assert is_up.wait(DEADLINE_S), "no link"
    assert expected == 0 or has_all.wait(DEADLINE_S), f"{decoded} of {expected} records came"
    client.close()
    return start_s, first_s, last_s


def main(arguments: Sequence[str]) -> None:
    """Read records as often as asked."""
    reader, host, port, fleet, first, step = arguments
    read = {"structs": drain, "paho": count}[reader]
    filters = filters_of(parse_fleet(fleet), SHARDS[int(first) :: int(step)])
    for line in sys.stdin:
        cpu_s = time.process_time()
        _, first_s, last_s = read(Endpoint(host, int(port)), f"{reader}-{first}-{step}", filters, int(line))
        print(first_s, last_s, time.process_time() - cpu_s, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
