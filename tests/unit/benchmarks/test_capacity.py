"""The capacity sheet is its costs, multiplied, and docs/scale.md shows it as it is."""

from benchmarks.capacity import PAGE, Costs, renew, sheet


def test_the_page_shows_the_sheet_as_it_is():
    page = PAGE.read_text(encoding="utf-8")
    assert page == renew(page), "run: python -m benchmarks.capacity"
    assert "| database: bytes (GB a day) |" in page


def test_what_a_fleet_needs_is_what_a_device_costs_times_their_number():
    costs = Costs(windows_per_hour=36, wire_bytes_per_hour=3600, broker_s=1e-3, monitor_s=0.05, database_bytes=1000)
    found = dict(sheet(costs, (10, 1000)))
    assert found["windows (a second)"] == ["0.1", "10"]
    assert found["brokers: processors for windows (cores)"] == ["0.0001", "0.01"]
    assert found["monitors: processes, half busy (processes)"] == ["1", "1"]
    assert found["devices to brokers (Mbit/s)"] == ["8e-05", "0.008"]
    assert found["database: bytes (GB a day)"] == ["0.00864", "0.864"]


def test_a_broker_more_is_needed_for_each_that_would_be_busy_for_half_of_three_minutes():
    costs = Costs(connect_s=0.9)
    assert dict(sheet(costs, (100, 101)))["brokers: Mosquittos, one core each, all back in 3 minutes (processes)"] == [
        "1",
        "2",
    ]
