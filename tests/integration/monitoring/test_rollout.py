from broker.messages import BundleRef, Desired, parse_as
from broker.topics import Channel, DeviceId
from edge_agent.clock import SystemClock
from tests.unit.trainer.simulated_fleet import FLEET
from tests.waiting import wait_until
from trainer.monitoring.fleet import list_devices
from trainer.rollout.operator import RolloutOperator
from trainer.rollout.rings import assign_rings
from trainer.rollout.steps import RolloutRules

OLD, NEW = BundleRef("weather", 1), BundleRef("weather", 2)
RINGS = (0.1, 1.0)


def orders(device):
    return [parse_as(Desired, Channel.DESIRED, d.payload) for d in device.inbox if d.topic.channel is Channel.DESIRED]


def begin(monitor, store, devices):
    for device in devices:
        device.say_status(OLD)
    wait_until(lambda: len(list_devices(store)) == len(devices))
    operator = RolloutOperator(
        store, FLEET, lambda topic, payload: monitor.client.publish_and_wait(topic, payload, 5.0), SystemClock()
    )
    operator.start(NEW, order_id="o", by="ann", reason="better", shares=RINGS, rules=RolloutRules())
    return operator


def test_a_first_device_that_rolls_back_halts_the_rollout_and_the_others_never_hear_of_it(
    make_monitor, make_device, store
):
    monitor = make_monitor()
    devices = {name: make_device(name) for name in ("a", "b", "c")}
    operator = begin(monitor, store, devices.values())
    first = devices[assign_rings(map(DeviceId, devices), RINGS)[0][0]]
    operator.step("o")
    wait_until(lambda: orders(first))
    first.send(first.event("rolled_back", NEW, "o", "scoring failed on 3 of 20 rows"))
    wait_until(lambda: operator.step("o").state == "halted")
    wait_until(lambda: [order.bundle for order in orders(first)] == [NEW, OLD])
    assert all(not orders(device) for device in devices.values() if device is not first)


def test_orders_are_retained_so_that_a_device_that_was_away_finds_its_own(make_monitor, make_device, store):
    monitor = make_monitor()
    devices = {name: make_device(name) for name in ("a", "b")}
    operator = begin(monitor, store, devices.values())
    first = devices[assign_rings(map(DeviceId, devices), RINGS)[0][0]]
    (other,) = (device for device in devices.values() if device is not first)
    other.say_status(OLD, online=False)
    other.client.close()
    operator.step("o")
    wait_until(lambda: orders(first))
    first.send(first.event("committed", NEW, "o"))
    wait_until(lambda: operator.step("o").state == "done")
    back = make_device(other.name)
    wait_until(lambda: {order.bundle for order in orders(back)} == {NEW})
