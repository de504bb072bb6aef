"""Looks at the board: what it is, what the process takes of it, how warm it is. What it does not tell is left out."""

import contextlib
import os
import platform
import resource
from pathlib import Path
from typing import Final

from broker.messages import Facts, Resources
from edge_agent.scoring.device import memory_bytes
from edge_agent.scoring.implementations import installed_runtimes

_MODEL: Final = Path("/proc/device-tree/model")
_STATM: Final = Path("/proc/self/statm")
_THERMAL: Final = Path("/sys/class/thermal/thermal_zone0/temp")
# Raspberry Pi's firmware, without vcgencmd: hexadecimal, bits 0-3 what is so now, 16-19 what was since the start.
_THROTTLED: Final = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
# Other boards: whether a processor's speed is held below what it could be, by heat.
_COOLING: Final = Path("/sys/class/thermal")
_MAX_TEXT: Final = 128
# A sensor that says more has no contact: its word would have the whole window refused.
_MIN_C: Final = -100.0
_MAX_C: Final = 200.0


def read_facts(state: Path) -> Facts:
    """Return what this device is; the free disk is that of the state folder."""
    return Facts(
        board=_board()[:_MAX_TEXT],
        architecture=platform.machine()[:_MAX_TEXT],
        runtimes=installed_runtimes(),
        memory_bytes=memory_bytes(),
        free_disk_bytes=_free_disk_bytes(state),
    )


def read_resources(state: Path) -> Resources:
    """Return what this process takes of the board now; times to the millisecond, which is what they are worth."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Resources(
        rss_bytes=_rss_bytes(),
        cpu_s=round(usage.ru_utime + usage.ru_stime, 3),
        free_disk_bytes=_free_disk_bytes(state),
        temperature_c=_temperature_c(),
        throttled=_is_throttled(),
    )


def _board() -> str:
    try:
        return _MODEL.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return platform.node()


def _rss_bytes() -> int:
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        # Its greatest so far, where the present one is not told.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _free_disk_bytes(state: Path) -> int:
    try:
        disk = os.statvfs(state)
    except OSError:
        return 0
    return disk.f_bavail * disk.f_frsize


def _temperature_c() -> float | None:
    with contextlib.suppress(OSError, ValueError):
        temperature_c = float(_THERMAL.read_text(encoding="ascii")) / 1000.0
        return temperature_c if _MIN_C <= temperature_c <= _MAX_C else None
    return None


def _is_throttled() -> bool | None:
    """Tell whether the board holds its processor back, now or, where it remembers, since it started; None: unknown."""
    with contextlib.suppress(OSError, ValueError):
        return int(_THROTTLED.read_text(encoding="ascii"), 16) != 0
    steps: list[int] = []
    for device in sorted(_COOLING.glob("cooling_device*")):
        with contextlib.suppress(OSError, ValueError):
            if "cpu" in (device / "type").read_text(encoding="ascii").lower():
                steps.append(int((device / "cur_state").read_text(encoding="ascii")))
    return any(step > 0 for step in steps) if steps else None
