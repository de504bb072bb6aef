from typing import Any

import pytest

from broker.errors import LinkError
from broker.messages import BundleRef, Desired, parse_as
from broker.topics import Channel
from tests.unit.trainer.simulated_fleet import FLEET, ManualClock, SimulatedDevice
from trainer.monitoring.intake import Intake
from trainer.monitoring.ledger import list_decisions, list_orders
from trainer.monitoring.store import open_store, store_uri
from trainer.rollout.operator import RolloutOperator
from trainer.rollout.rings import assign_rings
from trainer.rollout.steps import RolloutRules

OLD, NEW = BundleRef("weather", 1), BundleRef("weather", 2)


class Field:
    """A store, an operator, and devices that do what a test tells them."""

    def __init__(self, folder, names="abc"):
        self.store = open_store(store_uri(folder / "fleet.db"))
        self.clock = ManualClock()
        self.intake = Intake(self.store, self.clock)
        self.devices = {name: SimulatedDevice(name) for name in names}
        self.first = assign_rings(self.devices, (0.1, 1.0))[0][0]
        self.others = [name for name in self.devices if name != self.first]
        self.wire = {}
        self.has_link = True
        self.operator = RolloutOperator(self.store, FLEET, self.publish, self.clock)
        self.say(*(device.status(OLD) for device in self.devices.values()))

    def publish(self, topic, payload):
        if not self.has_link:
            raise LinkError("no link")
        assert topic.channel is Channel.DESIRED
        self.wire[topic.device] = parse_as(Desired, Channel.DESIRED, payload)

    def say(self, *deliveries):
        self.intake.take(deliveries)

    def start(self, order_id="order-1", **changes):
        wanted: dict[str, Any] = {"by": "ann", "reason": "better", "shares": (0.1, 1.0), "rules": RolloutRules()}
        return self.operator.start(NEW, order_id=order_id, **(wanted | changes))

    def commit(self, *names, order_id="order-1"):
        for name in names:
            device = self.devices[name]
            self.say(device.event("committed", NEW, order_id), device.status(NEW))


@pytest.fixture
def field(tmp_path):
    field = Field(tmp_path)
    yield field
    field.store.close()


def test_a_rollout_goes_ring_by_ring_as_devices_commit(field):
    field.start()
    assert field.operator.step("order-1").state == "running"
    assert set(field.wire) == {field.first}
    assert field.wire[field.first] == Desired(NEW, "order-1", 1000.0, "ann", "better")
    field.operator.step("order-1")
    assert set(field.wire) == {field.first}
    field.commit(field.first)
    field.operator.step("order-1")
    assert set(field.wire) == set(field.devices)
    field.commit(*field.others)
    assert field.operator.step("order-1").state == "done"
    assert field.operator.target() == NEW


@pytest.mark.parametrize("kind", ["rolled_back", "refused"])
def test_a_failing_first_device_halts_the_rollout_and_gets_its_old_bundle_back(field, kind):
    field.start()
    field.operator.step("order-1")
    field.say(field.devices[field.first].event(kind, NEW, "order-1", "golden row 3 differs"))
    rollout = field.operator.step("order-1")
    assert rollout.state == "halted"
    assert "golden row 3 differs" in rollout.last_step
    assert set(field.wire) == {field.first}
    assert field.wire[field.first].bundle == OLD
    assert field.wire[field.first].order_id == "order-1-back"
    assert field.operator.step("order-1").state == "halted"
    assert field.operator.target() is None


def test_a_failure_in_the_last_ring_takes_back_from_all_that_were_ordered(field):
    field.start()
    field.operator.step("order-1")
    field.commit(field.first)
    field.operator.step("order-1")
    field.say(field.devices[field.others[0]].event("rolled_back", NEW, "order-1", "too slow"))
    field.operator.step("order-1")
    assert {desired.bundle for desired in field.wire.values()} == {OLD}


def test_events_of_another_order_or_bundle_prove_nothing(field):
    field.start()
    field.operator.step("order-1")
    device = field.devices[field.first]
    field.say(device.event("committed", NEW, "order-0"), device.event("committed", OLD, "order-1"))
    assert field.operator.step("order-1").state == "running"
    assert set(field.wire) == {field.first}


def test_a_device_that_runs_the_bundle_already_need_not_say_so_again(field):
    field.say(field.devices[field.first].status(NEW))
    field.start()
    field.operator.step("order-1")
    assert set(field.wire) == set(field.others)
    field.commit(*field.others)
    field.operator.step("order-1")
    assert field.wire[field.first].bundle == NEW


def test_a_bundle_on_trial_is_not_yet_proved(field):
    field.say(field.devices[field.first].status(NEW, update_state="trial"))
    field.start()
    field.operator.step("order-1")
    assert set(field.wire) == {field.first}


def test_offline_devices_do_not_hold_up_the_others_and_their_order_waits(field):
    away = field.others[0]
    field.say(field.devices[away].status(OLD, online=False))
    field.start()
    field.operator.step("order-1")
    field.commit(field.first)
    field.operator.step("order-1")
    field.commit(field.others[1])
    rollout = field.operator.step("order-1")
    assert rollout.state == "done"
    assert away in rollout.last_step
    assert field.wire[away].bundle == NEW


def test_an_online_device_that_stays_silent_is_excused_after_a_while(field):
    field.start(rules=RolloutRules(patience_s=60))
    field.operator.step("order-1")
    field.commit(field.first)
    field.operator.step("order-1")
    field.commit(field.others[0])
    assert field.operator.step("order-1").state == "running"
    field.clock.now_s += 61
    assert field.operator.step("order-1").state == "done"


def test_a_link_that_is_down_for_long_excuses_no_device(field):
    field.start(rules=RolloutRules(patience_s=60))
    field.operator.step("order-1")
    field.commit(field.first)
    field.has_link = False
    field.operator.step("order-1")
    field.clock.now_s += 1000
    assert field.operator.step("order-1").state == "running"
    field.has_link = True
    field.operator.step("order-1")
    field.clock.now_s += 59
    assert field.operator.step("order-1").state == "running"
    field.clock.now_s += 2
    assert field.operator.step("order-1").state == "done"


def test_orders_written_without_a_link_are_sent_when_it_is_back(field):
    field.has_link = False
    field.start()
    field.operator.step("order-1")
    assert field.wire == {}
    assert list_orders(field.store, unsent=True)[0].device == field.first
    field.has_link = True
    RolloutOperator(field.store, FLEET, field.publish, field.clock).step("order-1")
    assert set(field.wire) == {field.first}
    assert list_orders(field.store, unsent=True) == ()


def test_another_process_goes_on_where_the_first_was_killed(field):
    field.start()
    for _ in range(3):
        RolloutOperator(field.store, FLEET, field.publish, field.clock).step("order-1")
    field.commit(field.first)
    for _ in range(3):
        RolloutOperator(field.store, FLEET, field.publish, field.clock).step("order-1")
    assert len(list_orders(field.store)) == 3


def test_the_books_say_who_ordered_what_when_and_what_ran_before(field):
    field.start()
    field.operator.step("order-1")
    (order,) = list_orders(field.store)
    assert (order.by, order.reason, order.bundle, order.before) == ("ann", "better", NEW, OLD)
    assert order.sent_utc_s == 1000.0
    (decision,) = list_decisions(field.store, kind="rollout")
    assert decision.verdict == "order"
    assert field.first in decision.evidence


def test_beginning_the_same_rollout_twice_is_one_rollout(field):
    assert field.start() == field.start(reason="again")
    assert len(field.operator.list()) == 1


def test_a_newer_rollout_takes_the_place_of_one_that_still_runs(field):
    field.start()
    field.start("order-2")
    first, second = field.operator.list()
    assert (first.state, second.state) == ("halted", "running")
    assert (first.replaced_by, second.replaced_by) == ("order-2", "")
    assert first.last_step == "a newer rollout took its place: order-2"


def test_a_newcomer_gets_the_bundle_of_the_fleet(field):
    field.start()
    for _ in range(2):
        field.operator.step("order-1")
        field.commit(*field.devices)
    assert field.operator.step("order-1").state == "done"
    field.say(SimulatedDevice("late").status(None))
    field.operator.greet_newcomers()
    field.operator.greet_newcomers()
    assert field.wire["late"].bundle == NEW
    assert len(list_orders(field.store, order_id="order-1")) == 4


def test_a_rollout_to_named_devices_leaves_the_others_and_the_target_alone(field):
    field.start(devices=["b"], shares=(1.0,))
    field.operator.step("order-1")
    field.commit("b")
    assert field.operator.step("order-1").state == "done"
    assert set(field.wire) == {"b"}
    assert field.operator.target() is None


def test_a_first_bundle_that_fails_cannot_be_taken_back_and_is_only_halted(tmp_path):
    field = Field(tmp_path)
    field.say(*(device.status(None) for device in field.devices.values()))
    field.start()
    field.operator.step("order-1")
    field.say(field.devices[field.first].event("refused", NEW, "order-1", "no"))
    assert field.operator.step("order-1").state == "halted"
    assert field.wire[field.first].order_id == "order-1"
    field.store.close()


def test_a_rollout_waits_for_the_first_device(tmp_path):
    field = Field.__new__(Field)
    store = open_store(store_uri(tmp_path / "fleet.db"))
    field.operator = RolloutOperator(store, FLEET, lambda *_: None, ManualClock())
    field.start()
    assert field.operator.step("order-1").last_step == "waiting for the first device"
    with pytest.raises(KeyError):
        field.operator.step("no such")
    store.close()
