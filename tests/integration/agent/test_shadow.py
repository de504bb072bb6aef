"""A bundle in the shadow scores what the agent scores, in a process of its own, and only its disagreement is told."""

import os
import signal
import uuid
from pathlib import Path

from broker.messages import BundleRef, Command, Event, Reply, StartShadow, StopShadow
from broker.topics import Channel
from edge_agent.clock import SystemClock
from tests.integration.agent.conftest import Fleet
from tests.integration.agent.station import Station
from tests.waiting import wait_until

CLOCK = SystemClock()
PACE = "rows_per_second = 200.0"
EVERY_S = "resend_after_s = 1.0\nbackground_rows = 1\nmax_window_s = 0.5"


def ask(fleet: Fleet, station: Station, order: StartShadow | StopShadow) -> Reply:
    command_id = f"ask-{uuid.uuid4().hex[:12]}"
    fleet.receiver.publish(station.name, Channel.COMMAND, Command(command_id, CLOCK.utc_s() + 60.0, "test", order))
    wait_until(lambda: any(r.command_id == command_id for r in fleet.receiver.replies), 20, f"a reply to {command_id}")
    return next(reply for reply in fleet.receiver.replies if reply.command_id == command_id)


def at_work(fleet: Fleet, n_rows: int = 20_000) -> tuple[Station, BundleRef, BundleRef]:
    """Return a station that scores with the first of two bundles."""
    station = fleet.station(n_rows=n_rows, source=PACE, telemetry=EVERY_S)
    first, second = fleet.updates.publish(1), fleet.updates.publish(2)
    fleet.order(station, first)
    station.start()
    fleet.wait_committed(station, first)
    return station, first, second


def told(fleet: Fleet, station: Station) -> list[Event]:
    return fleet.receiver.events(station.name, "shadow")


def wait_told(fleet: Fleet, station: Station, words: str) -> None:
    wait_until(lambda: any(words in event.reason for event in told(fleet, station)), 30, f"{words!r}; {station.log}")


def wait_gone(station: Station, pid: int) -> None:
    wait_until(lambda: child_of(station) != pid, 20, f"it is noticed that {pid} is gone")


def child_of(station: Station) -> int | None:
    """Return the process id of the shadow, None where there is none."""
    assert station.process is not None
    # A child is listed under the thread that started it.
    for children in Path(f"/proc/{station.process.pid}/task").glob("*/children"):
        for pid in children.read_text().split():
            try:
                if b"shadow_child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
    return None


def test_a_shadow_is_compared_row_by_row_and_ends_after_its_rows(one_fleet: Fleet):
    station, first, second = at_work(one_fleet)
    assert ask(one_fleet, station, StartShadow(second, 300)).accepted
    wait_told(one_fleet, station, "ended: 300 rows are compared")
    reports = [event.shadow for event in told(one_fleet, station) if event.shadow is not None]
    assert {(report.bundle, report.against) for report in reports} == {(second, first)}
    rows = sum(report.rows for report in reports)
    assert rows >= 300
    # The two bundles learnt the same rule from other rows: they differ, and seldom.
    assert 0 < sum(report.disagreements for report in reports) < rows / 4
    assert all(report.median_latency_us > 0 for report in reports)
    station.stop()
    assert {window.bundle for window in one_fleet.receiver.windows(station.name)} == {first}


def test_a_shadow_ends_by_order_and_leaves_no_process(one_fleet: Fleet):
    station, first, second = at_work(one_fleet)
    assert not ask(one_fleet, station, StopShadow()).accepted
    assert not ask(one_fleet, station, StartShadow(first)).accepted
    assert not ask(one_fleet, station, StartShadow(BundleRef("other", 1))).accepted
    assert ask(one_fleet, station, StartShadow(second)).accepted
    wait_until(lambda: child_of(station) is not None, 20, "the shadow is at work")
    assert station.status()["update_state"] == "shadow"
    assert ask(one_fleet, station, StopShadow()).accepted
    wait_until(lambda: child_of(station) is None, 10, "its process is gone")
    assert station.status()["update_state"] == "idle"
    assert station.status()["bundle"] == str(first)


def test_a_shadow_that_is_killed_comes_back_and_one_that_always_dies_is_ended(one_fleet: Fleet):
    station, first, second = at_work(one_fleet)
    assert ask(one_fleet, station, StartShadow(second)).accepted
    for _ in range(3):
        wait_until(lambda: child_of(station) is not None, 20, "the shadow is at work")
        pid = child_of(station)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_gone(station, pid)
    wait_told(one_fleet, station, "its process was ended by signal 9")
    wait_until(lambda: station.status()["update_state"] == "idle", 10, "the shadow is ended")
    assert station.status()["bundle"] == str(first)


def test_an_update_takes_the_shadow_s_slot_and_a_restart_goes_on_with_it(one_fleet: Fleet):
    station, _, second = at_work(one_fleet)
    third = one_fleet.updates.publish(3)
    assert ask(one_fleet, station, StartShadow(second)).accepted
    wait_until(lambda: child_of(station) is not None, 20, "the shadow is at work")
    station.stop()
    station.start()
    wait_until(lambda: child_of(station) is not None, 20, "the shadow is at work again")
    one_fleet.order(station, third)
    one_fleet.wait_committed(station, third)
    wait_told(one_fleet, station, f"ended: the slot is needed for {third}")
    assert child_of(station) is None


def test_a_shadow_that_is_not_signed_never_scores(one_fleet: Fleet):
    station, first, second = at_work(one_fleet)
    path = one_fleet.updates.file_of(second, "model.onnx")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert ask(one_fleet, station, StartShadow(second)).accepted
    wait_told(one_fleet, station, "altered or broken")
    assert child_of(station) is None
    assert station.status()["bundle"] == str(first)
