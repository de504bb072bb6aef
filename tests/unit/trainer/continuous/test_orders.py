"""Every order that the loop gives by itself is in the audit log: asks for labels, rollouts, going back."""

import random
from pathlib import Path

from broker.audit import AuditedPublisher, AuditLog, Entry, read_log, verify_log
from broker.client import Endpoint
from broker.messages import Command, RollBack, encode
from broker.topics import DeviceId
from edge_agent.clock import SystemClock
from tests.unit.trainer.cli.projects import write_small_project
from tests.unit.trainer.continuous.test_loop import lose_until
from trainer.continuous.station import Station, usual_places
from trainer.continuous.story import State
from trainer.monitoring.ledger import Order, record_orders
from trainer.project.loading import load_project
from trainer.rollout.rings import assign_rings


def watch_orders(stage, folder: Path) -> Path:
    """Have the loop of a stage give its orders as a station does."""
    path = folder / "audit.jsonl"
    stage.publish = AuditedPublisher(stage.publish, AuditLog(path, stage.clock.utc_s), "trainer:loop")
    stage.loop = stage.make_loop()
    return path


def entries(path: Path, what: str) -> list[Entry]:
    return [entry for entry in read_log(path) if entry.what == what]


def test_asks_for_labels_and_the_rollout_of_a_mended_model_are_written_down(make_stage, tmp_path):
    stage = make_stage()
    path = watch_orders(stage, tmp_path)
    lose_until(stage, State.RUNNING)
    stage.runner.outcome = stage.promoted()
    stage.play(4)
    asks, rollouts = entries(path, "command.ask_labels"), entries(path, "desired")
    assert {entry.device for entry in asks} == set(stage.devices)
    assert {entry.device for entry in rollouts} == set(stage.devices)
    assert {entry.by for entry in (*asks, *rollouts)} == {"trainer:loop"}
    assert all("weather/2" in entry.detail and entry.order_id for entry in rollouts)
    assert verify_log(path) is not None


def test_a_rollout_that_is_taken_back_is_written_down_with_why(make_stage, tmp_path):
    stage = make_stage()
    path = watch_orders(stage, tmp_path)
    (first,) = assign_rings([DeviceId(name) for name in stage.devices], stage.loaded.project.rollout.rings)[0]
    # The first device proves it, and the others fail: all that heard of it are ordered back.
    stage.runner.outcome = stage.promoted()
    stage.fails = set(stage.devices) - {first}
    lose_until(stage, State.COOLING_DOWN)
    back = [entry for entry in entries(path, "desired") if entry.order_id.endswith("-back")]
    assert {entry.device for entry in back} == set(stage.devices)
    assert all("weather/1" in entry.detail for entry in back)


def test_a_station_writes_an_order_down_before_it_tries_to_send_it(tmp_path, free_ports):
    loaded = load_project(write_small_project(tmp_path))
    (port,) = free_ports(1)
    places = usual_places(loaded, Endpoint("127.0.0.1", port))
    station = Station(loaded, places, clock=SystemClock(), rng=random.Random(1))
    try:
        body = encode(Command("c-1", 2e9, "monitor", RollBack("tried")))
        order = Order("c-1", DeviceId("press-1"), "command", None, None, "monitor", "tried", 1e9, None, body)
        record_orders(station.store, [order])
        station.step()
    finally:
        station.close()
    (entry,) = read_log(places.audit)
    assert (entry.what, entry.device, entry.order_id) == ("command.roll_back", "press-1", "c-1")
