"""Mosquitto, configured for one machine: where its program is, and the configuration that Fieldloop gives it."""

import os
import shutil
from pathlib import Path

from broker.messages import MAX_PACKET_BYTES

CONFIG_NAME = "mosquitto.conf"
# The line by which Mosquitto 2 says that its listeners are open.
READY_PATTERN = rb"mosquitto version \S+ running"

_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def find_mosquitto(path: str | None = None) -> Path | None:
    """Return the program, or None where there is none; Debian puts it where a user's PATH often does not look.

    Args:
        path: folders to look into, separated as in PATH; None for the PATH of this process and the system's folders.
    """
    folders = path if path is not None else os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM_FOLDERS))
    found = shutil.which("mosquitto", path=folders)
    return None if found is None else Path(found)


def render_config(folder: Path, port: int, *, is_root: bool) -> str:
    """Return the configuration of a broker that only this machine reaches and that keeps its state in ``folder``.

    Anybody may connect, because only loopback listens. Queues, sizes and sessions are bounded: an absent client must
    not fill the memory. Retained messages and sessions survive a restart in ``folder``.
    """
    lines = [
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        # Over this the link is cut before the packet is read; message_size_limit would read it first.
        f"max_packet_size {MAX_PACKET_BYTES}",
        "max_inflight_messages 100",
        "max_queued_messages 10000",
        f"max_queued_bytes {64 << 20}",
        "persistent_client_expiration 7d",
        "persistence true",
        f"persistence_location {folder}/",
        "autosave_interval 30",
        "connection_messages false",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_type information",
    ]
    if is_root:
        # Otherwise it becomes the user mosquitto, which may not write the folder, and forgets to die with its parent.
        lines.append("user root")
    return "\n".join(lines) + "\n"
