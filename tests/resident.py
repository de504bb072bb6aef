"""How much memory a process holds now, and not at its greatest: a peak of an earlier test would hide a leak."""

from pathlib import Path


def resident_kib(process: int | str = "self") -> int:
    """The resident memory of a process, in KiB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
