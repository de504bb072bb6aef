"""The capacity sheet is its costs, multiplied, and docs/scale.md shows it as it is."""

import pytest
from msgspec import structs

from benchmarks.capacity import PAGE, CostMissingError, Costs, costs_of, parse_costs, render_costs, renew, sheet
from benchmarks.report import Ratio, compare
from benchmarks.wire_costs import CONNECT, UPDATE, WINDOW_IN_BROKER, WINDOW_IN_DATABASE, WINDOW_IN_MONITOR
from benchmarks.wire_fleet import DEVICE_MEMORY, LINK_MEMORY

COSTS = Costs(
    wire_bytes=3600,
    link_bytes=30_000,
    connect_ms=2.0,
    broker_us=1000,
    monitor_us=50_000,
    device_bytes=1000,
    database_bytes=1000,
    update_bytes=50_000,
    windows_per_hour=36,
)


def measured() -> list[Ratio]:
    hour = "an hour on the wire with TLS, 2 messages and 2 pings / 4,000 bytes"
    names = (
        hour,
        LINK_MEMORY,
        CONNECT,
        WINDOW_IN_BROKER,
        WINDOW_IN_MONITOR,
        DEVICE_MEMORY,
        WINDOW_IN_DATABASE,
        UPDATE,
    )
    return [compare(name, ours=1234.0 + at, peer=1, reach=1, unit="", runs=1) for at, name in enumerate(names)]


def test_the_sheet_of_the_page_follows_from_the_costs_that_the_page_states():
    page = PAGE.read_text(encoding="utf-8")
    assert page == renew(page, parse_costs(page)), "run: python -m benchmarks.capacity"
    assert "| database: bytes (GB a day) |" in page


def test_a_page_whose_cost_was_changed_by_hand_has_another_sheet():
    page = PAGE.read_text(encoding="utf-8")
    costs = parse_costs(page)
    forged = page.replace(render_costs(costs), render_costs(structs.replace(costs, connect_ms=2 * costs.connect_ms)))
    assert forged != page
    assert renew(forged, parse_costs(forged)) != forged


def test_the_costs_are_the_lines_of_the_benchmark():
    costs = costs_of(measured())
    assert (costs.wire_bytes, costs.connect_ms, costs.update_bytes) == (1234.0, 1236.0, 1241.0)
    page = renew(PAGE.read_text(encoding="utf-8"), costs)
    assert parse_costs(page) == costs
    assert "| Mosquitto, processor a connect | 1,236 | ms |" in page


@pytest.mark.parametrize("missing", range(8))
def test_a_run_that_measured_not_all_gives_no_sheet(missing):
    with pytest.raises(CostMissingError, match="make bench-wire"):
        costs_of([each for at, each in enumerate(measured()) if at != missing])


def test_a_page_that_does_not_state_a_cost_is_refused():
    page = PAGE.read_text(encoding="utf-8").replace("| an update |", "| an upgrade |")
    with pytest.raises(CostMissingError, match="an update"):
        parse_costs(page)


def test_what_a_fleet_needs_is_what_a_device_costs_times_their_number():
    found = dict(sheet(COSTS, (10, 1000)))
    assert found["windows (a second)"] == ["0.1", "10"]
    assert found["brokers: processors for windows (cores)"] == ["0.0001", "0.01"]
    assert found["monitors: processes, half busy (processes)"] == ["1", "1"]
    assert found["monitors: memory of devices (MB)"] == ["0.01", "1"]
    assert found["devices to brokers (Mbit/s)"] == ["8e-05", "0.008"]
    assert found["database: bytes (GB a day)"] == ["0.00864", "0.864"]


def test_a_broker_more_is_needed_for_each_that_would_be_busy_for_half_of_three_minutes():
    costs = structs.replace(COSTS, connect_ms=900)
    assert dict(sheet(costs, (100, 101)))["brokers: Mosquittos, one core each, all back in 3 minutes (processes)"] == [
        "1",
        "2",
    ]
