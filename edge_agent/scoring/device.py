"""Looks at what decides which variant runs here: the architecture, the installed runtimes, the board's memory."""

import os

from edge_agent.engine.library import architecture
from edge_agent.scoring.implementations import installed_runtimes
from edge_agent.scoring.selection import Device


def read_device() -> Device:
    """Return what this device is; no runtime is imported."""
    return Device(architecture(), installed_runtimes(), memory_bytes())


def memory_bytes() -> int:
    """Return the board's memory; 0 where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
