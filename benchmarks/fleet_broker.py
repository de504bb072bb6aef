"""A Mosquitto for thousands of devices: certificates are asked for, and each device has its own topics only."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.fleet_load import FLEET
from broker.client import Endpoint
from broker.messages import MAX_PACKET_BYTES
from broker.servers.local import pick_free_port
from broker.servers.mosquitto import find_mosquitto

_START_S: Final = 30.0
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class FleetBroker:
    """One that can be killed and started again on the same ports.

    Attributes:
        folder: of certificates (`benchmarks.fleet_certificates`) and of its state.
        devices: where devices connect, by TLS.
        monitors: where the monitor connects, on this machine.
    """

    folder: Path
    devices: Endpoint
    monitors: Endpoint
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it listens."""
        program = find_mosquitto()
        assert program is not None
        # Files that every connection needs are counted by the kernel; the limit is inherited.
        with (self.folder / "mosquitto.log").open("wb") as log:
            command = [str(program), "-c", str(self.folder / "mosquitto.conf")]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        deadline_s = time.monotonic() + _START_S
        while b" running" not in (self.folder / "mosquitto.log").read_bytes():
            assert self.process.poll() is None, (self.folder / "mosquitto.log").read_text()
            assert time.monotonic() < deadline_s, "mosquitto does not start"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def resident_bytes(self) -> int:
        """Memory that it has now."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * _PAGE_BYTES


def describe_broker(folder: Path) -> FleetBroker:
    """Write the configuration of a broker into a folder of certificates."""
    devices, monitors = (Endpoint("127.0.0.1", pick_free_port()) for _ in range(2))
    topics = f"fieldloop/1/{FLEET}/+/%u"
    (folder / "rules").write_text(
        f"topic readwrite fieldloop/1/{FLEET}/#\n"
        + "".join(f"pattern write {topics}/{channel}\n" for channel in ("status", "telemetry", "samples", "events"))
        + "".join(f"pattern read {topics}/{channel}\n" for channel in ("stored", "desired", "command")),
        encoding="ascii",
    )
    lines = (
        "per_listener_settings true",
        "user root" if os.getuid() == 0 else "",
        f"listener {monitors.port} 127.0.0.1",
        "allow_anonymous true",
        f"listener {devices.port} 127.0.0.1",
        f"cafile {folder}/ca.pem",
        f"certfile {folder}/broker.pem",
        f"keyfile {folder}/broker.pem",
        "require_certificate true",
        "use_identity_as_username true",
        f"acl_file {folder}/rules",
        f"max_packet_size {MAX_PACKET_BYTES}",
        "max_inflight_messages 100",
        "max_queued_messages 50000",
        "persistence true",
        f"persistence_location {folder}/",
        "connection_messages false",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_type information",
    )
    (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n", encoding="ascii")
    return FleetBroker(folder, devices, monitors)
