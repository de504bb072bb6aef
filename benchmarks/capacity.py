"""What a fleet needs, from what one device costs: costs and sheet of docs/scale.md.

    python -m benchmarks.capacity [WIRE_JSON]

The costs are lines of build/bench/wire.json, as ``make bench-wire`` writes them; without that file those that the page
states are kept. This module only multiplies.
"""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from benchmarks import wire_costs, wire_fleet
from benchmarks.report import RESULTS, Ratio, load_area
from edge_agent.durable import replace_file

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "scale.md"
BEGIN_COSTS: Final = "<!-- costs, written by python -m benchmarks.capacity -->\n"
END_COSTS: Final = "<!-- end of costs -->\n"
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
    """What one device costs, in the units of the page, and what it is asked for.

    Attributes:
        wire_bytes: an hour, of a device's link, with TLS, TCP, IP, marks and pings.
        link_bytes: resident memory of Mosquitto a link with TLS.
        connect_ms: processor time of Mosquitto for TLS, CONNECT and SUBSCRIBE.
        broker_us: processor time of Mosquitto a window that comes alone, with its mark.
        monitor_us: processor time of a monitor a window, into the database, with its mark.
        device_bytes: memory of a monitor for a device that it remembers.
        database_bytes: of a window in the database, with its rows and indexes.
        update_bytes: of a bundle as it is fetched.
        windows_per_hour: telemetry windows.
    """

    wire_bytes: float
    link_bytes: float
    connect_ms: float
    broker_us: float
    monitor_us: float
    device_bytes: float
    database_bytes: float
    update_bytes: float
    windows_per_hour: float = 6


class _Row(Struct, frozen=True):
    """One cost on the page.

    Attributes:
        field: of `Costs`.
        what: its label.
        unit: of the number.
        line: how its line in wire.json begins.
        how: what was measured.
    """

    field: str
    what: str
    unit: str
    line: str
    how: str


_ROWS: Final = (
    _Row(
        "wire_bytes",
        "its link, an hour",
        "bytes",
        "an hour on the wire with TLS",
        "six windows of 64 features in packs of three, TLS 1.3, TCP and IP, marks and pings",
    ),
    _Row(
        "link_bytes",
        "Mosquitto, memory a link",
        "bytes",
        wire_fleet.LINK_MEMORY,
        "resident memory; TLS, a certificate of its own, one subscription",
    ),
    _Row(
        "connect_ms",
        "Mosquitto, processor a connect",
        "ms",
        wire_costs.CONNECT,
        "TLS with certificates on P-256, CONNECT, SUBSCRIBE, status",
    ),
    _Row(
        "broker_us",
        "Mosquitto, processor a window",
        "us",
        wire_costs.WINDOW_IN_BROKER,
        "a window that comes alone by TLS, to the monitor, and the mark back",
    ),
    _Row(
        "monitor_us",
        "a monitor, processor a window",
        "us",
        wire_costs.WINDOW_IN_MONITOR,
        "unpacked, checked, into SQLite with full synchronisation, its mark published",
    ),
    _Row(
        "device_bytes",
        "a monitor, memory a device",
        "bytes",
        wire_fleet.DEVICE_MEMORY,
        "of each that it heard of, 20,000 at most; of others it asks the database",
    ),
    _Row(
        "database_bytes",
        "the database, a window",
        "bytes",
        wire_costs.WINDOW_IN_DATABASE,
        "SQLite, with all rows and indexes",
    ),
    _Row(
        "update_bytes",
        "an update",
        "bytes",
        wire_costs.UPDATE,
        "manifest and a forest of 100 trees as `native`; fetched once",
    ),
)
# Of the others it asks the database (trainer/monitoring/intake.py).
_REMEMBERED: Final = 20_000
_HEAD: Final = "| what | of one device | | measured by `make bench-wire` |\n|---|---:|---|---|\n"
_LINE: Final = re.compile(r"^\| ([^|]+) \| ([0-9.,]+) \| ", re.MULTILINE)
_MICRO: Final = 1e-6
_MILLI: Final = 1e-3


class CostMissingError(ValueError):
    """A cost that the sheet needs is not among what was measured, or not on the page."""


def costs_of(ratios: Sequence[Ratio]) -> Costs:
    """Return the costs that a run of ``make bench-wire`` measured.

    Raises:
        CostMissingError: one of them was not measured.
    """
    found: dict[str, float] = {}
    for row in _ROWS:
        measured = [each.ours for each in ratios if each.name.startswith(row.line)]
        if not measured:
            raise CostMissingError(f"no line {row.line!r}: run all of make bench-wire")
        found[row.field] = measured[0]
    return msgspec.convert(found, Costs)


def render_costs(costs: Costs) -> str:
    """Return the table of the costs, in Markdown."""
    return _HEAD + "".join(
        f"| {row.what} | {_number(getattr(costs, row.field))} | {row.unit} | {row.how} |\n" for row in _ROWS
    )


def parse_costs(page: str) -> Costs:
    """Return the costs that a page states.

    Raises:
        CostMissingError: one of them is not there.
    """
    _, _, rest = page.partition(BEGIN_COSTS)
    stated: Mapping[str, str] = dict(_LINE.findall(rest.partition(END_COSTS)[0]))
    missing = [row.what for row in _ROWS if row.what not in stated]
    if missing:
        raise CostMissingError(f"the page states no cost of {missing[0]!r}")
    return msgspec.convert({row.field: float(stated[row.what].replace(",", "")) for row in _ROWS}, Costs)


def sheet(costs: Costs, fleets: Sequence[int]) -> list[tuple[str, list[str]]]:
    """Return the rows of the capacity sheet: what, and its value for each fleet."""
    rows: list[tuple[str, list[str]]] = []

    def row(what: str, unit: str, value_of: dict[int, float]) -> None:
        rows.append((f"{what} ({unit})", [_number(value_of[n]) for n in fleets]))

    windows_s = {n: n * costs.windows_per_hour / _S_PER_HOUR for n in fleets}
    links = BACK_WITHIN_S * BUSY / (costs.connect_ms * _MILLI)
    row("windows", "a second", windows_s)
    row("devices to brokers", "Mbit/s", {n: n * costs.wire_bytes * 8 / _S_PER_HOUR / _MEGA for n in fleets})
    row("brokers: memory of links", "GB", {n: n * costs.link_bytes / _GIGA for n in fleets})
    row("brokers: processors for windows", "cores", {n: windows_s[n] * costs.broker_us * _MICRO for n in fleets})
    row(
        "brokers: processor time until all are back", "core seconds", {n: n * costs.connect_ms * _MILLI for n in fleets}
    )
    row(
        "brokers: Mosquittos, one core each, all back in 3 minutes",
        "processes",
        {n: math.ceil(n / links) for n in fleets},
    )
    row("monitors: processors", "cores", {n: windows_s[n] * costs.monitor_us * _MICRO for n in fleets})
    monitors = {n: math.ceil(windows_s[n] * costs.monitor_us * _MICRO / BUSY) for n in fleets}
    row("monitors: processes, half busy", "processes", dict(monitors))
    remembered = {n: min(n, monitors[n] * _REMEMBERED) for n in fleets}
    row("monitors: memory of devices", "MB", {n: remembered[n] * costs.device_bytes / _MEGA for n in fleets})
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


def renew(page: str, costs: Costs) -> str:
    """Return the page with these costs and with the sheet that follows from them as the page states them."""
    stated = _replaced(page, BEGIN_COSTS, END_COSTS, render_costs(costs))
    return _replaced(stated, BEGIN, END, render(parse_costs(stated)))


def _replaced(page: str, begin: str, end: str, text: str) -> str:
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}{text}{end}{after}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def main(arguments: Sequence[str]) -> int:
    """Renew docs/scale.md."""
    results = Path(arguments[0]) if arguments else RESULTS / "wire.json"
    page = PAGE.read_text(encoding="utf-8")
    try:
        costs = costs_of(load_area(results)) if results.exists() else parse_costs(page)
    except CostMissingError as error:
        sys.stderr.write(f"{results}: {error}\n")
        return 1
    replace_file(PAGE, renew(page, costs).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
