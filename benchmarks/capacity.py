"""What a fleet needs, from what one device costs: the sheet in docs/scale.md (``python -m benchmarks.capacity``).

The costs were measured by bench_wire.py and bench_telemetry.py; this module only multiplies.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "scale.md"
BEGIN: Final = "<!-- sheet, written by python -m benchmarks.capacity -->\n"
END: Final = "<!-- end of sheet -->\n"
FLEETS: Final = (10_000, 100_000, 1_000_000)
# A processor that is planned to be busier than this has no room for an evil day.
BUSY: Final = 0.5
BACK_WITHIN_S: Final = 180
_S_PER_HOUR: Final = 3600
_HOURS: Final = 24
_GIGA: Final = 1e9
_MEGA: Final = 1e6


class Costs(Struct, frozen=True):
    """What one device costs, and what it is asked for.

    Attributes:
        windows_per_hour: telemetry windows.
        wire_bytes_per_hour: of a device's link, with TLS, TCP, IP, marks and pings.
        link_bytes: resident memory of Mosquitto a link with TLS.
        connect_s: processor time of Mosquitto for TLS, CONNECT and SUBSCRIBE.
        broker_s: processor time of Mosquitto a window that comes alone, with its mark.
        monitor_s: processor time of a monitor a window, into the database, with its mark.
        database_bytes: of a window in the database, with its rows and indexes.
        update_bytes: of a bundle as it is fetched.
    """

    windows_per_hour: float = 6
    wire_bytes_per_hour: float = 3636
    link_bytes: float = 33_500
    connect_s: float = 0.00215
    broker_s: float = 93e-6
    monitor_s: float = 347e-6
    database_bytes: float = 1571
    update_bytes: float = 50_000


def sheet(costs: Costs, fleets: Sequence[int]) -> list[tuple[str, list[str]]]:
    """Return the rows of the capacity sheet: what, and its value for each fleet."""
    rows: list[tuple[str, list[str]]] = []

    def row(what: str, unit: str, value_of: dict[int, float]) -> None:
        rows.append((f"{what} ({unit})", [_number(value_of[n]) for n in fleets]))

    windows_s = {n: n * costs.windows_per_hour / _S_PER_HOUR for n in fleets}
    links = BACK_WITHIN_S * BUSY / costs.connect_s
    row("windows", "a second", windows_s)
    row("devices to brokers", "Mbit/s", {n: n * costs.wire_bytes_per_hour * 8 / _S_PER_HOUR / _MEGA for n in fleets})
    row("brokers: memory of links", "GB", {n: n * costs.link_bytes / _GIGA for n in fleets})
    row("brokers: processors for windows", "cores", {n: windows_s[n] * costs.broker_s for n in fleets})
    row("brokers: processor time until all are back", "core seconds", {n: n * costs.connect_s for n in fleets})
    row(
        "brokers: Mosquittos, one core each, all back in 3 minutes",
        "processes",
        {n: math.ceil(n / links) for n in fleets},
    )
    row("monitors: processors", "cores", {n: windows_s[n] * costs.monitor_s for n in fleets})
    row(
        "monitors: processes, half busy",
        "processes",
        {n: math.ceil(windows_s[n] * costs.monitor_s / BUSY) for n in fleets},
    )
    row("database: windows", "million rows a day", {n: windows_s[n] * _S_PER_HOUR * _HOURS / _MEGA for n in fleets})
    row(
        "database: bytes",
        "GB a day",
        {n: windows_s[n] * _S_PER_HOUR * _HOURS * costs.database_bytes / _GIGA for n in fleets},
    )
    row("an update of everybody", "GB", {n: n * costs.update_bytes / _GIGA for n in fleets})
    row(
        "an update of everybody over a day",
        "Mbit/s",
        {n: n * costs.update_bytes * 8 / (_S_PER_HOUR * _HOURS) / _MEGA for n in fleets},
    )
    return rows


def render(costs: Costs) -> str:
    """Return the sheet as a table in Markdown."""
    head = ["", *(f"{n:,} devices" for n in FLEETS)]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * len(FLEETS)}"]
    lines += [f"| {what} | {' | '.join(values)} |" for what, values in sheet(costs, FLEETS)]
    return "\n".join(lines) + "\n"


def renew(page: str) -> str:
    """Return the page with the sheet as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{render(Costs())}{END}{after}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def main() -> int:
    """Renew docs/scale.md."""
    PAGE.write_text(renew(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
