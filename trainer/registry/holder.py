"""Who holds a lock, as others are told."""

import os
import socket


def holder_text() -> str:
    """Return this process and its machine."""
    return f"process {os.getpid()} on {socket.gethostname()}"
