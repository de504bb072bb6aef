"""A parent that starts a broker, prints its process id and port, and waits: ``starts_a_broker.py FOLDER KIND``."""

import sys
import threading
from pathlib import Path

from broker.servers.local import start_local_broker

if __name__ == "__main__":
    match sys.argv[2]:
        case "mosquitto" | "unpacked" | "amqtt" as kind:
            broker = start_local_broker(Path(sys.argv[1]), kind=kind)
        case other:
            raise SystemExit(f"unknown kind {other}")
    print(broker.pid, broker.endpoint.port, flush=True)  # noqa: T201
    threading.Event().wait()
